// sendmsg(2): messages of every shape, since those of up to 12 parts and 3840 bytes come with the trap and others don't.
#define _GNU_SOURCE
#include "t.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

static unsigned sum(const char *p, long n) {
  unsigned s = 0;
  for (long i = 0; i < n; i++)
    s = s * 31 + (unsigned char)p[i];
  return s;
}

int main(void) {
  static char from[32768], to[65536];
  for (int i = 0; i < (int)sizeof from; i++)
    from[i] = (char)(i * 7 + i / 251);
  for (int kind = 0; kind < 2; kind++) {
    int sv[2];
    R(socketpair(AF_UNIX, kind ? SOCK_DGRAM : SOCK_STREAM, 0, sv));
    for (int parts = 0; parts < 40; parts += parts < 14 ? 1 : 11) {
      int sizes[] = {0, 1, 100, 319, 320, 321, 512};
      for (unsigned k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct iovec iov[40];
        for (int i = 0; i < parts; i++)
          iov[i] = (struct iovec){from + i * 700 + i, (size_t)(sizes[k] + (sizes[k] ? i % 3 : 0))};
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)parts};
        long n = sendmsg(sv[0], &m, MSG_DONTWAIT);
        long got = n > 0 ? recv(sv[1], to, sizeof to, MSG_DONTWAIT) : 0;
        if (kind && n == 0)
          recv(sv[1], to, sizeof to, MSG_DONTWAIT);
        printf("%d parts of %d: %ld %ld %u\n", parts, sizes[k], n, got, sum(to, got > 0 ? got : 0));
      }
    }
    // where something isn't there
    char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    memset(page, 'p', 4096);
    struct iovec iov[2] = {{from, 10}, {page + 4090, 20}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    R(sendmsg(sv[0], &m, MSG_DONTWAIT));
    iov[1].iov_base = 0;
    R(sendmsg(sv[0], &m, MSG_DONTWAIT));
    m.msg_iov = (struct iovec *)(page + 4096 - 16);
    R(sendmsg(sv[0], &m, MSG_DONTWAIT));
    m.msg_iov = (struct iovec *)8;
    R(sendmsg(sv[0], &m, MSG_DONTWAIT));
    R(sendmsg(sv[0], (struct msghdr *)(page + 4096 - 40), MSG_DONTWAIT));
    R(sendmsg(sv[0], 0, MSG_DONTWAIT));
    m = (struct msghdr){.msg_iov = iov, .msg_iovlen = 1};
    iov[0].iov_len = (size_t)-1;
    R(sendmsg(sv[0], &m, MSG_DONTWAIT));
    m.msg_iovlen = (size_t)-1;
    R(sendmsg(sv[0], &m, MSG_DONTWAIT));
    // the header at the end of its page
    iov[0] = (struct iovec){from, 64};
    m.msg_iovlen = 1;
    memcpy(page + 4096 - sizeof m, &m, sizeof m);
    R(sendmsg(sv[0], (struct msghdr *)(page + 4096 - sizeof m), MSG_DONTWAIT));
    R(recv(sv[1], to, sizeof to, MSG_DONTWAIT));
    printf("%u\n", sum(to, 64));
    munmap(page, 4096);
    close(sv[0]), close(sv[1]);
  }
}
