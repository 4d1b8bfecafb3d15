/* mlock, mlock2, mlockall, MAP_LOCKED under RLIMIT_MEMLOCK, without privilege. */
#include "t.h"
#define RW (PROT_READ | PROT_WRITE)
#define AN (MAP_PRIVATE | MAP_ANONYMOUS)
#define MAP(...) ((long)mmap(__VA_ARGS__) == -1 ? -1 : 0)
static void lim(rlim_t n) {
  struct rlimit l = {n, n};
  setrlimit(RLIMIT_MEMLOCK, &l);
}
static long locked(void) {
  char line[256];
  long n = -1;
  FILE *f = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, f))
    if (sscanf(line, "VmLck: %ld", &n) == 1) break;
  fclose(f);
  return n;
}
int main(void) {
  char *p = mmap(0, 64 * 4096, RW, AN, -1, 0);
  N(locked());
  R(mlock(p, 3 * 4096));
  N(locked());
  R(mlock(p + 1, 3 * 4096));
  N(locked());
  R(mlock(p, 0));
  R(munlock(p + 4096, 1));
  N(locked());
  R(mlock2(p, 4096, MLOCK_ONFAULT));
  R(mlock2(p, 4096, 2));
  R(mlock((void *)0x10000, 4096));
  R(munlock((void *)0x10000, 4096));
  R(mlock(p, -4096));
  R(munlock(p, 64 * 4096));
  N(locked());
  munmap(p + 8 * 4096, 4096);
  R(mlock(p, 16 * 4096));
  N(locked()); /* up to the hole */
  R(munlock(p, 8 * 4096));
  munlock(p + 9 * 4096, 55 * 4096);
  R(mlockall(0));
  R(mlockall(8));
  R(mlockall(MCL_ONFAULT));
  CHILD("a child inherits no locks", mlock(p, 4096); CHILD("grandchild", N(locked())); N(locked()));
  CHILD("unmapping unlocks", mlock(p, 2 * 4096); munmap(p, 4096); N(locked()));
  CHILD("limit", lim(4 * 4096); setresuid(65534, 65534, 65534); R(mlock(p, 2 * 4096)); R(mlock(p, 4 * 4096)); R(mlock(p, 5 * 4096)); N(locked());
        R(mlock(p + 10 * 4096, 4096)); R(mlockall(MCL_CURRENT)); R(MAP(0, 4096, RW, AN | MAP_LOCKED, -1, 0)); R(munlock(p, 4096));
        R(MAP(0, 4096, RW, AN | MAP_LOCKED, -1, 0)); N(locked()); R(munlockall()); N(locked()));
  CHILD("limit 0", lim(0); setresuid(65534, 65534, 65534); R(mlock(p, 4096)); R(mlockall(MCL_CURRENT)); R(MAP(0, 4096, RW, AN | MAP_LOCKED, -1, 0)); R(munlock(p, 4096)));
  CHILD("future", R(mlockall(MCL_FUTURE)); char *q = mmap(0, 4 * 4096, RW, AN, -1, 0); N(locked()); munlockall(); N(locked()); mmap(0, 4096, RW, AN, -1, 0); N(locked()));
  CHILD("future, limit", lim(8 * 4096); setresuid(65534, 65534, 65534); R(mlockall(MCL_FUTURE)); R(MAP(0, 4 * 4096, RW, AN, -1, 0)); R(MAP(0, 8 * 4096, RW, AN, -1, 0)));
  CHILD("locked is not thrown away", mlock(p, 4096); R(madvise(p, 4096, MADV_DONTNEED)); R(munlock(p, 4096)); R(madvise(p, 4096, MADV_DONTNEED)));
  CHILD("exec forgets", mlockall(MCL_CURRENT | MCL_FUTURE); execl("/bin/sh", "sh", "-c", "grep VmLck /proc/self/status | tr -s ' \\t' ' '", NULL));
  return 0;
}
