#include "t.h"

static void h(int s) {}
int main(void) {
  int p[2];
  pipe(p);
  struct pollfd f[3] = {{p[0], POLLIN, 0}, {-1, POLLIN, 9}, {99, POLLIN, 0}};
  R(poll(f, 3, 0));
  printf("%x %x %x\n", f[0].revents, f[1].revents, f[2].revents);
  f[2].fd = p[1], f[2].events = POLLOUT | POLLIN;
  R(poll(f, 3, -1));
  printf("%x\n", f[2].revents);
  long a = now_ms();
  R(poll(f, 1, 30));
  C(now_ms() - a >= 30);
  R(poll(0, 0, 10));
  R(poll((void *)8, 1, 0));
  R(poll(f, 1 << 20, 0));
  fd_set r, w, x;
  FD_ZERO(&r);
  FD_ZERO(&w);
  FD_ZERO(&x);
  FD_SET(p[0], &r);
  FD_SET(p[1], &w);
  struct timeval t = {0, 0};
  R(select(10, &r, &w, &x, &t));
  printf("%d %d\n", FD_ISSET(p[0], &r), FD_ISSET(p[1], &w));
  write(p[1], "x", 1);
  FD_SET(p[0], &r);
  R(select(10, &r, 0, 0, 0));
  R(select(-1, 0, 0, 0, &t));
  t.tv_usec = -1;
  R(select(0, 0, 0, 0, &t));
  t = (struct timeval){0, 20000};
  R(select(0, 0, 0, 0, &t));
  N(t.tv_usec);
  R(select(5, (void *)8, 0, 0, &t));
  signal(SIGALRM, h);
  sigset_t s, e;
  sigemptyset(&s), sigemptyset(&e);
  sigaddset(&s, SIGALRM);
  sigprocmask(SIG_BLOCK, &s, 0);
  raise(SIGALRM);
  struct timespec ts = {2, 0};
  R(ppoll(0, 0, &ts, &e));
  raise(SIGALRM);
  R(pselect(0, 0, 0, 0, &ts, &e));
  ts.tv_nsec = -1;
  R(ppoll(0, 0, &ts, 0));
  struct rlimit l = {20, 20};
  int fd = open("f", O_RDWR | O_CREAT, 0600);
  f[0] = (struct pollfd){fd, POLLIN | POLLOUT, 0};
  R(poll(f, 1, 0));
  N(f[0].revents);
  f[0].fd = open("/dev/null", O_RDWR);
  R(poll(f, 1, 0));
  N(f[0].revents);
  return 0;
}
