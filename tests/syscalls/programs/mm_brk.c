#include "t.h"

static char buf[BUFSIZ];
int main(void) {
  setvbuf(stdout, buf, _IOFBF, sizeof buf);
  char *b = sbrk(0);
  C(sbrk(10000) == b);
  b[9999] = 5;
  C((char *)sbrk(0) == b + 10000);
  R(brk(b + 100000));
  b[99999] = 1;
  N(b[9999]);
  R(brk(b));
  R(brk(b + 100000));
  N(b[9999]);
  struct rlimit l = {1 << 20, RLIM_INFINITY};
  R(setrlimit(RLIMIT_DATA, &l));
  OK(sbrk(64 << 20));
  OK(brk(b + (64L << 20)));
  OK(mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(mmap(0, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(brk((void *)-1));
  C((long)syscall(SYS_brk, 0) == (long)sbrk(0));
  return 0;
}
