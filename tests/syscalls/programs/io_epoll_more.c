/* epoll: edge, one-shot, exclusive, nested, loops, many of one file, a closed duplicate, the order of readiness. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
static int ep;
static void w(const char *what) {
  struct epoll_event e[8];
  int n = epoll_wait(ep, e, 8, 0);
  printf("%s: %d", what, n);
  for (int i = 0; i < n; i++) printf(" %x/%d", e[i].events, e[i].data.fd);
  puts("");
}
static int ctl(int op, int fd, unsigned ev, int data) {
  struct epoll_event e = {.events = ev, .data.fd = data};
  return epoll_ctl(ep, op, fd, &e);
}
int main(void) {
  ep = epoll_create1(EPOLL_CLOEXEC);
  int p[2];
  pipe(p);
  R(ctl(EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET, 1));
  R(ctl(EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
  write(p[1], "a", 1), w("edge");
  w("edge again");
  write(p[1], "b", 1), w("another write");
  char b[100];
  read(p[0], b, 1), w("a read is no edge");
  R(ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET, 2));
  w("modified: looked at anew");
  R(ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 3));
  w("one shot");
  w("spent");
  write(p[1], "c", 1), w("still spent");
  R(ctl(EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 4));
  w("armed again");
  R(ctl(EPOLL_CTL_MOD, p[0], 0, 5));
  w("nothing asked");
  close(p[1]), w("hangup comes unasked");
  R(ctl(EPOLL_CTL_DEL, p[0], 0, 0));
  R(ctl(EPOLL_CTL_DEL, p[0], 0, 0));
  R(ctl(EPOLL_CTL_MOD, p[0], EPOLLIN, 0));
  /* write side */
  pipe(p);
  R(ctl(EPOLL_CTL_ADD, p[1], EPOLLOUT | EPOLLET, 6));
  w("writable");
  w("no news");
  read(p[0], b, 0), close(p[0]), w("reader gone");
  ctl(EPOLL_CTL_DEL, p[1], 0, 0);
  /* a duplicate keeps it */
  int e1 = eventfd(1, 0), e2 = dup(e1);
  R(ctl(EPOLL_CTL_ADD, e1, EPOLLIN, 7));
  R(ctl(EPOLL_CTL_ADD, e2, EPOLLIN, 8));
  w("two of one");
  close(e1), w("one closed, its file is not");
  close(e2), w("all closed");
  /* nested */
  int in = epoll_create1(0), ev = eventfd(0, EFD_NONBLOCK);
  struct epoll_event x = {.events = EPOLLIN, .data.fd = 9};
  R(epoll_ctl(in, EPOLL_CTL_ADD, ev, &x));
  R(ctl(EPOLL_CTL_ADD, in, EPOLLIN, 10));
  w("inner has nothing");
  eventfd_write(ev, 1), w("inner is ready");
  struct pollfd pf = {in, POLLIN};
  R(poll(&pf, 1, 0));
  R(epoll_ctl(in, EPOLL_CTL_ADD, ep, &x)); /* a loop */
  R(ctl(EPOLL_CTL_ADD, ep, EPOLLIN, 0));
  int deep[6];
  for (int i = 0; i < 6; i++) {
    deep[i] = epoll_create1(0);
    x.data.fd = i;
    printf("depth %d: %s\n", i, epoll_ctl(deep[i], EPOLL_CTL_ADD, i ? deep[i - 1] : ev, &x) ? strerrorname_np(errno) : "ok");
  }
  /* exclusive */
  R(ctl(EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLEXCLUSIVE, 11));
  w("exclusive");
  R(ctl(EPOLL_CTL_MOD, ev, EPOLLIN, 11));
  ctl(EPOLL_CTL_DEL, ev, 0, 0);
  R(ctl(EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 11));
  R(ctl(EPOLL_CTL_ADD, ev, EPOLLIN, 11));
  R(ctl(EPOLL_CTL_MOD, ev, EPOLLIN | EPOLLEXCLUSIVE, 11));
  R(ctl(EPOLL_CTL_ADD, deep[0], EPOLLIN | EPOLLEXCLUSIVE, 12));
  ctl(EPOLL_CTL_DEL, ev, 0, 0), ctl(EPOLL_CTL_DEL, in, 0, 0);
  /* fairness: more ready than asked for come round */
  int evs[3];
  for (int i = 0; i < 3; i++) evs[i] = eventfd(1, 0), ctl(EPOLL_CTL_ADD, evs[i], EPOLLIN, 20 + i);
  for (int i = 0; i < 6; i++) {
    struct epoll_event one;
    epoll_wait(ep, &one, 1, 0);
    printf("%d ", one.data.fd);
  }
  puts("");
  /* errors */
  int reg = open("f", O_RDWR | O_CREAT, 0600), dir = open(".", O_RDONLY);
  R(ctl(EPOLL_CTL_ADD, reg, EPOLLIN, 0));
  R(ctl(EPOLL_CTL_ADD, dir, EPOLLIN, 0));
  R(ctl(EPOLL_CTL_ADD, 1000, EPOLLIN, 0));
  R(ctl(99, evs[0], EPOLLIN, 0));
  R(epoll_ctl(reg, EPOLL_CTL_ADD, evs[0], &x));
  R(epoll_ctl(ep, EPOLL_CTL_MOD, evs[0], (void *)8));
  R(epoll_ctl(ep, EPOLL_CTL_DEL, evs[0], 0));
  R(epoll_wait(ep, &x, 0, 0));
  R(epoll_wait(ep, &x, -1, 0));
  R(epoll_wait(ep, (void *)8, 1, 0));
  R(epoll_wait(reg, &x, 1, 0));
  R(epoll_wait(1000, &x, 1, 0));
  R(epoll_create(0));
  R(epoll_create1(1));
  sigset_t s;
  sigemptyset(&s);
  R(syscall(SYS_epoll_pwait, ep, &x, 1, 0, &s, 4));
  struct timespec ts = {0, 1000000000};
  R(syscall(SYS_epoll_pwait2, ep, &x, 1, &ts, 0, 0));
  R(epoll_ctl(ep, EPOLL_CTL_DEL, evs[1], &x));
  R(epoll_ctl(ep, EPOLL_CTL_DEL, evs[2], &x));
  ts.tv_nsec = 1000000;
  R(syscall(SYS_epoll_pwait2, ep, &x, 1, &ts, 0, 0));
  /* exclusive: a wake-up that finds nobody at the first goes on to the next */
  int q[2], first = epoll_create1(0), second = epoll_create1(0);
  pipe(q);
  struct epoll_event only = {EPOLLIN | EPOLLEXCLUSIVE | EPOLLET, {.u32 = 1}};
  R(epoll_ctl(first, EPOLL_CTL_ADD, q[0], &only));
  R(epoll_ctl(second, EPOLL_CTL_ADD, q[0], &only));
  fflush(stdout);
  pid_t w = fork();
  if (!w) _exit(epoll_wait(second, &x, 1, 3000));
  ms(100);
  write(q[1], "x", 1);
  int st;
  waitpid(w, &st, 0);
  status_("the one that waits", st);
  R(epoll_wait(first, &x, 1, 0));
  return 0;
}
