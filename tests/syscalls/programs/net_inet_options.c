/* TCP and UDP on the loopback: options, states, errors of connect and bind, shutdown, out-of-band, peeking, time-outs. */
#include "t.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
static struct sockaddr_in at(int port) { return (struct sockaddr_in){AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}}; }
static int port(int s) {
  struct sockaddr_in a;
  socklen_t l = sizeof a;
  getsockname(s, (void *)&a, &l);
  return ntohs(a.sin_port);
}
static void opt(int s, int lv, int o, const char *n) {
  int v = -1;
  socklen_t l = sizeof v;
  int r = getsockopt(s, lv, o, &v, &l);
  printf("%s: %d %s %d\n", n, r, r ? strerrorname_np(errno) : "", r ? 0 : v);
}
#define OPT(s, lv, o) opt(s, lv, o, #o)
int main(void) {
  signal(SIGPIPE, SIG_IGN);
  int l = socket(AF_INET, SOCK_STREAM, 0), one = 1, zero = 0;
  struct sockaddr_in a = at(0), b;
  OPT(l, SOL_SOCKET, SO_TYPE), OPT(l, SOL_SOCKET, SO_DOMAIN), OPT(l, SOL_SOCKET, SO_PROTOCOL), OPT(l, SOL_SOCKET, SO_REUSEADDR), OPT(l, SOL_SOCKET, SO_KEEPALIVE), OPT(l, SOL_SOCKET, SO_ACCEPTCONN), OPT(l, SOL_SOCKET, SO_ERROR);
  OPT(l, IPPROTO_TCP, TCP_NODELAY), OPT(l, IPPROTO_TCP, TCP_MAXSEG + 1000), OPT(l, IPPROTO_IP, IP_TTL), OPT(l, IPPROTO_IP, IP_TOS), OPT(l, SOL_SOCKET, 9999);
  R(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
  R(setsockopt(l, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
  R(setsockopt(l, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one));
  R(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, 1));
  R(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, (void *)8, 4));
  R(setsockopt(l, SOL_SOCKET, 9999, &one, 4));
  OPT(l, SOL_SOCKET, SO_REUSEADDR), OPT(l, IPPROTO_TCP, TCP_NODELAY), OPT(l, SOL_SOCKET, SO_KEEPALIVE);
  R(listen(l, 5));
  C(port(l) != 0);
  OPT(l, SOL_SOCKET, SO_ACCEPTCONN);
  R(bind(l, (void *)&a, sizeof a));
  close(l);
  l = socket(AF_INET, SOCK_STREAM, 0);
  R(bind(l, (void *)&a, sizeof a));
  int p = port(l);
  C(p > 1023);
  int d = socket(AF_INET, SOCK_STREAM, 0);
  b = at(p);
  R(bind(d, (void *)&b, sizeof b));
  R(connect(d, (void *)&b, sizeof b)); /* nobody listens */
  OPT(d, SOL_SOCKET, SO_ERROR);
  R(listen(l, 1));
  R(connect(d, (void *)&b, sizeof b));
  R(connect(d, (void *)&b, sizeof b));
  R(bind(d, (void *)&a, sizeof a));
  R(accept(d, 0, 0));
  struct sockaddr_in peer;
  socklen_t n = sizeof peer;
  int c = accept4(l, (void *)&peer, &n, SOCK_NONBLOCK);
  C(c >= 0);
  C(ntohs(peer.sin_port) == port(d));
  N(n);
  R(fcntl(c, F_GETFL) & O_NONBLOCK);
  char x[100];
  R(recv(c, x, 10, 0));
  R(send(d, "hello world", 11, 0));
  ms(5);
  R(recv(c, x, 5, MSG_PEEK));
  R(recv(c, x, 5, MSG_PEEK));
  R(ioctl(c, FIONREAD, &n));
  N(n);
  R(recv(c, x, 100, MSG_TRUNC));
  R(recv(c, x, 100, 0));
  fcntl(c, F_SETFL, 0);
  struct timeval tv = {0, 30000};
  R(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
  long t0 = now_ms();
  R(recv(c, x, 10, 0));
  C(now_ms() - t0 >= 29);
  tv.tv_usec = 2000000;
  R(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
  send(d, "abc", 3, 0);
  R(recv(c, x, 10, MSG_WAITALL | MSG_DONTWAIT));
  R(shutdown(d, SHUT_WR));
  ms(5);
  R(recv(c, x, 10, 0));
  R(send(d, "x", 1, 0));
  R(send(c, "back", 4, 0));
  ms(5);
  R(recv(d, x, 10, 0));
  R(shutdown(d, 7));
  R(shutdown(l, SHUT_RDWR));
  R(accept(l, 0, 0));
  /* reset */
  struct linger lg = {1, 0};
  R(setsockopt(c, SOL_SOCKET, SO_LINGER, &lg, sizeof lg));
  close(c), ms(5);
  R(recv(d, x, 10, 0));
  R(recv(d, x, 10, 0));
  close(d), close(l);
  /* udp */
  int u = socket(AF_INET, SOCK_DGRAM, 0), w = socket(AF_INET, SOCK_DGRAM, 0);
  a = at(0);
  R(bind(u, (void *)&a, sizeof a));
  b = at(port(u));
  R(sendto(w, "one", 3, 0, (void *)&b, sizeof b));
  R(sendto(w, "", 0, 0, (void *)&b, sizeof b));
  R(send(w, "x", 1, 0));
  n = sizeof peer;
  R(recvfrom(u, x, 2, MSG_TRUNC, (void *)&peer, &n));
  C(ntohs(peer.sin_port) == port(w));
  R(recv(u, x, 10, 0));
  R(recv(u, x, 10, MSG_DONTWAIT));
  R(connect(w, (void *)&b, sizeof b));
  R(send(w, "two", 3, 0));
  R(recv(u, x, 10, 0));
  close(u), ms(2);
  R(send(w, "gone", 4, 0));
  ms(5);
  R(send(w, "gone", 4, 0));
  struct sockaddr_in bc = {AF_INET, htons(9), {htonl(INADDR_BROADCAST)}};
  R(sendto(w, "x", 1, 0, (void *)&bc, 1));
  b.sin_family = 99;
  R(connect(w, (void *)&b, sizeof b));
  R(bind(w, (void *)&b, sizeof b));
  b = at(0), b.sin_addr.s_addr = htonl(0x01020304);
  int z = socket(AF_INET, SOCK_STREAM, 0);
  R(bind(z, (void *)&b, sizeof b));
  R(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
  R(socket(AF_INET, 77, 0));
  R(socket(99, SOCK_STREAM, 0));
  CHILD("low port", setresuid(65534, 65534, 65534); b = at(80); R(bind(z, (void *)&b, sizeof b)); R(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)));
  int s6 = socket(AF_INET6, SOCK_STREAM, 0);
  struct sockaddr_in6 a6 = {AF_INET6, 0, 0, IN6ADDR_LOOPBACK_INIT};
  if (s6 >= 0) OPT(s6, IPPROTO_IPV6, IPV6_V6ONLY);
  return 0;
}
