/* What the Sentry asks of the host for its stubs (platform/space.py): shared memory, sockets,
 * kicks. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "native.h"

int nv_fallocate(int fd, int mode, int64_t offset, int64_t length) {
  int r;
  do
    r = fallocate(fd, mode, offset, length);
  while (r < 0 && errno == EINTR);
  return r < 0 ? -errno : 0;
}

void *nv_map(int fd, uint64_t len, int writable) {
  void *p = mmap(NULL, len, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
  return p == MAP_FAILED ? NULL : p;
}

void *nv_map_pair(int first, uint64_t len, int second, uint64_t more) {
  char *p = nv_map(first, len + more, 1);
  if (!p)
    return NULL;
  if (mmap(p + len, more, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, second, 0) ==
      MAP_FAILED) {
    munmap(p, len + more);
    return NULL;
  }
  return p;
}

void nv_unmap(void *p, uint64_t len) { munmap(p, len); }

int nv_socketpair(int out[2]) {
  int one = 1;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out))
    return -errno;
  if (setsockopt(out[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one)) {
    int e = errno;
    close(out[0]);
    close(out[1]);
    return -e;
  }
  return 0;
}

int nv_send_fds(int sock, const int *fds, int n) {
  char byte = 0;
  struct iovec iov = {&byte, 1};
  union {
    struct cmsghdr h;
    char buf[CMSG_SPACE(sizeof(int) * 8)];
  } c;
  if (n < 1 || n > 8)
    return -EINVAL;
  memset(&c, 0, sizeof c);
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c};
  m.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n);
  c.h.cmsg_level = SOL_SOCKET;
  c.h.cmsg_type = SCM_RIGHTS;
  c.h.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
  memcpy(CMSG_DATA(&c.h), fds, sizeof(int) * (size_t)n);
  return sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int nv_recv_pid(int sock) {
  char byte;
  struct iovec iov = {&byte, 1};
  union {
    struct cmsghdr h;
    char buf[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * 8)];
  } c;
  struct msghdr m = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
  ssize_t r = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (r < 0)
    return errno == EAGAIN ? 0 : -errno;
  int pid = 0;
  for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
    if (h->cmsg_level != SOL_SOCKET)
      continue;
    if (h->cmsg_type == SCM_CREDENTIALS) {
      struct ucred u;
      memcpy(&u, CMSG_DATA(h), sizeof u);
      pid = u.pid;
    } else if (h->cmsg_type == SCM_RIGHTS) { /* a stub has no business sending descriptors */
      size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
        close(fd);
      }
    }
  }
  return r == 0 ? -EPIPE : pid;
}

int nv_tgkill(int pid, int tid, int sig) { return syscall(SYS_tgkill, pid, tid, sig) ? -errno : 0; }

int nv_signalfd(int sig) {
  sigset_t m;
  sigemptyset(&m);
  sigaddset(&m, sig);
  int fd = signalfd(-1, &m, SFD_NONBLOCK | SFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}
