#include "t.h"

int main(void) {
  char *p = mmap(0, 1UL << 38, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  C(p != MAP_FAILED);
  for (int i = 0; i < 64; i++) p[(unsigned long)i << 32] = i;
  long s = 0;
  for (int i = 0; i < 64; i++) s += p[(unsigned long)i << 32];
  N(s);
  CHILD("child", N(p[63UL << 32]); p[5UL << 32] = 99);
  N(p[5UL << 32]);
  R(munmap(p + (1UL << 37), 1UL << 36));
  R(munmap(p, 1UL << 38));
  int n = 0;
  for (int i = 0; i < 2000; i++) {
    char *q = mmap(0, 4096, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    n += q != MAP_FAILED;
  }
  N(n);
  char *m = malloc(100 << 20);
  memset(m, 1, 100 << 20);
  m = realloc(m, 300 << 20);
  N(m[(100 << 20) - 1]);
  free(m);
  return 0;
}
