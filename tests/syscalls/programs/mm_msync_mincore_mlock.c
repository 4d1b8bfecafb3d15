#include "t.h"

int main(void) {
  char *p = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  unsigned char v[4] = {9, 9, 9, 9};
  p[0] = 1;
  R(msync(p, 4096, MS_ASYNC));
  R(msync(p, 4096, MS_SYNC | MS_INVALIDATE));
  R(msync(p, 4096, MS_SYNC | MS_ASYNC));
  R(msync(p + 1, 4096, MS_SYNC));
  R(msync(p, 4096, 0x80));
  munmap(p + 8192, 4096);
  R(msync(p, 4 * 4096, MS_SYNC));
  R(mincore(p, 8192, v));
  C(v[0] & 1);
  R(mincore(p, 4 * 4096, v));
  R(mincore(p + 1, 4096, v));
  R(mincore(p, 4096, (void *)8));
  R(mlock(p, 8192));
  R(mincore(p, 8192, v));
  C((v[0] & 1) && (v[1] & 1));
  R(munlock(p, 8192));
  R(mlock(p, 4 * 4096));
  R(mlock2(p, 4096, MLOCK_ONFAULT));
  R(mlock2(p, 4096, 0x10));
  R(mlockall(0));
  R(mlockall(0x40));
  R(mlockall(MCL_CURRENT));
  R(munlockall());
  return 0;
}
