/* sigqueue, sigtimedwait, sigwaitinfo, rt_tgsigqueueinfo: order, limits, forging, time-outs. */
#include "t.h"
#include <sys/syscall.h>
static void show(int r, siginfo_t *i) {
  if (r < 0) printf("%s\n", strerrorname_np(errno));
  else printf("%d code %d value %d pid %s uid %d\n", r, i->si_code, i->si_value.sival_int, i->si_pid == getpid() ? "self" : "other", i->si_uid);
}
static volatile int other_tid;
static void *other(void *a) {
  other_tid = syscall(SYS_gettid);
  while (1) pause();
}
int main(void) {
  sigset_t all, some;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, 0);
  siginfo_t i;
  struct timespec none = {0, 0}, bit = {0, 30000000}, bad = {0, 1000000000}, neg = {-1, 0};
  union sigval v;
  for (int k = 0; k < 3; k++) {
    v.sival_int = k;
    R(sigqueue(getpid(), SIGRTMIN + 5, v));
    R(sigqueue(getpid(), SIGRTMIN + 1, v));
    R(sigqueue(getpid(), SIGUSR1, v));
  }
  kill(getpid(), SIGRTMIN + 1);
  raise(SIGUSR2);
  for (int k = 0; k < 10; k++) show(sigtimedwait(&all, &i, &none), &i);
  long t0 = now_ms();
  show(sigtimedwait(&all, &i, &bit), &i);
  C(now_ms() - t0 >= 29);
  R(sigtimedwait(&all, &i, &bad));
  R(sigtimedwait(&all, &i, &neg));
  R(syscall(SYS_rt_sigtimedwait, &all, 0, &none, 4));
  R(syscall(SYS_rt_sigtimedwait, 8, 0, &none, 8));
  R(syscall(SYS_rt_sigtimedwait, &all, 0, 8, 8));
  raise(SIGUSR1);
  R(syscall(SYS_rt_sigtimedwait, &all, 8, &none, 8)); /* taken off all the same */
  R(sigtimedwait(&all, &i, &none));
  R(sigqueue(getpid(), 65, v));
  R(sigqueue(getpid(), -1, v));
  R(sigqueue(getpid(), 0, v));
  R(sigqueue(1 << 22, SIGUSR1, v));
  CHILD("to init, unprivileged", setresuid(65534, 65534, 65534); R(sigqueue(getppid(), SIGUSR1, v)); R(sigqueue(getppid(), 0, v)));
  while (sigtimedwait(&all, &i, &none) > 0) {
  }
  /* forging */
  memset(&i, 0, sizeof i);
  i.si_code = SI_USER;
  R(syscall(SYS_rt_sigqueueinfo, getppid(), SIGURG, &i));
  i.si_code = SI_TKILL;
  R(syscall(SYS_rt_sigqueueinfo, getppid(), SIGURG, &i));
  i.si_code = SI_USER, i.si_pid = 12345, i.si_uid = 99;
  R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGURG, &i));
  memset(&i, 0, sizeof i);
  R(sigtimedwait(&all, &i, &none));
  printf("code %d pid %d uid %d\n", i.si_code, i.si_pid, i.si_uid);
  i.si_code = 55;
  R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGURG, &i));
  sigtimedwait(&all, &i, &none);
  N(i.si_code);
  R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGURG, 8));
  i.si_code = SI_QUEUE;
  R(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR2, &i));
  show(sigtimedwait(&all, &i, &none), &i);
  R(syscall(SYS_rt_tgsigqueueinfo, getpid(), getppid(), SIGUSR2, &i));
  R(syscall(SYS_rt_tgsigqueueinfo, -1, getpid(), SIGUSR2, &i));
  R(syscall(SYS_tgkill, getpid(), 0, SIGUSR2));
  R(syscall(SYS_tkill, -1, SIGUSR2));
  /* the limit on queued signals */
  struct rlimit l = {4, 4};
  CHILD("RLIMIT_SIGPENDING", setresuid(65531, 65531, 65531); R(setrlimit(RLIMIT_SIGPENDING, &l)); for (int k = 0; k < 6; k++) R(sigqueue(getpid(), SIGRTMIN, v)); R(kill(getpid(), SIGUSR1)); R(kill(getpid(), SIGRTMIN + 2));
        int n = 0; while (sigtimedwait(&all, &i, &none) > 0) n++; N(n));
  /* an interrupted wait */
  sigemptyset(&some), sigaddset(&some, SIGUSR1);
  struct sigaction a = {.sa_handler = (void (*)(int))abs, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &a, 0);
  sigset_t al;
  sigemptyset(&al), sigaddset(&al, SIGALRM);
  sigprocmask(SIG_UNBLOCK, &al, 0);
  struct itimerval it = {{0, 0}, {0, 20000}};
  setitimer(ITIMER_REAL, &it, 0);
  R(sigtimedwait(&some, &i, 0));
  setitimer(ITIMER_REAL, &it, 0);
  R(sigwaitinfo(&some, &i));
  /* a waiting thread takes a signal that is blocked everywhere */
  pid_t me = getpid();
  fflush(stdout);
  if (!fork()) {
    ms(30);
    kill(me, SIGUSR1);
    _exit(0);
  }
  int r = sigwaitinfo(&some, &i);
  printf("%d code %d\n", r, i.si_code);
  R(sigpending(&al));
  N(sigismember(&al, SIGCHLD));
  /* a process may be meant by any of its threads */
  pthread_t th;
  pthread_create(&th, 0, other, 0);
  while (!other_tid) ms(1);
  siginfo_t q = {.si_code = SI_QUEUE, .si_value.sival_int = 3};
  R(syscall(SYS_rt_sigqueueinfo, other_tid, SIGUSR1, &q));
  R(sigwaitinfo(&some, &i));
  N(i.si_value.sival_int);
  q.si_code = SI_USER;
  R(syscall(SYS_rt_sigqueueinfo, other_tid, SIGUSR1, &q));
  R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &q));
  R(sigwaitinfo(&some, &i));
  setrlimit(RLIMIT_SIGPENDING, &(struct rlimit){0, 0});
  R(syscall(SYS_tgkill, getpid(), getpid(), SIGRTMIN));
  R(syscall(SYS_tkill, getpid(), SIGRTMIN));
  return 0;
}
