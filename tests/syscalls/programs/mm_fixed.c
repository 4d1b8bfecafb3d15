#include "t.h"

int main(void) {
  char *p = mmap(0, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(p, 'x', 5 * 4096);
  char *q = mmap(p + 4096, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  C(q == p + 4096);
  printf("%c %d %d %c\n", p[0], p[4096], p[3 * 4096 - 1], p[3 * 4096]);
  OK(mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  OK(mmap(p + 4 * 4096, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  munmap(p, 5 * 4096);
  q = mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  C(q == p);
  q = mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  C(q != p && q != MAP_FAILED);
  q = mmap(p + 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  C(q == p + 4096);
  OK(mmap(p + 1, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  R(munmap(p + 1, 4096));
  R(munmap(p, 0));
  R(munmap((void *)-4096UL, 4096));
  R(munmap(p, 4096));
  R(munmap(p, 4096));
  q = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  C((uintptr_t)q < 1UL << 31);
  return 0;
}
