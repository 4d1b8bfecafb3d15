/* POSIX timers: overrun counts, SIGEV kinds, absolute times, CPU clocks, errors; itimers of CPU time. */
#include "t.h"
#include <sys/syscall.h>
static volatile int hits, over, value;
static void h(int s, siginfo_t *i, void *c) { hits++, over = i->si_overrun > over ? i->si_overrun : over, value = i->si_value.sival_int; }
int main(void) {
  struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
  sigaction(SIGUSR1, &a, 0), sigaction(SIGALRM, &a, 0), sigaction(SIGPROF, &a, 0), sigaction(SIGVTALRM, &a, 0);
  timer_t t, u;
  struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 321};
  R(timer_create(CLOCK_MONOTONIC, &e, &t));
  struct itimerspec s = {{0, 1000000}, {0, 1000000}}, o;
  sigset_t m;
  sigemptyset(&m), sigaddset(&m, SIGUSR1);
  sigprocmask(SIG_BLOCK, &m, 0);
  R(timer_settime(t, 0, &s, 0));
  ms(50);
  memset(&s, 0, sizeof s);
  sigprocmask(SIG_UNBLOCK, &m, 0);
  R(timer_settime(t, 0, &s, &o));
  N(o.it_interval.tv_nsec);
  C(hits >= 1);
  C(over > 20);
  N(value);
  C(timer_getoverrun(t) >= 0);
  R(timer_gettime(t, &o));
  N(o.it_value.tv_nsec);
  s.it_value.tv_nsec = 1000000000;
  R(timer_settime(t, 0, &s, 0));
  s.it_value.tv_nsec = -1;
  R(timer_settime(t, 0, &s, 0));
  s.it_value.tv_nsec = 0, s.it_value.tv_sec = -1;
  R(timer_settime(t, 0, &s, 0));
  R(timer_settime(t, 0, 0, 0));
  R(timer_settime((timer_t)12345, 0, &s, 0));
  R(timer_delete((timer_t)12345));
  R(timer_gettime((timer_t)12345, &o));
  R(timer_getoverrun((timer_t)12345));
  e.sigev_signo = 65;
  R(timer_create(CLOCK_MONOTONIC, &e, &u));
  e.sigev_signo = SIGUSR1, e.sigev_notify = 77;
  R(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &u));
  e.sigev_notify = SIGEV_THREAD_ID;
  R(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &u));
  R(timer_create(99, 0, &u));
  R(syscall(SYS_timer_create, CLOCK_MONOTONIC, 8, &u));
  R(syscall(SYS_timer_create, CLOCK_MONOTONIC, 0, 8));
  /* absolute, in the past: at once */
  hits = 0;
  memset(&s, 0, sizeof s);
  s.it_value.tv_sec = 1;
  R(timer_settime(t, TIMER_ABSTIME, &s, 0));
  ms(20);
  N(hits);
  clock_gettime(CLOCK_MONOTONIC, &s.it_value);
  s.it_value.tv_sec += 100;
  R(timer_settime(t, TIMER_ABSTIME, &s, 0));
  R(timer_gettime(t, &o));
  C(o.it_value.tv_sec > 95 && o.it_value.tv_sec <= 100);
  R(timer_delete(t));
  /* none, default signal */
  e.sigev_notify = SIGEV_NONE;
  R(timer_create(CLOCK_REALTIME, &e, &t));
  s = (struct itimerspec){{0, 0}, {0, 5000000}};
  timer_settime(t, 0, &s, 0);
  ms(20);
  R(timer_gettime(t, &o));
  N(o.it_value.tv_nsec);
  timer_delete(t);
  hits = 0;
  R(timer_create(CLOCK_BOOTTIME, 0, &t));
  timer_settime(t, 0, &s, 0);
  ms(30);
  N(hits);
  CHILD("not inherited", R(timer_gettime(t, &o)); R(timer_delete(t)));
  timer_delete(t);
  /* CPU time: sleeping does not count */
  R(timer_create(CLOCK_PROCESS_CPUTIME_ID, 0, &t));
  hits = 0;
  s.it_value.tv_nsec = 30000000;
  timer_settime(t, 0, &s, 0);
  ms(100);
  N(hits);
  long t0 = now_ms();
  while (!hits && now_ms() - t0 < 3000) {
  }
  N(hits);
  struct itimerval it = {{0, 0}, {0, 30000}}, old;
  hits = 0;
  R(setitimer(ITIMER_PROF, &it, 0));
  ms(100);
  N(hits);
  t0 = now_ms();
  while (!hits && now_ms() - t0 < 3000) {
  }
  N(hits);
  hits = 0;
  R(setitimer(ITIMER_VIRTUAL, &it, 0));
  R(getitimer(ITIMER_VIRTUAL, &old));
  C(old.it_value.tv_usec > 0 && old.it_value.tv_usec <= 40000);
  t0 = now_ms();
  while (!hits && now_ms() - t0 < 3000) {
  }
  N(hits);
  R(setitimer(3, &it, 0));
  R(getitimer(3, &old));
  it.it_value.tv_usec = 1000000;
  R(setitimer(ITIMER_REAL, &it, 0));
  R(setitimer(ITIMER_REAL, (void *)8, 0));
  R(getitimer(ITIMER_REAL, (void *)8));
  return 0;
}
