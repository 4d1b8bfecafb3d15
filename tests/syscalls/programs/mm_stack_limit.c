#include "t.h"

static int depth(int n) {
  volatile char b[4096];
  b[0] = n;
  return n ? depth(n - 1) + b[0] * 0 + 1 : 0;
}
int main(void) {
  struct rlimit l;
  R(getrlimit(RLIMIT_STACK, &l));
  N(l.rlim_cur);
  N(depth(1500));
  CHILD("7 MiB", depth(1750));
  CHILD("40 MiB", depth(10000));
  return 0;
}
