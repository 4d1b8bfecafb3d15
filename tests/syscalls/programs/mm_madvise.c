#include "t.h"

int main(void) {
  char *p = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(p, 'x', 4 * 4096);
  R(madvise(p + 4096, 4096, MADV_DONTNEED));
  printf("%c %d %c\n", p[0], p[4096], p[8192]);
  R(madvise(p, 4096, MADV_WILLNEED));
  R(madvise(p, 4096, MADV_NORMAL));
  R(madvise(p, 4096, MADV_RANDOM));
  R(madvise(p, 4096, MADV_SEQUENTIAL));
  R(madvise(p, 4096, MADV_FREE));
  R(madvise(p, 0, MADV_DONTNEED));
  R(madvise(p + 1, 4096, MADV_DONTNEED));
  R(madvise(p, 4096, 12345));
  R(madvise(p + 8192, 4096, MADV_DONTFORK));
  R(madvise(p + 3 * 4096, 4096, MADV_WIPEONFORK));
  CHILD("child", N(p[3 * 4096]); N(p[2 * 4096]));
  R(madvise(p + 8192, 4096, MADV_DOFORK));
  R(madvise(p + 3 * 4096, 4096, MADV_KEEPONFORK));
  CHILD("child", N(p[3 * 4096]); N(p[2 * 4096]));
  munmap(p, 4096);
  R(madvise(p, 8192, MADV_DONTNEED));
  R(posix_madvise(p, 8192, POSIX_MADV_WILLNEED));
  int fd = memfd_create("x", 0);
  ftruncate(fd, 8192);
  char *s = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  memset(s, 'y', 8192);
  R(madvise(s, 4096, MADV_DONTNEED));
  N(s[0]);
  R(madvise(s, 4096, MADV_REMOVE));
  N(s[0]);
  N(s[4096]);
  return 0;
}
