/* tee, vmsplice and splice where they refuse or stop early. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
int main(void) {
  int a[2], b[2], c[2];
  char buf[70000];
  pipe(a), pipe(b), pipe(c);
  signal(SIGPIPE, SIG_IGN);
  R(tee(a[0], b[1], 10, SPLICE_F_NONBLOCK));
  write(a[1], "hello world", 11);
  R(tee(a[0], b[1], 5, 0));
  R(tee(a[0], b[1], 100, 0));
  R(read(b[0], buf, 100));
  printf("%.16s\n", buf);
  R(tee(a[0], a[1], 5, 0));
  R(tee(a[1], b[1], 5, 0));
  R(tee(a[0], b[0], 5, 0));
  R(tee(a[0], 1000, 5, 0));
  R(tee(a[0], b[1], 5, 0x100));
  R(tee(a[0], b[1], 0, 0));
  int fd = open("f", O_RDWR | O_CREAT, 0644);
  R(tee(a[0], fd, 5, 0));
  R(tee(fd, b[1], 5, 0));
  R(read(a[0], buf, 100));
  R(tee(a[0], b[1], 5, 0x100));
  close(a[1]);
  R(tee(a[0], b[1], 5, 0));
  R(splice(a[0], 0, b[1], 0, 5, 0));
  close(a[0]);
  pipe(a);
  /* vmsplice */
  struct iovec v[3] = {{"abc", 3}, {"", 0}, {"defg", 4}};
  R(vmsplice(a[1], v, 3, 0));
  R(ioctl(a[0], FIONREAD, buf));
  N(*(int *)buf);
  struct iovec w[2] = {{buf, 2}, {buf + 10, 50}};
  R(vmsplice(a[0], w, 2, 0));
  printf("%.2s %.5s\n", buf, buf + 10);
  R(vmsplice(a[0], w, 2, SPLICE_F_NONBLOCK));
  R(vmsplice(a[1], v, 0, 0));
  R(vmsplice(a[1], v, 1025, 0));
  R(vmsplice(a[1], v, 3, 0x100));
  R(vmsplice(fd, v, 3, 0));
  R(vmsplice(1000, v, 3, 0));
  R(vmsplice(a[1], (void *)8, 1, 0));
  v[0].iov_base = (void *)8;
  R(vmsplice(a[1], v, 1, 0));
  v[0].iov_base = "abc";
  v[1].iov_base = (void *)8, v[1].iov_len = 5;
  R(vmsplice(a[1], v, 2, 0));
  R(ioctl(a[0], FIONREAD, buf));
  N(*(int *)buf);
  close(a[0]);
  R(vmsplice(a[1], v, 1, 0));
  close(a[1]);
  /* splice, file to pipe and back */
  pipe(a);
  write(fd, "0123456789", 10);
  loff_t o = 2;
  R(splice(fd, &o, a[1], 0, 4, 0));
  N(o);
  R(lseek(fd, 0, SEEK_CUR));
  R(splice(fd, 0, a[1], 0, 4, 0)); /* at the end */
  o = 100;
  R(splice(fd, &o, a[1], 0, 4, 0));
  o = -1;
  R(splice(fd, &o, a[1], 0, 4, 0));
  o = 20;
  R(splice(a[0], 0, fd, &o, 100, 0));
  N(o);
  R(lseek(fd, 0, SEEK_END));
  R(splice(a[0], 0, fd, &o, 100, SPLICE_F_NONBLOCK));
  R(splice(a[0], &o, fd, 0, 100, 0));
  R(splice(fd, 0, a[1], &o, 100, 0));
  R(splice(fd, 0, fd, 0, 100, 0));
  R(splice(a[0], 0, a[1], 0, 100, 0));
  R(splice(fd, 0, a[1], 0, 100, 0x100));
  R(splice(fd, (void *)8, a[1], 0, 100, 0));
  R(splice(1000, 0, a[1], 0, 100, 0));
  int ro = open("f", O_RDONLY), ap = open("f", O_WRONLY | O_APPEND);
  write(a[1], "xyz", 3);
  R(splice(a[0], 0, ro, 0, 3, 0));
  R(splice(a[0], 0, ap, 0, 3, 0));
  R(splice(ap, 0, a[1], 0, 3, 0));
  int dn = open("/dev/null", O_RDWR), dz = open("/dev/zero", O_RDWR);
  R(splice(a[0], 0, dn, 0, 100, 0));
  R(splice(dz, 0, a[1], 0, 100, 0));
  R(read(a[0], buf, 1000));
  /* a full pipe */
  fcntl(a[1], F_SETPIPE_SZ, 4096);
  memset(buf, 'x', sizeof buf);
  R(write(a[1], buf, 4096));
  lseek(fd, 0, SEEK_SET);
  R(splice(fd, 0, a[1], 0, 100, SPLICE_F_NONBLOCK));
  R(tee(a[0], b[1], 65536, 0));
  R(tee(a[0], b[1], 65536, 0));
  int s[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  R(splice(a[0], 0, s[0], 0, 100, 0));
  R(read(s[1], buf, 1000));
  write(s[1], "via socket", 10);
  R(splice(s[0], 0, c[1], 0, 100, 0));
  R(read(c[0], buf, 1000));
  printf("%.10s\n", buf);
  R(splice(s[0], 0, c[1], 0, 100, SPLICE_F_NONBLOCK));
  close(s[1]);
  R(splice(s[0], 0, c[1], 0, 100, 0));
  write(c[1], "x", 1);
  R(splice(c[0], 0, s[0], 0, 100, 0));
  /* what can't be spliced says so before anybody waits */
  int e[2], others[] = {eventfd(0, 0), epoll_create1(0), timerfd_create(CLOCK_MONOTONIC, 0), inotify_init()};
  pipe(e);
  for (int i = 0; i < 4; i++) { R(splice(e[0], 0, others[i], 0, 1, 0)); R(splice(others[i], 0, e[1], 0, 1, 0)); }
  R(splice(open("/", O_RDONLY), 0, e[1], 0, 1, 0));
  /* a vector larger than the pipe: what there is room for */
  static char large[200000];
  struct iovec lv = {large, sizeof large};
  R(vmsplice(e[1], &lv, 1, 0));
  R(vmsplice(e[1], &lv, 1, SPLICE_F_NONBLOCK));
  R(read(e[0], large, 10000));
  R(vmsplice(e[1], &lv, 1, 0));
  return 0;
}
