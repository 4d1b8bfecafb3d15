/* remap_file_pages(2) and pages made present by locking. */
#include "t.h"
#include <sys/shm.h>

int main(void) {
  int fd = memfd_create("x", 0);
  ftruncate(fd, 8 * 4096);
  for (int i = 0; i < 8; i++) pwrite(fd, &(char){'a' + i}, 1, i * 4096);
  char *p = mmap(0, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  R(remap_file_pages(p, 4096, 0, 7, 0));
  R(remap_file_pages(p + 4 * 4096, 8192, 0, 1, 0));
  for (int i = 0; i < 8; i++) putchar(p[i * 4096]);
  putchar('\n');
  p[0] = 'H';
  N(p[7 * 4096]);
  R(remap_file_pages(p, 4096, PROT_READ, 0, 0));
  R(remap_file_pages(p, 0, 0, 0, 0));
  R(remap_file_pages(p, 100, 0, 0, 0));
  R(remap_file_pages(p, 8192, 0, 0, 0));
  for (int i = 0; i < 8; i++) putchar(p[i * 4096]);
  putchar('\n');
  char *priv = mmap(0, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
  R(remap_file_pages(priv, 4096, 0, 1, 0));
  munmap(priv, 8192);
  R(remap_file_pages(priv, 4096, 0, 1, 0));
  R(mprotect(p + 4096, 4096, PROT_READ));
  R(remap_file_pages(p, 3 * 4096, 0, 0, 0));
  int id = shmget(IPC_PRIVATE, 8192, 0600);
  char *sh = shmat(id, 0, 0);
  strcpy(sh + 4096, "second");
  R(remap_file_pages(sh, 4096, 0, 1, 0));
  puts(sh);
  shmctl(id, IPC_RMID, 0);
  sh = shmat(id = shmget(IPC_PRIVATE, 4096, 0600), 0, 0);
  shmctl(id, IPC_RMID, 0);
  R(remap_file_pages(sh, 4096, 0, 0, 0) == -1 && (errno == EIDRM || errno == EINVAL));
  unsigned char v[4] = {0};
  char *w = mmap(0, 4 * 4096, PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  R(mlock(w, 2 * 4096));
  R(mincore(w, 4 * 4096, v));
  printf("%d%d%d%d\n", v[0] & 1, v[1] & 1, v[2] & 1, v[3] & 1);
  w = mmap(0, 4 * 4096, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  R(mlock(w + 4096, 2 * 4096));
  R(mincore(w, 4 * 4096, v));
  printf("%d%d%d%d\n", v[0] & 1, v[1] & 1, v[2] & 1, v[3] & 1);
  return 0;
}
