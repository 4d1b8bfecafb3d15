#include "t.h"

int main(void) {
  char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(p + 4096, 4096);
  int fd[2];
  pipe(fd);
  memset(p, 'a', 4096);
  R(write(fd[1], p + 4090, 6));
  R(write(fd[1], p + 4090, 7));
  R(write(fd[1], p + 4096, 1));
  R(read(fd[0], p + 4095, 1));
  R(ioctl(fd[0], FIONREAD, p + 4096));
  int n;
  R(ioctl(fd[0], FIONREAD, &n));
  C(n >= 5);
  int f = open("f", O_RDWR | O_CREAT, 0600);
  R(write(f, p, 4096));
  R(pread(f, p + 4096, 10, 0));
  R(open(p + 4096, O_RDONLY));
  R(stat("f", (void *)(p + 4096)));
  strcpy(p + 4094, "f");
  R(access(p + 4094, F_OK));
  p[4095] = 'f';
  R(access(p + 4095, F_OK));
  mprotect(p, 4096, PROT_READ);
  R(pread(f, p, 10, 0));
  R(fstat(f, (void *)p));
  mprotect(p, 4096, PROT_NONE);
  R(write(f, p, 10));
  return 0;
}
