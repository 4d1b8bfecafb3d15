#include "t.h"

#include <sys/signalfd.h>
int main(void) {
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGUSR1);
  sigaddset(&s, SIGRTMIN);
  sigaddset(&s, SIGCHLD);
  sigprocmask(SIG_BLOCK, &s, 0);
  int fd = signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC);
  struct signalfd_siginfo i[4];
  R(read(fd, i, sizeof i));
  R(read(fd, i, 10));
  raise(SIGUSR1);
  sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 6});
  struct pollfd p = {fd, POLLIN, 0};
  R(poll(&p, 1, 0));
  R(read(fd, i, sizeof i));
  printf("%d %d %d, %d %d %d\n", i[0].ssi_signo, i[0].ssi_code, i[0].ssi_pid == getpid(), i[1].ssi_signo, i[1].ssi_code, i[1].ssi_int);
  if (!fork()) _exit(3);
  poll(&p, 1, 5000);
  R(read(fd, i, sizeof i));
  printf("%d %d %d\n", i[0].ssi_signo, i[0].ssi_code, i[0].ssi_status);
  wait(0);
  sigdelset(&s, SIGUSR1);
  R(signalfd(fd, &s, 0) == fd);
  raise(SIGUSR1);
  R(read(fd, i, sizeof i));
  R(signalfd(0, &s, 0));
  R(signalfd(99, &s, 0));
  R(signalfd(-1, &s, 0x100));
  R(syscall(SYS_signalfd4, -1, &s, 4, 0));
  R(syscall(SYS_signalfd4, -1, 8, 8, 0));
  R(write(fd, i, 128));
  return 0;
}
