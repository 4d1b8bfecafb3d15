#include "t.h"

static long sendfds(int s, int *fds, int n) {
  char c[200] = "";
  struct iovec v = {"x", 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(4 * n)};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(4 * n);
  memcpy(CMSG_DATA(h), fds, 4 * n);
  return sendmsg(s, &m, 0);
}
static long recvfds(int s, int *fds, int space, int flags) {
  char c[200], b[10];
  struct iovec v = {b, 10};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = space};
  long r = recvmsg(s, &m, flags);
  int n = 0;
  for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h && r > 0; h = CMSG_NXTHDR(&m, h)) {
    if (h->cmsg_type == SCM_RIGHTS) {
      n = (h->cmsg_len - CMSG_LEN(0)) / 4;
      memcpy(fds, CMSG_DATA(h), 4 * n);
    } else if (h->cmsg_type == SCM_CREDENTIALS) {
      struct ucred *u = (void *)CMSG_DATA(h);
      printf("  creds %s %d %d\n", u->pid == getpid() ? "me" : u->pid == getppid() ? "parent" : "other", u->uid, u->gid);
    }
  }
  printf("  %ld bytes, %d descriptors, flags %x, control %ld\n", r, n, m.msg_flags & ~MSG_CMSG_CLOEXEC, (long)m.msg_controllen);
  return r;
}
int main(void) {
  int s[2], fds[10] = {0}, one = 1;
  put("f", "content");
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  int f[3] = {open("f", O_RDONLY), 0, s[0]};
  R(sendfds(s[0], f, 1));
  R(recvfds(s[1], fds, 200, MSG_CMSG_CLOEXEC));
  char b[10] = "";
  R(read(fds[0], b, 3));
  R(lseek(f[0], 0, SEEK_CUR));
  R(fcntl(fds[0], F_GETFD));
  R(sendfds(s[0], f, 3));
  R(recvfds(s[1], fds, CMSG_SPACE(4), 0));
  R(sendfds(s[0], f, 3));
  R(recvfds(s[1], fds, 0, 0));
  f[1] = 99;
  R(sendfds(s[0], f, 3));
  f[1] = 0;
  R(sendfds(s[0], f, 1));
  R(write(s[0], "more", 4));
  R(recvfds(s[1], fds, 200, 0));
  R(recvfds(s[1], fds, 200, 0));
  R(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
  R(write(s[0], "c", 1));
  R(recvfds(s[1], fds, 200, 0));
  fflush(stdout);
  if (!fork()) {
    sendfds(s[0], f, 2);
    _exit(0);
  }
  wait(0);
  R(recvfds(s[1], fds, 200, 0));
  char c[100] = "";
  struct iovec v = {"x", 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(sizeof(struct ucred))};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_CREDENTIALS, h->cmsg_len = CMSG_LEN(sizeof(struct ucred));
  struct ucred u = {getpid(), 77, 88};
  memcpy(CMSG_DATA(h), &u, sizeof u);
  R(sendmsg(s[0], &m, 0));
  R(recvfds(s[1], fds, 200, 0));
  CHILD("not root", setuid(1); R(sendmsg(s[0], &m, 0)));
  h->cmsg_type = 99;
  R(sendmsg(s[0], &m, 0));
  h->cmsg_type = SCM_RIGHTS, h->cmsg_len = 4;
  R(sendmsg(s[0], &m, 0));
  m.msg_control = (void *)8;
  R(sendmsg(s[0], &m, 0));
  return 0;
}
