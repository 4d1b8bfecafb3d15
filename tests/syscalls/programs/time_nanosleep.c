#include "t.h"

static void h(int s) {}
int main(void) {
  struct timespec t = {0, 20000000}, r = {7, 7};
  long a = now_ms();
  R(nanosleep(&t, &r));
  C(now_ms() - a >= 20 && r.tv_sec == 7);
  t.tv_nsec = 1000000000;
  R(nanosleep(&t, 0));
  t = (struct timespec){-1, 0};
  R(nanosleep(&t, 0));
  R(syscall(SYS_nanosleep, 8, 0));
  clock_gettime(CLOCK_MONOTONIC, &t);
  t.tv_nsec += 20000000;
  if (t.tv_nsec >= 1000000000) t.tv_nsec -= 1000000000, t.tv_sec++;
  R(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0));
  struct timespec n;
  clock_gettime(CLOCK_MONOTONIC, &n);
  C(n.tv_sec > t.tv_sec || (n.tv_sec == t.tv_sec && n.tv_nsec >= t.tv_nsec));
  t = (struct timespec){0, 1000};
  R(clock_nanosleep(CLOCK_REALTIME, 0, &t, 0));
  R(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, 0));
  R(clock_nanosleep(99, 0, &t, 0));
  R(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, 0));
  R(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &t, 0));
  signal(SIGALRM, h);
  struct itimerval it = {{0, 0}, {0, 50000}};
  setitimer(ITIMER_REAL, &it, 0);
  t = (struct timespec){5, 0};
  R(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &r));
  C(r.tv_sec == 4);
  /* what is left can't be told: the call fails, the handler runs all the same */
  it.it_value = (struct timeval){0, 50000};
  setitimer(ITIMER_REAL, &it, 0);
  R(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, 8));
  setitimer(ITIMER_REAL, &it, 0);
  R(syscall(SYS_nanosleep, &t, (char *)main));
  return 0;
}
