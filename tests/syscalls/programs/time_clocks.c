#include "t.h"

int main(void) {
  struct timespec t, u;
  int ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
               CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI};
  for (int i = 0; i < 9; i++) {
    int r = clock_gettime(ids[i], &t), q = clock_gettime(ids[i], &u);
    printf("%d: %d %d %s\n", ids[i], r, q, u.tv_sec > t.tv_sec || (u.tv_sec == t.tv_sec && u.tv_nsec >= t.tv_nsec) ? "forward" : "back");
    R(clock_getres(ids[i], &t));
  }
  R(clock_gettime(50, &t));
  R(clock_getres(50, &t));
  R(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8));
  R(syscall(SYS_clock_getres, CLOCK_MONOTONIC, 0));
  clock_gettime(CLOCK_MONOTONIC, &t);
  N(t.tv_nsec < 1000000000);
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
  struct timeval v;
  R(gettimeofday(&v, 0));
  C(v.tv_sec - t.tv_sec <= 1);
  time_t x = time(0);
  C(x - t.tv_sec <= 1 && x >= t.tv_sec);
  C(syscall(SYS_time, &x) == x);
  clockid_t c;
  R(clock_getcpuclockid(getpid(), &c));
  R(clock_gettime(c, &t));
  R(pthread_getcpuclockid(pthread_self(), &c));
  R(clock_gettime(c, &t));
  t.tv_nsec = -1;
  R(clock_settime(CLOCK_MONOTONIC, &t));
  R(syscall(SYS_times, 0) > 0);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  for (volatile long i = 0; i < 30000000; i++) {
  }
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &u);
  C((u.tv_sec - t.tv_sec) * 1000000000 + u.tv_nsec - t.tv_nsec > 1000000);
  return 0;
}
