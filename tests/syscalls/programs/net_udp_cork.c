/* Datagrams in pieces (MSG_MORE, UDP_CORK), control messages that mean nothing there, the urgent mark, interface calls without memory. */
#include "t.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

static struct sockaddr_in to;
static socklen_t len = sizeof to;
static char b[70000];

static void got(int s) {
  ssize_t n = recv(s, b, sizeof b, MSG_DONTWAIT);
  if (n < 0) printf("nothing: %s\n", strerrorname_np(errno));
  else printf("%zd: %.*s\n", n, n > 20 ? 20 : (int)n, b);
  fflush(stdout);
}

int main(void) {
  int r = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0), one = 1, zero = 0, v = -1;
  to = (struct sockaddr_in){AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
  bind(r, (void *)&to, sizeof to);
  getsockname(r, (void *)&to, &len);
  R(sendto(s, "one ", 4, MSG_MORE, (void *)&to, sizeof to));
  got(r);
  R(sendto(s, "two ", 4, MSG_MORE, 0, 0));
  got(r);
  R(send(s, "three", 5, 0));
  got(r);
  got(r);
  R(send(s, "no address", 10, MSG_MORE));
  R(sendto(s, 0, 0, MSG_MORE, (void *)&to, sizeof to));
  R(sendto(s, "x", 1, 0, (void *)&to, sizeof to));
  got(r);
  R(getsockopt(s, SOL_UDP, UDP_CORK, &v, &(socklen_t){4}));
  N(v);
  R(setsockopt(s, SOL_UDP, UDP_CORK, &one, 4));
  R(getsockopt(s, SOL_UDP, UDP_CORK, &v, &(socklen_t){4}));
  N(v);
  R(connect(s, (void *)&to, sizeof to));
  R(write(s, "a", 1));
  R(write(s, "b", 1));
  got(r);
  R(setsockopt(s, SOL_UDP, UDP_CORK, &zero, 4));
  got(r);
  R(setsockopt(s, SOL_UDP, UDP_CORK, &one, 4));
  R(send(s, "c", 1, 0));
  R(setsockopt(s, SOL_UDP, UDP_CORK, &zero, 4));
  got(r);
  R(setsockopt(s, SOL_UDP, UDP_CORK, &zero, 2));
  R(send(s, b, 40000, MSG_MORE));
  R(send(s, b, 40000, MSG_MORE));
  R(send(s, "afterwards", 10, 0));
  got(r);
  char c[CMSG_SPACE(4)] = {0};
  struct iovec iov = {"with", 4};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_LEN(4)};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  *h = (struct cmsghdr){CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS};
  R(sendmsg(s, &m, 0));
  got(r);
  h->cmsg_type = SCM_CREDENTIALS;
  R(sendmsg(s, &m, 0));
  got(r);
  h->cmsg_type = 77;
  R(sendmsg(s, &m, 0));
  int l = socket(AF_INET, SOCK_STREAM, 0), d = socket(AF_INET, SOCK_STREAM, 0);
  listen(l, 1);
  getsockname(l, (void *)&to, &len);
  R(ioctl(l, SIOCATMARK, &v));
  connect(d, (void *)&to, sizeof to);
  v = -1;
  R(ioctl(d, SIOCATMARK, &v));
  N(v);
  R(ioctl(d, SIOCATMARK, 0));
  R(ioctl(d, SIOCSIFFLAGS, 0));
  R(ioctl(d, SIOCGIFFLAGS, 0));
  R(setsockopt(d, IPPROTO_TCP, TCP_ULP, "nosuch", 6));
  return 0;
}
