#include "t.h"

int main(void) {
  char *p = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 4; i++) p[i * 4096] = 'a' + i;
  char *q = mremap(p, 4 * 4096, 2 * 4096, 0);
  C(q == p);
  q = mremap(p, 2 * 4096, 64 * 4096, MREMAP_MAYMOVE);
  C(q != MAP_FAILED);
  printf("%c%c%d\n", q[0], q[4096], q[8192]);
  char *t = mmap(0, 4096 * 80, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char *r = mremap(q, 2 * 4096, 2 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, t + 4096);
  C(r == t + 4096);
  printf("%c%c\n", r[0], r[4096]);
  OK(mremap(q, 4096, 4096, MREMAP_MAYMOVE));
  OK(mremap(r + 1, 4096, 4096, 0));
  OK(mremap(r, 4096, 0, 0));
  OK(mremap(r, 4096, 4096, MREMAP_FIXED, t));
  OK(mremap(r, 4096, 8192, 0));
  OK(mremap(r, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, r + 4096));
  OK(mremap(r, 4096, 1UL << 62, MREMAP_MAYMOVE));
  OK(mremap(r, 4096, 4096, 0x100));
  char *s = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  strcpy(s, "shared");
  char *d = mremap(s, 0, 8192, MREMAP_MAYMOVE);
  C(d != MAP_FAILED && d != s);
  d[0] = 'S';
  puts(s);
  r = mremap(r, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
  printf("%c\n", r[0]);
  return 0;
}
