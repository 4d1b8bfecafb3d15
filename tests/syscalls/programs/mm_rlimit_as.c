#include "t.h"

int main(void) {
  struct rlimit l = {256 << 20, 256 << 20};
  R(setrlimit(RLIMIT_AS, &l));
  OK(mmap(0, 512 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(mmap(0, 512 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  void *p = mmap(0, 100 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  C(p != MAP_FAILED);
  OK(mmap(0, 200 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(mremap(p, 100 << 20, 300 << 20, MREMAP_MAYMOVE));
  munmap(p, 100 << 20);
  OK(mmap(0, 200 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  C(malloc(300 << 20) == NULL);
  C(malloc(1000) != NULL);
  CHILD("child inherits", struct rlimit m; getrlimit(RLIMIT_AS, &m); N(m.rlim_cur >> 20));
  return 0;
}
