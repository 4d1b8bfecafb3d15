#include "t.h"

#include <sys/pidfd.h>
int main(void) {
  pid_t p = fork();
  if (!p) {
    pause();
    _exit(0);
  }
  int fd = pidfd_open(p, 0);
  C(fd >= 0);
  N(fcntl(fd, F_GETFD));
  struct pollfd pf = {fd, POLLIN, 0};
  R(poll(&pf, 1, 0));
  R(pidfd_send_signal(fd, 0, 0, 0));
  R(pidfd_send_signal(fd, 99, 0, 0));
  R(pidfd_send_signal(0, SIGTERM, 0, 0));
  R(pidfd_send_signal(fd, SIGTERM, 0, 0));
  R(poll(&pf, 1, 5000));
  N(pf.revents);
  char b[10];
  R(read(fd, b, 10));
  R(waitid(P_PIDFD, fd, 0, WEXITED));
  R(pidfd_send_signal(fd, SIGTERM, 0, 0));
  OK(pidfd_open(-1, 0));
  OK(pidfd_open(0, 0));
  OK(pidfd_open(p, 0));
  OK(pidfd_open(getpid(), 0x100));
  int self = pidfd_open(getpid(), PIDFD_NONBLOCK);
  N(fcntl(self, F_GETFL) & O_NONBLOCK);
  R(waitid(P_PIDFD, self, 0, WEXITED));
  int g = pidfd_getfd(self, 1, 0);
  C(g > 1);
  N(fcntl(g, F_GETFD));
  R(pidfd_getfd(self, 555, 0));
  R(pidfd_getfd(self, 1, 1));
  p = fork();
  if (!p) pause();
  fd = pidfd_open(p, PIDFD_NONBLOCK);
  siginfo_t i;
  R(waitid(P_PIDFD, fd, &i, WEXITED));
  kill(p, 9);
  wait(0);
  return 0;
}
