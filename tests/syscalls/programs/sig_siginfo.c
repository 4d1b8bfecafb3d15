#include "t.h"

static volatile pid_t from;
static void h(int s, siginfo_t *i, void *c) {
  (void)c;
  printf("%d: signo %d code %d errno %d value %d pid %s uid %d\n", s, i->si_signo, i->si_code, i->si_errno,
         s == SIGCHLD || i->si_code == SI_USER || i->si_code == SI_TKILL ? 0 : i->si_value.sival_int,
         i->si_pid == from ? "right" : "other", i->si_uid);
  if (s == SIGCHLD) printf("status %d\n", i->si_status);
  fflush(stdout);
}
/* The child may be dead before fork returns: its SIGCHLD waits until its pid is known. */
static void forked(int how) {
  sigset_t m;
  sigemptyset(&m);
  sigaddset(&m, SIGCHLD);
  sigprocmask(how, &m, 0);
}
int main(void) {
  struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
  int sigs[] = {SIGUSR1, SIGCHLD, SIGRTMIN, SIGRTMAX, SIGALRM};
  for (int i = 0; i < 5; i++) sigaction(sigs[i], &a, 0);
  from = getpid();
  kill(getpid(), SIGUSR1);
  raise(SIGUSR1);
  union sigval v = {.sival_int = 42};
  R(sigqueue(getpid(), SIGRTMIN, v));
  R(sigqueue(getpid(), SIGUSR1, v));
  R(sigqueue(getpid(), 99, v));
  R(sigqueue(999999, SIGUSR1, v));
  pthread_kill(pthread_self(), SIGRTMAX);
  forked(SIG_BLOCK);
  from = fork();
  if (!from) _exit(5);
  forked(SIG_UNBLOCK);
  int st;
  while (waitpid(from, &st, 0) < 0) puts(strerrorname_np(errno));
  fflush(stdout);
  forked(SIG_BLOCK);
  from = fork();
  if (!from) kill(getpid(), SIGTERM);
  forked(SIG_UNBLOCK);
  while (waitpid(from, &st, 0) < 0) puts(strerrorname_np(errno));
  siginfo_t q = {.si_signo = SIGUSR1, .si_code = 5};
  R(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &q));
  R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, 8));
  from = 77;
  q.si_code = 5, q.si_pid = 77, q.si_uid = 3, q.si_value.sival_int = 9;
  R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &q));
  alarm(1);
  pause();
  R(errno);
  return 0;
}
