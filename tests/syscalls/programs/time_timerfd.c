#include "t.h"

#include <sys/timerfd.h>
int main(void) {
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  uint64_t n = 0;
  R(read(fd, &n, 8));
  struct itimerspec s = {{0, 10000000}, {0, 10000000}}, o;
  R(timerfd_settime(fd, 0, &s, 0));
  struct pollfd p = {fd, POLLIN, 0};
  R(poll(&p, 1, 2000));
  ms(60);
  R(read(fd, &n, 8));
  C(n >= 5);
  R(read(fd, &n, 4));
  R(timerfd_gettime(fd, &o));
  N(o.it_interval.tv_nsec);
  s = (struct itimerspec){0};
  R(timerfd_settime(fd, 0, &s, &o));
  N(o.it_interval.tv_nsec);
  R(poll(&p, 1, 30));
  R(timerfd_create(99, 0));
  R(timerfd_create(CLOCK_MONOTONIC, 1));
  R(timerfd_settime(0, 0, &s, 0));
  R(timerfd_settime(99, 0, &s, 0));
  s.it_value.tv_nsec = 1000000000;
  R(timerfd_settime(fd, 0, &s, 0));
  s.it_value.tv_nsec = 1;
  R(timerfd_settime(fd, 0x10, &s, 0));
  R(timerfd_settime(fd, TFD_TIMER_ABSTIME, &s, 0));
  fcntl(fd, F_SETFL, 0);
  R(read(fd, &n, 8));
  N(n);
  R(write(fd, &n, 8));
  R(lseek(fd, 0, SEEK_SET));
  return 0;
}
