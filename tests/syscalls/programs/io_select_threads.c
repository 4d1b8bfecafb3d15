/* A descriptor closed, a FIFO opened, an epoll changed, a signal sent while another thread waits in poll, select, read, accept. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
static int p[2], ep, ls;
static void *poller(void *x) {
  struct pollfd f = {p[0], POLLIN};
  return (void *)(long)poll(&f, 1, 1000);
}
static void *waiter(void *x) {
  struct epoll_event e;
  return (void *)(long)epoll_wait(ep, &e, 1, 1000);
}
static void *reader(void *x) {
  char b[10];
  return (void *)read(p[0], b, 10);
}
static void *acceptor(void *x) { return (void *)(long)(accept(ls, 0, 0) >= 0 ? 1 : -errno); }
static long join(pthread_t t) {
  void *r;
  pthread_join(t, &r);
  return (long)r;
}
int main(void) {
  pthread_t t;
  pipe(p);
  pthread_create(&t, 0, poller, 0), ms(20), write(p[1], "a", 1);
  N(join(t));
  char b[10];
  read(p[0], b, 10);
  ep = epoll_create1(0);
  int ev = eventfd(0, 0);
  struct epoll_event e = {.events = EPOLLIN};
  epoll_ctl(ep, EPOLL_CTL_ADD, ev, &e);
  pthread_create(&t, 0, waiter, 0), ms(20), eventfd_write(ev, 1);
  N(join(t));
  epoll_ctl(ep, EPOLL_CTL_DEL, ev, 0);
  pthread_create(&t, 0, waiter, 0), ms(20), epoll_ctl(ep, EPOLL_CTL_ADD, ev, &e); /* ready when added */
  N(join(t));
  pthread_create(&t, 0, reader, 0), ms(20), write(p[1], "abc", 3);
  N(join(t));
  pthread_create(&t, 0, reader, 0), ms(20), close(p[1]);
  N(join(t));
  ls = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un a = {AF_UNIX, "s"};
  bind(ls, (void *)&a, sizeof a), listen(ls, 5);
  pthread_create(&t, 0, acceptor, 0), ms(20);
  int c = socket(AF_UNIX, SOCK_STREAM, 0);
  connect(c, (void *)&a, sizeof a);
  N(join(t));
  pthread_create(&t, 0, acceptor, 0), ms(20), shutdown(ls, SHUT_RDWR);
  N(join(t));
  /* two waiters, one event each */
  pthread_t u;
  int sem = eventfd(0, EFD_SEMAPHORE);
  p[0] = sem;
  pthread_create(&t, 0, reader, 0), pthread_create(&u, 0, reader, 0), ms(20), eventfd_write(sem, 2);
  N(join(t) + join(u));
  return 0;
}
