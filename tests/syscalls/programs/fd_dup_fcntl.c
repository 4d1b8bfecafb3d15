#include "t.h"

int main(void) {
  int fd = open("f", O_RDWR | O_CREAT, 0600);
  R(dup(fd));
  R(dup(99));
  R(dup2(fd, 20));
  R(dup2(fd, fd));
  R(dup2(99, 99));
  R(dup2(99, 5));
  R(dup2(fd, -1));
  R(dup2(fd, 100000));
  R(dup3(fd, 21, O_CLOEXEC));
  R(dup3(fd, fd, 0));
  R(dup3(fd, 22, 0x5));
  R(fcntl(21, F_GETFD));
  R(fcntl(fd, F_DUPFD, 50));
  R(fcntl(fd, F_DUPFD_CLOEXEC, 50));
  R(fcntl(51, F_GETFD));
  R(fcntl(fd, F_DUPFD, -1));
  R(fcntl(fd, F_DUPFD, 100000));
  R(write(fd, "abc", 3));
  R(lseek(20, 0, SEEK_CUR));
  R(fcntl(20, F_SETFL, O_APPEND));
  R((fcntl(fd, F_GETFL) & O_APPEND) != 0);
  R(fcntl(fd, F_SETFD, FD_CLOEXEC));
  R(fcntl(20, F_GETFD));
  R(fcntl(fd, 9999));
  R(fcntl(99, F_GETFD));
  R(fcntl(fd, F_SETOWN, getpid()));
  C(fcntl(fd, F_GETOWN) == getpid());
  R(fcntl(fd, F_SETSIG, SIGUSR1));
  R(fcntl(fd, F_GETSIG));
  R(fcntl(fd, F_SETSIG, 99));
  R(fcntl(fd, F_GETPIPE_SZ));
  R(close_range(50, 60, 0));
  R(fcntl(50, F_GETFD));
  R(close_range(20, 30, CLOSE_RANGE_CLOEXEC));
  R(fcntl(20, F_GETFD));
  R(close_range(30, 20, 0));
  R(close_range(3, 4, 0x10));
  R(close(fd));
  R(close(fd));
  R(close(-1));
  fflush(stdout);
  execl("/bin/ls", "ls", "/proc/self/fd", NULL);
  return 0;
}
