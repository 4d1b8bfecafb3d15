/* eventfd: semaphore mode, overflow, blocking, sharing, errors; signalfd with several signals. */
#include "t.h"
#include <sys/eventfd.h>
#include <sys/signalfd.h>
int main(void) {
  uint64_t v;
  int e = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
  for (int i = 0; i < 4; i++) {
    R(read(e, &v, 8));
  }
  v = 0xffffffffffffffff;
  R(write(e, &v, 8));
  v = 0xfffffffffffffffe;
  R(write(e, &v, 8));
  v = 1;
  R(write(e, &v, 8));
  R(read(e, &v, 8));
  N(v);
  R(write(e, &v, 8));
  R(read(e, &v, 7));
  R(write(e, &v, 4));
  R(read(e, (char[100]){}, 100));
  R(eventfd(0, 8));
  R(lseek(e, 0, SEEK_SET));
  R(pread(e, &v, 8, 0));
  int b = eventfd(0, 0);
  fflush(stdout);
  if (!fork()) {
    ms(30);
    v = 5;
    write(b, &v, 8);
    _exit(0);
  }
  R(read(b, &v, 8));
  N(v);
  wait(0);
  v = 0xfffffffffffffffe;
  write(b, &v, 8);
  fflush(stdout);
  if (!fork()) {
    ms(30);
    read(b, &v, 8);
    _exit(0);
  }
  v = 7;
  R(write(b, &v, 8));
  wait(0);
  R(read(b, &v, 8));
  N(v);
  R(write(b, (void *)8, 8));
  R(read(b, (void *)8, 0));
  /* signalfd */
  sigset_t m, n;
  sigemptyset(&m), sigaddset(&m, SIGUSR1), sigaddset(&m, SIGUSR2), sigaddset(&m, SIGRTMIN), sigaddset(&m, SIGCHLD);
  sigprocmask(SIG_BLOCK, &m, 0);
  int s = signalfd(-1, &m, SFD_NONBLOCK | SFD_CLOEXEC);
  struct signalfd_siginfo i[8];
  R(read(s, i, sizeof i));
  kill(getpid(), SIGUSR2), kill(getpid(), SIGUSR1), raise(SIGUSR1);
  sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 42}), sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 43});
  R(read(s, i, 127));
  R(read(s, i, sizeof i[0]) / 128);
  printf("%d code %d\n", i[0].ssi_signo, i[0].ssi_code);
  long k = read(s, i, sizeof i) / 128;
  for (long j = 0; j < k; j++) printf("%d code %d int %d %s\n", i[j].ssi_signo, i[j].ssi_code, i[j].ssi_int, i[j].ssi_pid == getpid() ? "self" : "other");
  fflush(stdout);
  pid_t c = fork();
  if (!c) _exit(9);
  waitpid(c, 0, 0);
  R(read(s, i, sizeof i) / 128);
  printf("%d code %d status %d %d\n", i[0].ssi_signo, i[0].ssi_code, i[0].ssi_status, i[0].ssi_pid == c);
  sigemptyset(&n), sigaddset(&n, SIGUSR2);
  C(signalfd(s, &n, 0) == s);
  raise(SIGUSR1), raise(SIGUSR2);
  R(read(s, i, sizeof i) / 128);
  N(i[0].ssi_signo);
  R(signalfd(1, &n, 0));
  R(signalfd(1000, &n, 0));
  R(signalfd(-1, &n, 1));
  sigfillset(&n);
  OK(signalfd(-1, &n, 0)); /* KILL and STOP are left out in silence */
  return 0;
}
