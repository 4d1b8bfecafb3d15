/* mremap: shrinking over several areas, DONTUNMAP, duplicating shared memory, files, limits, refusals. */
#include "t.h"
#define RW (PROT_READ | PROT_WRITE)
#define AN (MAP_PRIVATE | MAP_ANONYMOUS)
static char *at(int n) { return mmap(0, n * 4096, RW, AN, -1, 0); }
static int there(char *p) {
  unsigned char v;
  return mincore(p, 1, &v) == 0;
}
#define M(...) ((long)mremap(__VA_ARGS__) == -1 ? -1 : 0)
int main(void) {
  char *area = mmap(0, 64 * 4096, PROT_NONE, AN, -1, 0), *p, *q;
  p = area;
  mprotect(p, 8 * 4096, RW);
  for (int i = 0; i < 8; i++) p[i * 4096] = 'a' + i;
  R(M(p, 8 * 4096, 4 * 4096, 0));
  C(there(p + 3 * 4096)), C(there(p + 4 * 4096));
  R(M(p, 4 * 4096, 8 * 4096, 0));
  C(there(p + 7 * 4096));
  N(p[0]), N(p[3 * 4096]), N(p[4 * 4096]);
  R(M(p, 8 * 4096, 9 * 4096, 0)); /* what follows is in the way */
  q = mremap(p, 8 * 4096, 16 * 4096, MREMAP_MAYMOVE);
  C(q != p), C(there(p)), N(q[3 * 4096]), N(q[15 * 4096]);
  R(M(q, 4096, 4096, MREMAP_FIXED, q + 4096));
  R(M(q, 4096, 4096, MREMAP_FIXED | MREMAP_MAYMOVE, q));
  R(M(q, 8192, 8192, MREMAP_FIXED | MREMAP_MAYMOVE, q + 4096));
  R(M(q, 4096, 4096, MREMAP_FIXED | MREMAP_MAYMOVE, q + 100));
  R(M(q, 4096, 4096, MREMAP_FIXED | MREMAP_MAYMOVE, (void *)0x7fffffffffff000));
  R(M(q + 1, 4096, 4096, 0));
  R(M(q, 4096, 0, 0));
  R(M(q, 4096, -1, MREMAP_MAYMOVE));
  R(M(q, 4096, 4096, 8));
  R(M(q, 0, 4096, MREMAP_MAYMOVE)); /* private: no duplicate */
  R(M((void *)0x10000, 4096, 8192, MREMAP_MAYMOVE));
  R(M(q, 100 * 4096, 200 * 4096, MREMAP_MAYMOVE));
  /* to a place of our choice, shrinking and growing on the way */
  R(M(q, 3 * 4096, 2 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, area + 20 * 4096));
  N(area[20 * 4096]), N(area[21 * 4096]), C(there(q)), C(there(q + 2 * 4096));
  R(M(q + 3 * 4096, 4096, 3 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, area + 30 * 4096));
  N(area[30 * 4096]), N(area[32 * 4096]);
  /* DONTUNMAP */
  char *d = at(2);
  d[0] = 'D', d[4096] = 'E';
  R(M(d, 8192, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
  R(M(d, 8192, 8192, MREMAP_DONTUNMAP));
  char *e = mremap(d, 8192, 8192, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
  C(e != d), N(e[0]), N(e[4096]), N(d[0]), C(there(d));
  /* shared */
  char *s = mmap(0, 8192, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char *u = mremap(s, 0, 8192, MREMAP_MAYMOVE);
  C(u != MAP_FAILED && u != s);
  s[5] = 'S';
  N(u[5]);
  R(M(s, 0, 4096, 0));
  char *g = mremap(s, 8192, 4 * 4096, MREMAP_MAYMOVE);
  N(g[5]);
  CHILD("beyond the object", g[3 * 4096] = 1; puts("written"));
  /* a file: the offset goes along */
  int fd = memfd_create("m", 0);
  ftruncate(fd, 8 * 4096);
  for (int i = 0; i < 8; i++) pwrite(fd, &(char){'0' + i}, 1, i * 4096);
  char *f = mmap(0, 4 * 4096, RW, MAP_SHARED, fd, 0);
  char *h = mremap(f + 4096, 4096, 3 * 4096, MREMAP_MAYMOVE);
  C(h != MAP_FAILED);
  N(h[0]), N(h[4096]), N(h[2 * 4096]);
  /* limits */
  struct rlimit l, old;
  getrlimit(RLIMIT_AS, &old);
  l = old;
  l.rlim_cur = 1 << 28;
  p = at(2);
  CHILD("RLIMIT_AS", setrlimit(RLIMIT_AS, &l); R(M(p, 8192, 1 << 29, MREMAP_MAYMOVE)); R(M(p, 8192, 4096, MREMAP_MAYMOVE)));
  l.rlim_cur = 1 << 27;
  CHILD("RLIMIT_DATA", setrlimit(RLIMIT_DATA, &l); R(M(p, 8192, 1 << 28, MREMAP_MAYMOVE)));
  l.rlim_cur = l.rlim_max = 65536;
  CHILD("RLIMIT_MEMLOCK", mlock(p, 8192); setrlimit(RLIMIT_MEMLOCK, &l); setresuid(65534, 65534, 65534); R(M(p, 8192, 1 << 20, MREMAP_MAYMOVE)); R(M(p, 8192, 3 * 4096, MREMAP_MAYMOVE)));
  return 0;
}
