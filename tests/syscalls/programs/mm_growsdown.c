/* MAP_GROWSDOWN: growth by touching, the guard gap, RLIMIT_STACK, PROT_GROWSDOWN. */
#include "t.h"
#define RW (PROT_READ | PROT_WRITE)
#define G (MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN)
static int there(char *p) {
  unsigned char v;
  return mincore(p, 1, &v) == 0;
}
int main(void) {
  /* a hole large enough for the gap that the kernel keeps below (256 pages) */
  char *area = mmap(0, 2000 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(area + 4096, 1998 * 4096);
  char *top = area + 1900 * 4096;
  char *p = mmap(top, 4096, RW, G | MAP_FIXED, -1, 0);
  C(p == top);
  p[0] = 'a';
  C(there(p - 4096));
  p[-1] = 'b';
  C(there(p - 4096)), C(there(p - 8192));
  N(p[-1]), N(p[-4096]);
  p[-10 * 4096] = 'c';
  N(p[-10 * 4096]), C(there(p - 10 * 4096)), C(there(p - 11 * 4096)), N(p[-5 * 4096]);
  long got;
  char buf[8];
  int fd = open("/proc/self/exe", O_RDONLY);
  R(read(fd, p - 20 * 4096, 4)); /* the kernel's own touch grows it, too */
  N(p[-20 * 4096 + 1]);
  CHILD("the child's grows", p[-30 * 4096] = 'd'; N(p[-30 * 4096]));
  C(there(p - 30 * 4096));
  CHILD("too near to what lies below", area[0]; mprotect(area, 4096, RW); for (char *q = p; q > area; q -= 4096) *q = 1; puts("?"));
  CHILD("over the limit", struct rlimit l = {100 * 4096, 100 * 4096}; setrlimit(RLIMIT_STACK, &l); p[-50 * 4096] = 1; puts("fine"); fflush(stdout); p[-150 * 4096] = 1; puts("?"));
  CHILD("read only", char *r = mmap(area + 900 * 4096, 4096, PROT_READ, G | MAP_FIXED, -1, 0); N(r[-1]); r[-2] = 1);
  R(mprotect(p, 4096, RW | PROT_GROWSDOWN));
  R(mprotect(p - 4096, 4096, PROT_READ | PROT_GROWSDOWN));
  CHILD("protected to the bottom", p[-10 * 4096] = 1; puts("?"));
  R(mprotect(p, 4096, RW | PROT_GROWSUP));
  R(mprotect(p, 4096, RW | PROT_GROWSUP | PROT_GROWSDOWN));
  char *n = mmap(0, 4096, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  R(mprotect(n, 4096, RW | PROT_GROWSDOWN));
  R((long)mmap(0, 4096, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0));
  /* nothing is placed so near below that it could not grow */
  return 0;
}
