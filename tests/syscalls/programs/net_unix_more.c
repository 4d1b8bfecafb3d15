/* Unix sockets: credentials, sockets in flight, sequenced packets, abstract names, datagram connect, autobind, limits. */
#include "t.h"
static socklen_t un(struct sockaddr_un *a, const char *p) {
  a->sun_family = AF_UNIX;
  strcpy(a->sun_path, p);
  return offsetof(struct sockaddr_un, sun_path) + strlen(p) + 1;
}
static int send_fd(int s, int fd) {
  char b = 'f';
  struct iovec v = {&b, 1};
  union { struct cmsghdr h; char c[CMSG_SPACE(4)]; } u = {};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u};
  u.h = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(&u.h), &fd, 4);
  return sendmsg(s, &m, 0);
}
static int recv_fd(int s) {
  char b;
  struct iovec v = {&b, 1};
  union { struct cmsghdr h; char c[CMSG_SPACE(4)]; } u;
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u};
  int fd = -1;
  if (recvmsg(s, &m, 0) > 0 && m.msg_controllen) memcpy(&fd, CMSG_DATA(&u.h), 4);
  return fd;
}
int main(void) {
  signal(SIGPIPE, SIG_IGN);
  int s[2], t[2];
  char b[200];
  socketpair(AF_UNIX, SOCK_STREAM, 0, s), socketpair(AF_UNIX, SOCK_STREAM, 0, t);
  struct ucred c;
  socklen_t l = sizeof c;
  R(getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &c, &l));
  C(c.pid == getpid());
  N(c.uid);
  N(l);
  /* a socket in flight, used, passed on and on */
  write(t[1], "waiting", 7);
  R(send_fd(s[0], t[0]));
  close(t[0]);
  int g = recv_fd(s[1]);
  R(read(g, b, 100));
  R(send_fd(t[1], t[1])); /* into itself */
  R(send_fd(t[1], s[0]));
  close(t[1]);
  int x = recv_fd(g);
  R(write(x, "ok", 2));
  int y = recv_fd(g);
  R(write(y, "via", 3));
  R(read(s[1], b, 100));
  close(x), close(g), close(y), close(s[0]);
  R(read(s[1], b, 100)); /* all copies are gone */
  /* sequenced packets */
  int q[2];
  socketpair(AF_UNIX, SOCK_SEQPACKET, 0, q);
  R(send(q[0], "first", 5, 0));
  R(send(q[0], "", 0, 0));
  R(send(q[0], "a longer one", 12, MSG_EOR));
  R(recv(q[1], b, 3, 0));
  R(recv(q[1], b, 100, 0));
  struct iovec v = {b, 4};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
  R(recvmsg(q[1], &m, MSG_TRUNC));
  printf("%x\n", m.msg_flags);
  close(q[0]);
  R(recv(q[1], b, 10, 0));
  R(send(q[1], b, 1, MSG_NOSIGNAL));
  /* abstract, autobind */
  struct sockaddr_un a = {AF_UNIX}, r;
  a.sun_path[1] = 'x', a.sun_path[3] = 'y';
  int d = socket(AF_UNIX, SOCK_DGRAM, 0), e = socket(AF_UNIX, SOCK_DGRAM, 0);
  R(bind(d, (void *)&a, 2 + 4));
  R(bind(e, (void *)&a, 2 + 4));
  R(bind(e, (void *)&a, 2));
  l = sizeof r;
  R(getsockname(e, (void *)&r, &l));
  N(l);
  R(bind(e, (void *)&a, 2));
  R(sendto(e, "dg", 2, 0, (void *)&a, 6));
  l = sizeof r;
  R(recvfrom(d, b, 100, 0, (void *)&r, &l));
  N(l);
  R(sendto(e, "dg", 2, 0, (void *)&a, 5));
  /* datagram connect */
  R(connect(e, (void *)&a, 6));
  R(send(e, "1", 1, 0));
  R(connect(d, (void *)&r, l));
  int o = socket(AF_UNIX, SOCK_DGRAM, 0);
  R(sendto(o, "2", 1, 0, (void *)&a, 6)); /* d listens to e only now */
  struct sockaddr none = {AF_UNSPEC};
  R(connect(d, &none, sizeof none));
  R(sendto(o, "3", 1, 0, (void *)&a, 6));
  R(recv(d, b, 10, 0)); /* what had come before is gone */
  printf("%c\n", b[0]);
  R(recv(d, b, 10, MSG_DONTWAIT));
  close(d);
  R(send(e, "4", 1, 0));
  R(send(e, "4", 1, 0));
  /* names in the file system */
  l = un(&a, "sock");
  int ls = socket(AF_UNIX, SOCK_STREAM, 0);
  R(bind(ls, (void *)&a, l));
  R(bind(ls, (void *)&a, l));
  int k = socket(AF_UNIX, SOCK_STREAM, 0);
  R(connect(k, (void *)&a, l));
  R(listen(ls, 1));
  R(connect(k, (void *)&a, l));
  R(connect(k, (void *)&a, l));
  int k2 = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), k3 = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  R(connect(k2, (void *)&a, l));
  R(connect(k3, (void *)&a, l));
  int dg = socket(AF_UNIX, SOCK_DGRAM, 0);
  R(connect(dg, (void *)&a, l));
  l = sizeof r;
  int ac = accept(ls, (void *)&r, &l);
  C(ac >= 0);
  N(l);
  l = sizeof r;
  R(getpeername(k, (void *)&r, &l));
  puts(r.sun_path);
  l = 3;
  R(getsockname(ls, (void *)&r, &l));
  N(l);
  R(getpeername(ls, (void *)&r, &l));
  R(accept(k, 0, 0));
  R(listen(k, 5));
  unlink("sock");
  l = un(&a, "sock");
  R(connect(k3, (void *)&a, l));
  put("file", "");
  l = un(&a, "file");
  R(connect(k3, (void *)&a, l));
  R(bind(k3, (void *)&a, l));
  l = un(&a, "none/sock");
  R(bind(k3, (void *)&a, l));
  R(bind(k3, (void *)&a, 1));
  R(bind(k3, (void *)&a, 200));
  R(bind(k3, (void *)8, 10));
  /* shutdown, options */
  R(shutdown(k, SHUT_WR));
  R(write(k, "x", 1) == -1 && errno == EPIPE ? 0 : -1);
  return 0;
}
