#include "t.h"

int main(void) {
  struct sockaddr_un a = {AF_UNIX, "a"}, b = {AF_UNIX, "b"}, o;
  socklen_t l = sizeof o;
  char buf[100] = "";
  int s = socket(AF_UNIX, SOCK_DGRAM, 0), c = socket(AF_UNIX, SOCK_DGRAM, 0);
  bind(s, (void *)&a, sizeof a);
  bind(c, (void *)&b, sizeof b);
  R(sendto(c, "one", 3, 0, (void *)&a, sizeof a));
  R(sendto(c, "", 0, 0, (void *)&a, sizeof a));
  R(sendto(c, "three", 5, 0, (void *)&a, sizeof a));
  R(recvfrom(s, buf, 100, 0, (void *)&o, &l));
  puts(o.sun_path);
  R(recv(s, buf, 100, 0));
  R(recv(s, buf, 2, MSG_TRUNC));
  R(recv(s, buf, 2, MSG_DONTWAIT));
  R(send(c, "x", 1, 0));
  R(connect(c, (void *)&a, sizeof a));
  R(send(c, "conn", 4, 0));
  R(connect(s, (void *)&b, sizeof b));
  int x = socket(AF_UNIX, SOCK_DGRAM, 0);
  R(sendto(x, "no", 2, 0, (void *)&a, sizeof a));
  R(sendto(x, "no", 2, 0, (void *)"\1\0none", 7));
  close(s);
  R(send(c, "x", 1, 0));
  int p[2];
  R(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p));
  R(send(p[0], "abc", 3, 0));
  R(send(p[0], "defg", 4, 0));
  R(recv(p[1], buf, 2, 0));
  struct iovec v = {buf, 2};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
  R(recvmsg(p[1], &m, 0));
  printf("%x\n", m.msg_flags & MSG_TRUNC);
  close(p[0]);
  R(recv(p[1], buf, 10, 0));
  R(send(p[1], "x", 1, MSG_NOSIGNAL));
  struct sockaddr_un ab = {AF_UNIX};
  // One name for each process: on the host others may run the same test.
  snprintf(ab.sun_path + 1, 24, "nvsandbox-test-%08d", getpid());
  int q = socket(AF_UNIX, SOCK_DGRAM, 0), r = socket(AF_UNIX, SOCK_DGRAM, 0);
  R(bind(q, (void *)&ab, 2 + 24));
  R(bind(r, (void *)&ab, 2 + 24));
  R(sendto(r, "abs", 3, 0, (void *)&ab, 2 + 24));
  R(sendto(r, "abs", 3, 0, (void *)&ab, 2 + 23));
  R(bind(r, (void *)&ab, 2));
  l = sizeof o;
  R(getsockname(r, (void *)&o, &l));
  C(l == 8 && o.sun_path[0] == 0);
  struct mmsghdr mm[2] = {{{.msg_iov = &v, .msg_iovlen = 1}}, {{.msg_iov = &v, .msg_iovlen = 1}}};
  R(recvmmsg(q, mm, 2, MSG_DONTWAIT, 0));
  struct timeval tv = {0, 30000};
  setsockopt(q, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
  R(recv(q, buf, 1, 0));
  R(send(q, buf, 10000000, MSG_NOSIGNAL));
  return 0;
}
