#include "t.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
int main(void) {
  int e = epoll_create1(EPOLL_CLOEXEC), p[2], q[2];
  pipe2(p, O_NONBLOCK);
  struct epoll_event v = {EPOLLIN, {.u32 = 1}}, o[8];
  R(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v));
  R(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &v));
  R(epoll_ctl(e, EPOLL_CTL_ADD, 99, &v));
  R(epoll_ctl(e, EPOLL_CTL_ADD, e, &v));
  R(epoll_ctl(e, EPOLL_CTL_MOD, p[1], &v));
  R(epoll_ctl(e, EPOLL_CTL_DEL, p[1], &v));
  R(epoll_ctl(e, 9, p[0], &v));
  R(epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &v));
  R(epoll_ctl(e, EPOLL_CTL_ADD, open(".", O_RDONLY), &v));
  R(epoll_wait(e, o, 8, 0));
  write(p[1], "ab", 2);
  R(epoll_wait(e, o, 8, 0));
  R(epoll_wait(e, o, 8, 0));
  printf("level %x %d\n", o[0].events, o[0].data.u32);
  v.events = EPOLLIN | EPOLLET;
  R(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &v));
  R(epoll_wait(e, o, 8, 0));
  R(epoll_wait(e, o, 8, 0));
  write(p[1], "c", 1);
  R(epoll_wait(e, o, 8, 0));
  R(epoll_wait(e, o, 8, 0));
  v.events = EPOLLIN | EPOLLONESHOT;
  R(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &v));
  R(epoll_wait(e, o, 8, 0));
  R(epoll_wait(e, o, 8, 0));
  R(epoll_ctl(e, EPOLL_CTL_MOD, p[0], &v));
  R(epoll_wait(e, o, 8, 0));
  v.events = EPOLLOUT | EPOLLET;
  v.data.u32 = 2;
  R(epoll_ctl(e, EPOLL_CTL_ADD, p[1], &v));
  R(epoll_wait(e, o, 8, 0));
  close(p[0]);
  R(epoll_wait(e, o, 8, 0));
  printf("%x %d\n", o[0].events, o[0].data.u32);
  close(p[1]);
  R(epoll_wait(e, o, 8, 0));
  R(epoll_wait(e, o, 0, 0));
  R(epoll_wait(e, o, -1, 0));
  R(epoll_wait(e, (void *)8, 1, 0));
  R(epoll_wait(0, o, 8, 0));
  R(epoll_create1(5));
  R(epoll_create(0));
  int in = epoll_create1(0), ev = eventfd(0, 0);
  v.events = EPOLLIN;
  R(epoll_ctl(in, EPOLL_CTL_ADD, ev, &v));
  R(epoll_ctl(e, EPOLL_CTL_ADD, in, &v));
  R(epoll_ctl(in, EPOLL_CTL_ADD, e, &v));
  R(epoll_wait(e, o, 8, 0));
  eventfd_write(ev, 1);
  R(epoll_wait(e, o, 8, 0));
  struct pollfd pf = {e, POLLIN, 0};
  R(poll(&pf, 1, 0));
  int d = dup(ev);
  close(ev);
  R(epoll_wait(in, o, 8, 0));
  close(d);
  R(epoll_wait(in, o, 8, 0));
  pipe(q);
  v.data.u32 = 7;
  epoll_ctl(e, EPOLL_CTL_ADD, q[0], &v);
  if (!fork()) {
    ms(50);
    write(q[1], "x", 1);
    _exit(0);
  }
  R(epoll_wait(e, o, 8, 5000));
  N(o[0].data.u32);
  struct timespec t = {0, 1000000};
  read(q[0], o, 1);
  R(syscall(SYS_epoll_pwait2, e, o, 8, &t, 0, 8));
  v.events = EPOLLIN | EPOLLEXCLUSIVE;
  R(epoll_ctl(e, EPOLL_CTL_MOD, q[0], &v));
  return 0;
}
