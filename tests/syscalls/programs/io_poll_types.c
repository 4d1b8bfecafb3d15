/* poll and select on every kind of descriptor. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/syscall.h>
static void p(const char *n, int fd) {
  struct pollfd f = {fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLWRNORM | POLLRDBAND | POLLWRBAND};
  int r = poll(&f, 1, 0);
  fd_set a, b, c;
  FD_ZERO(&a);
  FD_ZERO(&b);
  FD_ZERO(&c);
  FD_SET(fd, &a), FD_SET(fd, &b), FD_SET(fd, &c);
  struct timeval z = {0, 0};
  int s = select(fd + 1, &a, &b, &c, &z);
  printf("%s: poll %d %x, select %d r%d w%d e%d\n", n, r, f.revents, s, FD_ISSET(fd, &a), FD_ISSET(fd, &b), FD_ISSET(fd, &c));
}
int main(void) {
  int q[2], s[2], d[2];
  pipe(q), socketpair(AF_UNIX, SOCK_STREAM, 0, s), socketpair(AF_UNIX, SOCK_DGRAM, 0, d);
  p("empty pipe, read end", q[0]), p("empty pipe, write end", q[1]);
  write(q[1], "x", 1), p("pipe with data", q[0]);
  fcntl(q[1], F_SETPIPE_SZ, 4096);
  static char big[1 << 16];
  write(q[1], big, 4000), p("nearly full", q[1]);
  int dupw = dup(q[1]);
  close(q[1]), p("one writer left", q[0]), close(dupw), p("no writer, data", q[0]);
  read(q[0], big, 5000), p("no writer, no data", q[0]);
  pipe(q), close(q[0]), p("no reader", q[1]);
  p("socket", s[0]), write(s[1], "x", 1), p("socket with data", s[0]);
  shutdown(s[1], SHUT_WR), p("peer shut down", s[0]), close(s[1]), p("peer closed", s[0]);
  p("datagram", d[0]), send(d[1], "x", 1, 0), p("datagram waiting", d[0]), close(d[1]), p("datagram, peer gone", d[0]);
  int l = socket(AF_UNIX, SOCK_STREAM, 0);
  p("unbound", l);
  struct sockaddr_un a = {AF_UNIX, "sock"};
  bind(l, (void *)&a, sizeof a), listen(l, 5), p("listening", l);
  int c = socket(AF_UNIX, SOCK_STREAM, 0);
  connect(c, (void *)&a, sizeof a), p("connection waiting", l), p("connected", c);
  int t = socket(AF_INET, SOCK_STREAM, 0), u = socket(AF_INET, SOCK_DGRAM, 0);
  p("tcp, new", t), p("udp, new", u);
  int f = open("f", O_RDWR | O_CREAT, 0600), dir = open(".", O_RDONLY), n = open("/dev/null", O_RDWR), z = open("/dev/zero", O_RDWR), r = open("/dev/urandom", O_RDONLY);
  p("file", f), p("directory", dir), p("null", n), p("zero", z), p("random", r), p("memfd", memfd_create("m", 0));
  int e = eventfd(0, EFD_NONBLOCK);
  p("eventfd 0", e), eventfd_write(e, 5), p("eventfd 5", e), eventfd_write(e, 0xfffffffffffffff9), p("eventfd full", e);
  sigset_t m;
  sigemptyset(&m), sigaddset(&m, SIGUSR1), sigprocmask(SIG_BLOCK, &m, 0);
  int sf = signalfd(-1, &m, 0);
  p("signalfd", sf), raise(SIGUSR1), p("signal pending", sf);
  int tf = timerfd_create(CLOCK_MONOTONIC, 0);
  struct itimerspec it = {{0, 0}, {0, 1}};
  p("timerfd", tf), timerfd_settime(tf, 0, &it, 0), ms(5), p("expired", tf);
  int ep = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN};
  p("epoll", ep), epoll_ctl(ep, EPOLL_CTL_ADD, tf, &ev), p("epoll with news", ep);
  int in = inotify_init();
  p("inotify", in), inotify_add_watch(in, ".", IN_CREATE), put("new", ""), p("inotify with news", in);
  fflush(stdout);
  pid_t k = fork();
  if (!k) pause();
  int pf = syscall(SYS_pidfd_open, k, 0);
  p("pidfd", pf), kill(k, 9), ms(20), p("pidfd of a zombie", pf);
  int pt = posix_openpt(O_RDWR);
  grantpt(pt), unlockpt(pt);
  p("ptmx", pt);
  int sl = open(ptsname(pt), O_RDWR | O_NOCTTY);
  p("ptmx, open slave", pt), p("slave", sl), write(pt, "x", 1), p("no line yet", sl), write(pt, "\n", 1), ms(5), p("a line", sl);
  close(sl), ms(5), p("ptmx, closed slave", pt);
  sl = open(ptsname(pt), O_RDWR | O_NOCTTY), close(pt), p("slave without master", sl);
  mkfifo("ff", 0600);
  int ff = open("ff", O_RDWR);
  p("FIFO both ways", ff);
  int pr = open("/proc/self/mounts", O_RDONLY), st = open("/proc/self/stat", O_RDONLY);
  p("proc file", st);
  struct pollfd bad[3] = {{1000, POLLIN}, {-1, POLLIN}, {f, 0}};
  R(poll(bad, 3, 0));
  printf("%x %x %x\n", bad[0].revents, bad[1].revents, bad[2].revents);
  fd_set w;
  FD_ZERO(&w);
  FD_SET(999, &w);
  struct timeval zero = {0, 0}, neg = {-1, 0};
  R(select(1000, &w, 0, 0, &zero));
  R(select(-1, 0, 0, 0, &zero));
  R(select(0, 0, 0, 0, &neg));
  R(poll((void *)8, 1, 0));
  R(poll(0, 0, 0));
  R(select(10, (void *)8, 0, 0, &zero));
  return 0;
}
