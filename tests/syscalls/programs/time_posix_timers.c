#include "t.h"

static int got, val, code, over;
static void h(int s, siginfo_t *i, void *c) { got++, val = i->si_value.sival_int, code = i->si_code, over = i->si_overrun; }
static void thr(union sigval v) { __sync_fetch_and_add(&got, v.sival_int); }
int main(void) {
  timer_t t, u;
  struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
  sigaction(SIGRTMIN, &a, 0);
  struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 31};
  R(timer_create(CLOCK_MONOTONIC, &e, &t));
  struct itimerspec s = {{0, 0}, {0, 10000000}}, o;
  R(timer_settime(t, 0, &s, 0));
  while (!got) pause();
  N(val);
  N(code);
  R(timer_gettime(t, &o));
  N(o.it_value.tv_nsec);
  sigset_t b;
  sigemptyset(&b);
  sigaddset(&b, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &b, 0);
  s.it_interval.tv_nsec = 5000000;
  R(timer_settime(t, 0, &s, 0));
  ms(100);
  got = 0;
  s = (struct itimerspec){0};
  sigprocmask(SIG_UNBLOCK, &b, 0);
  R(timer_settime(t, 0, &s, 0));
  C(got >= 1);
  C(over >= 5);
  R(timer_delete(t));
  R(timer_delete(t));
  R(timer_gettime((timer_t)99, &o));
  e.sigev_signo = 99;
  R(timer_create(CLOCK_MONOTONIC, &e, &u));
  e.sigev_signo = SIGUSR1;
  R(timer_create(77, &e, &u));
  e.sigev_notify = SIGEV_NONE;
  R(timer_create(CLOCK_REALTIME, &e, &u));
  s.it_value.tv_sec = 100;
  R(timer_settime(u, 0, &s, 0));
  R(timer_gettime(u, &o));
  C(o.it_value.tv_sec >= 98);
  s.it_value.tv_nsec = -1;
  R(timer_settime(u, 0, &s, 0));
  R(timer_getoverrun(u));
  got = 0;
  e = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 5};
  e.sigev_notify_function = thr;
  R(timer_create(CLOCK_MONOTONIC, &e, &t));
  s = (struct itimerspec){{0, 0}, {0, 1000000}};
  R(timer_settime(t, 0, &s, 0));
  for (int i = 0; i < 300 && !got; i++) ms(10);
  N(got);
  /* it was due long ago: overruns are counted up to a limit */
  sigset_t us;
  sigemptyset(&us), sigaddset(&us, SIGUSR2), sigprocmask(SIG_BLOCK, &us, 0);
  e = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
  R(timer_create(CLOCK_REALTIME, &e, &t));
  clock_gettime(CLOCK_REALTIME, &s.it_value);
  s.it_value.tv_sec -= 1000;
  s.it_interval = (struct timespec){0, 1};
  R(timer_settime(t, TIMER_ABSTIME, &s, 0));
  siginfo_t si;
  R(sigwaitinfo(&us, &si));
  N(si.si_overrun);
  R(timer_getoverrun(t));
  R(timer_delete(t));
  return 0;
}
