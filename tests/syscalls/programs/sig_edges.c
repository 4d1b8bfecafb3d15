/* Signals at their edges: refusals, siginfo of each way to send, interruption, and the default
 * action of every one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define R(x)                                                                                       \
  do {                                                                                             \
    errno = 0;                                                                                     \
    long r_ = (long)(x);                                                                           \
    printf("%s = %ld %s\n", #x, r_, r_ < 0 ? strerrorname_np(errno) : "");                         \
  } while (0)
static volatile int n;
static void h(int s) { n++; }
static void hi(int s, siginfo_t *i, void *u) {
  n++;
  printf("  si %d code %d val %d pid %d uid %d\n", s, i->si_code, i->si_value.sival_int,
         i->si_pid == getpid(), i->si_uid);
}
static long raw(int s, const void *a, void *o, size_t z) {
  return syscall(SYS_rt_sigaction, s, a, o, z);
}
int main(void) {
  setvbuf(stdout, 0, _IONBF, 0);
  struct sigaction sa = {.sa_handler = h}, old;
  R(sigaction(0, &sa, 0));
  R(sigaction(65, &sa, 0));
  R(sigaction(SIGKILL, &sa, 0));
  R(sigaction(SIGKILL, 0, &old));
  R(sigaction(SIGSTOP, &sa, 0));
  char ka[32] = {0};
  R(raw(SIGUSR1, ka, 0, 4));
  R(raw(SIGUSR1, (void *)1, 0, 8));
  R(raw(SIGUSR1, 0, (void *)1, 8));
  R(raw(SIGKILL, ka, 0, 8));
  R(raw(32, 0, ka, 8));
  R(syscall(SYS_rt_sigprocmask, 9, ka, 0, 8));
  R(syscall(SYS_rt_sigprocmask, 9, 0, ka, 8));
  R(syscall(SYS_rt_sigprocmask, 0, ka, 0, 16));
  R(syscall(SYS_rt_sigprocmask, 0, (void *)1, 0, 8));
  R(kill(getpid(), 0));
  R(kill(getpid(), 65));
  R(kill(999999, 0));
  R(kill(-999999, 0));
  R(kill(0x80000000, 0));
  R(tgkill(getpid(), getpid(), 0));
  R(syscall(SYS_tgkill, getpid(), 0, 0));
  R(syscall(SYS_tgkill, -1, 1, 0));
  R(syscall(SYS_tgkill, getpid() + 1, getpid(), 0));
  R(syscall(SYS_tkill, getpid(), 0));
  R(syscall(SYS_tkill, 0, 0));
  R(syscall(SYS_tkill, getpid(), 100));
  sa.sa_sigaction = hi;
  sa.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &sa, 0);
  sigaction(SIGRTMIN, &sa, 0);
  union sigval v = {.sival_int = 7};
  R(sigqueue(getpid(), SIGUSR1, v));
  R(sigqueue(getpid(), SIGRTMIN, v));
  R(sigqueue(getpid(), 0, v));
  R(sigqueue(999999, SIGUSR1, v));
  raise(SIGUSR1);
  kill(getpid(), SIGUSR1);
  siginfo_t si = {0};
  si.si_code = SI_QUEUE;
  R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &si));
  si.si_code = SI_USER;
  R(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &si));
  R(syscall(SYS_rt_sigqueueinfo, 1, 0, &si));
  si.si_code = SI_TKILL;
  R(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR1, &si));
  si.si_code = 0;
  if (!fork()) {
    R(syscall(SYS_rt_sigqueueinfo, getppid(), 0, &si));
    _exit(0);
  }
  wait(0);
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGRTMIN);
  sigaddset(&s, SIGUSR1);
  sigprocmask(SIG_BLOCK, &s, 0);
  n = 0;
  for (int i = 0; i < 5; i++) {
    v.sival_int = i;
    sigqueue(getpid(), SIGRTMIN, v);
    kill(getpid(), SIGUSR1);
  }
  sigset_t p;
  sigpending(&p);
  printf("pend %d %d\n", sigismember(&p, SIGRTMIN), sigismember(&p, SIGUSR1));
  sigprocmask(SIG_UNBLOCK, &s, 0);
  printf("n %d\n", n);
  sigprocmask(SIG_BLOCK, &s, 0);
  struct timespec ts = {0, 10000000}, bad = {0, 1000000000};
  R(sigtimedwait(&s, &si, &ts));
  R(sigtimedwait(&s, &si, &bad));
  kill(getpid(), SIGUSR1);
  R(sigtimedwait(&s, &si, &ts));
  v.sival_int = 3;
  sigqueue(getpid(), SIGRTMIN, v);
  kill(getpid(), SIGUSR1);
  R(sigwaitinfo(&s, &si));
  R(sigwaitinfo(&s, &si));
  printf("val %d\n", si.si_value.sival_int);
  R(syscall(SYS_rt_sigtimedwait, &s, 0, &ts, 4));
  R(syscall(SYS_rt_sigtimedwait, (void *)1, 0, &ts, 8));
  signal(SIGUSR1, SIG_IGN);
  kill(getpid(), SIGUSR1);
  sigpending(&p);
  printf("ign pend %d\n", sigismember(&p, SIGUSR1));
  signal(SIGUSR1, SIG_DFL);
  sigpending(&p);
  printf("%d\n", sigismember(&p, SIGUSR1));
  signal(SIGUSR1, SIG_IGN);
  sigpending(&p);
  printf("%d\n", sigismember(&p, SIGUSR1));
  sigprocmask(SIG_UNBLOCK, &s, 0);
  signal(SIGALRM, h);
  n = 0;
  struct itimerval it = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &it, 0);
  while (n < 3)
    pause();
  it.it_value.tv_usec = it.it_interval.tv_usec = 0;
  struct itimerval o;
  R(setitimer(ITIMER_REAL, &it, &o));
  printf("%d %d\n", (int)o.it_interval.tv_usec, o.it_value.tv_usec <= 2000);
  it.it_value.tv_usec = 1000000;
  R(setitimer(ITIMER_REAL, &it, 0));
  it.it_value.tv_usec = -1;
  R(setitimer(ITIMER_REAL, &it, 0));
  R(setitimer(9, &it, 0));
  R(getitimer(9, &it));
  R(setitimer(ITIMER_REAL, (void *)1, 0));
  R(alarm(5));
  R(alarm(0));
  R(ualarm(0, 0));
  // EINTR & restart table
  int pp[2];
  pipe(pp);
  sa.sa_handler = h;
  sa.sa_flags = 0;
  sigaction(SIGALRM, &sa, 0);
  char c;
  alarm(0);
  it = (struct itimerval){{0, 0}, {0, 20000}};
  setitimer(0, &it, 0);
  R(read(pp[0], &c, 1));
  setitimer(0, &it, 0);
  R(poll(0, 0, 1000));
  setitimer(0, &it, 0);
  struct timespec t1 = {1, 0}, rem = {0};
  R(nanosleep(&t1, &rem));
  printf("rem %d\n", rem.tv_sec == 0 && rem.tv_nsec > 900000000);
  setitimer(0, &it, 0);
  R(wait(0));
  setitimer(0, &it, 0);
  R(pause());
  setitimer(0, &it, 0);
  R(select(0, 0, 0, 0, &(struct timeval){1, 0}));
  setitimer(0, &it, 0);
  rem = t1;
  R(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){1 << 30, 0}, &rem));
  sigemptyset(&s);
  setitimer(0, &it, 0);
  R(sigsuspend(&s));
  setitimer(0, &it, 0);
  R(flock(open("lk", O_CREAT | O_RDWR, 0600), 2));
  struct rlimit rl = {0, 0};
  setrlimit(RLIMIT_SIGPENDING, &rl);
  R(sigqueue(getpid(), SIGRTMIN, v));
  if (geteuid() == 0) {
    if (!fork()) {
      setuid(1234);
      sigset_t q;
      sigfillset(&q);
      sigprocmask(SIG_BLOCK, &q, 0);
      R(sigqueue(getpid(), SIGRTMIN, v));
      R(kill(getpid(), SIGRTMIN));
      R(kill(getppid(), 0));
      R(kill(1, 0));
      R(kill(-1, 0));
      _exit(0);
    }
    wait(0);
  }
  it.it_value.tv_usec = 0;
  setitimer(0, &it, 0);
  sa.sa_handler = h;
  sa.sa_flags = SA_RESETHAND;
  sigaction(SIGUSR2, &sa, 0);
  raise(SIGUSR2);
  sigaction(SIGUSR2, 0, &old);
  printf("reset %d\n", old.sa_handler == SIG_DFL);
  R(signalfd(-1, &s, 0x80));
  R(signalfd(99, &s, 0));
  R(signalfd(pp[0], &s, 0));
  R(syscall(SYS_signalfd4, -1, &s, 4, 0));
  stack_t st = {0};
  st.ss_size = 100;
  st.ss_sp = &st;
  R(sigaltstack(&st, 0));
  st.ss_flags = 99;
  R(sigaltstack(&st, 0));
  R(sigaltstack((void *)1, 0));
  R(prctl(PR_SET_PDEATHSIG, 65));
  R(prctl(999));
  for (int sg = 1; sg <= 64; sg++) {
    if (sg == 32 || sg == 33)
      continue;
    fflush(stdout);
    if (!fork()) {
      struct rlimit z = {0, 0};
      setrlimit(RLIMIT_CORE, &z);
      signal(sg, SIG_DFL);
      sigset_t e;
      sigemptyset(&e);
      sigprocmask(SIG_SETMASK, &e, 0);
      kill(getpid(), sg);
      _exit(sg & 63);
    }
    int w = -1;
    waitpid(-1, &w, WUNTRACED);
    printf("%d:%x ", sg, w);
    if (WIFSTOPPED(w)) {
      kill(-0, SIGCONT);
      int k;
      signal(SIGCONT, SIG_IGN);
      waitpid(-1, &k, WNOHANG);
      kill(0, SIGCONT);
      waitpid(-1, &k, 0);
      printf("(%x) ", k);
    }
  }
  puts("");
  return 0;
}
