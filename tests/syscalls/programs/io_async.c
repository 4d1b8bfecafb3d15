/* O_ASYNC: who is told by which signal that a pipe, socket, terminal or inotify instance is ready; owners and what is refused. */
#include "t.h"
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <termios.h>
static volatile int count, code, band, fd_, from;
static void h(int s, siginfo_t *i, void *c) { count++, code = i->si_code, band = i->si_band, fd_ = i->si_fd; }
static void told(const char *what, int fd) {
  ms(10);
  printf("%s: %s", what, count ? "told" : "nothing");
  if (count && code != SI_KERNEL) printf(" code %d band %x fd %d", code, band, fd_ == fd);
  puts("");
  count = 0;
}
static void owner(int fd) {
  struct f_owner_ex o = {9, 9};
  fcntl(fd, F_GETOWN_EX, &o);
  printf("owner %d %s %d\n", o.type, o.pid == getpid() ? "me" : o.pid == getpgrp() ? "group" : o.pid ? "other" : "none", fcntl(fd, F_GETOWN) > 0);
}
int main(void) {
  setpgid(0, 0);
  struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
  sigaction(SIGIO, &a, 0), sigaction(SIGRTMIN, &a, 0), sigaction(SIGURG, &a, 0);
  int p[2], s[2];
  char b[100];
  pipe(p);
  owner(p[0]);
  R(fcntl(p[0], F_SETFL, O_ASYNC));
  R((fcntl(p[0], F_GETFL) & O_ASYNC) != 0);
  write(p[1], "x", 1);
  told("nobody owns it", p[0]);
  R(fcntl(p[0], F_SETOWN, getpid()));
  owner(p[0]);
  write(p[1], "x", 1);
  told("SIGIO", p[0]);
  R(fcntl(p[0], F_SETSIG, SIGRTMIN));
  write(p[1], "x", 1);
  told("chosen", p[0]);
  R(fcntl(p[0], F_SETOWN, -getpgrp()));
  owner(p[0]);
  write(p[1], "x", 1);
  told("the group", p[0]);
  struct f_owner_ex o = {F_OWNER_TID, getpid()};
  R(fcntl(p[0], F_SETOWN_EX, &o));
  owner(p[0]);
  write(p[1], "x", 1);
  told("the thread", p[0]);
  o.type = F_OWNER_PGRP;
  R(fcntl(p[0], F_SETOWN_EX, &o));
  owner(p[0]);
  o.type = 3;
  R(fcntl(p[0], F_SETOWN_EX, &o));
  o.type = F_OWNER_PID, o.pid = 1 << 22;
  R(fcntl(p[0], F_SETOWN_EX, &o));
  R(fcntl(p[0], F_SETOWN, 1 << 22));
  R(fcntl(p[0], F_SETOWN, INT_MIN));
  R(fcntl(p[0], F_SETOWN, 0));
  owner(p[0]);
  write(p[1], "x", 1);
  told("nobody again", p[0]);
  fcntl(p[0], F_SETOWN, getpid());
  R(fcntl(p[0], F_SETFL, 0));
  write(p[1], "x", 1);
  told("off", p[0]);
  /* the other side: room */
  int on = 1;
  R(ioctl(p[1], FIOASYNC, &on));
  R((fcntl(p[1], F_GETFL) & O_ASYNC) != 0);
  fcntl(p[1], F_SETOWN, getpid()), fcntl(p[1], F_SETSIG, SIGRTMIN);
  fcntl(p[1], F_SETFL, O_ASYNC | O_NONBLOCK);
  while (write(p[1], b, 100) > 0) {
  }
  count = 0;
  char big[4096];
  for (int i = 0; i < 4; i++) read(p[0], big, 4096);
  told("room", p[1]);
  /* sockets */
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  int me = getpid(), got = 0;
  R(ioctl(s[0], FIOSETOWN, &me));
  R(ioctl(s[0], SIOCGPGRP, &got));
  C(got == me);
  R(fcntl(s[0], F_SETFL, O_ASYNC));
  R(fcntl(s[0], F_SETSIG, SIGRTMIN));
  send(s[1], "x", 1, 0);
  told("a socket", s[0]);
  int d = dup(s[0]);
  close(s[0]);
  send(s[1], "x", 1, 0);
  told("its duplicate", s[0]);
  close(d);
  R(ioctl(p[0], FIOSETOWN, &me));
  /* inotify, and what has no signals */
  int n = inotify_init();
  fcntl(n, F_SETOWN, getpid());
  R(fcntl(n, F_SETFL, O_ASYNC));
  inotify_add_watch(n, ".", IN_CREATE);
  put("new", "");
  told("inotify", n);
  int e = eventfd(0, 0), f = open("new", O_RDWR);
  R(fcntl(e, F_SETFL, O_ASYNC));
  R((fcntl(e, F_GETFL) & O_ASYNC) != 0);
  R(ioctl(e, FIOASYNC, &on));
  R(fcntl(f, F_SETFL, O_ASYNC));
  R((fcntl(f, F_GETFL) & O_ASYNC) != 0);
  R(ioctl(f, FIOASYNC, &on));
  on = 0;
  R(ioctl(f, FIOASYNC, &on));
  /* another user's process isn't told */
  int q[2];
  pipe(q);
  fflush(stdout);
  pid_t c = fork();
  if (!c) {
    setresuid(65534, 65534, 65534);
    fcntl(q[0], F_SETOWN, getppid()), fcntl(q[0], F_SETFL, O_ASYNC);
    write(q[1], "x", 1);
    _exit(0);
  }
  waitpid(c, 0, 0);
  told("by a stranger", q[0]);
  return 0;
}
