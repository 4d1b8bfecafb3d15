#include "t.h"

static void h(int s) { printf("handler %d\n", s); }
int main(void) {
  sigset_t s, none;
  sigemptyset(&none);
  sigemptyset(&s);
  sigaddset(&s, SIGUSR1);
  sigaddset(&s, SIGRTMIN + 2);
  sigprocmask(SIG_BLOCK, &s, 0);
  signal(SIGUSR1, h);
  raise(SIGUSR1);
  R(sigsuspend(&none));
  sigprocmask(SIG_SETMASK, 0, &none);
  N(sigismember(&none, SIGUSR1));
  siginfo_t i;
  struct timespec t = {0, 20000000};
  R(sigtimedwait(&s, &i, &t));
  raise(SIGUSR1);
  R(sigtimedwait(&s, &i, &t));
  printf("%d %d\n", i.si_signo, i.si_code);
  sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 5});
  R(sigwaitinfo(&s, &i));
  N(i.si_value.sival_int);
  t.tv_nsec = -1;
  R(sigtimedwait(&s, &i, &t));
  t.tv_nsec = 0;
  R(sigtimedwait(&s, 0, &t));
  R(syscall(SYS_rt_sigtimedwait, 8, 0, 0, 8));
  R(syscall(SYS_rt_sigtimedwait, &s, 0, 0, 4));
  signal(SIGALRM, h);
  alarm(1);
  R(sigwaitinfo(&s, &i));
  int n = 0;
  raise(SIGUSR1);
  R(sigwait(&s, &n));
  N(n);
  pid_t p = getpid();
  if (!fork()) {
    ms(50);
    kill(p, SIGUSR1);
    _exit(0);
  }
  R(sigwaitinfo(&s, &i));
  printf("%d %d\n", i.si_signo, i.si_code);
  wait(0);
  return 0;
}
