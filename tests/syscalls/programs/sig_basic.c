#include "t.h"

static void h(int s) { printf("got %d\n", s); }
static void show(const char *w) {
  sigset_t s;
  sigprocmask(SIG_SETMASK, 0, &s);
  printf("%s:", w);
  for (int i = 1; i < 65; i++)
    if (sigismember(&s, i)) printf(" %d", i);
  puts("");
}
int main(void) {
  struct sigaction a = {.sa_handler = h}, o;
  R(sigaction(SIGUSR1, &a, 0));
  R(sigaction(SIGUSR1, 0, &o));
  C(o.sa_handler == h);
  R(sigaction(SIGKILL, &a, 0));
  R(sigaction(SIGSTOP, &a, 0));
  R(sigaction(0, &a, 0));
  R(sigaction(65, &a, 0));
  R(syscall(SYS_rt_sigaction, SIGUSR1, &a, 0, 4));
  R(syscall(SYS_rt_sigaction, SIGUSR1, 8, 0, 8));
  R(raise(SIGUSR1));
  sigset_t s, old;
  sigemptyset(&s);
  sigaddset(&s, SIGUSR1);
  sigaddset(&s, SIGKILL);
  R(sigprocmask(SIG_BLOCK, &s, &old));
  show("mask");
  raise(SIGUSR1);
  raise(SIGUSR1);
  sigset_t p;
  sigpending(&p);
  N(sigismember(&p, SIGUSR1));
  puts("unblock");
  sigprocmask(SIG_UNBLOCK, &s, 0);
  show("mask");
  R(sigprocmask(77, &s, 0));
  R(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, 0, 8));
  R(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &s, 8, 8));
  show("mask after EFAULT");
  signal(SIGUSR2, SIG_IGN);
  raise(SIGUSR2);
  R(kill(getpid(), 0));
  R(kill(getpid(), 65));
  R(kill(999999, 9));
  R(kill(-999999, 9));
  R(syscall(SYS_tgkill, getpid(), gettid(), 0));
  R(syscall(SYS_tgkill, getpid() + 10000, gettid(), 0));
  R(syscall(SYS_tkill, -1, 0));
  CHILD("default", raise(SIGUSR1 + 0); signal(SIGUSR1, SIG_DFL); raise(SIGUSR1));
  CHILD("exec keeps ignored", execl("/bin/sh", "sh", "-c", "kill -USR2 $$; echo alive; kill -USR1 $$; echo not", NULL));
  return 0;
}
