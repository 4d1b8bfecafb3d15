/* Buffers of which only a part is there: how many bytes a call says it moved, and where it stands afterwards. */
#include "t.h"
#include <sys/random.h>
static char *edge(size_t n) { /* n bytes, then nothing */
  static char *p;
  p = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(p + 8192, 4096);
  memset(p, 'e', 8192);
  return p + 8192 - n;
}
int main(void) {
  char *bad = (char *)8, big[20000];
  memset(big, 'b', sizeof big);
  int fd = open("f", O_RDWR | O_CREAT, 0644);
  write(fd, big, 20000);
  lseek(fd, 0, SEEK_SET);
  R(read(fd, edge(100), 200));
  R(lseek(fd, 0, SEEK_CUR));
  R(pread(fd, edge(5000), 6000, 0));
  R(read(fd, bad, 10));
  R(lseek(fd, 0, SEEK_CUR));
  R(read(fd, bad, 0));
  R(pread(fd, bad, 10, 1 << 20)); /* at the end nothing is touched */
  struct iovec v[3] = {{big, 10}, {edge(20), 100}, {big, 10}};
  R(preadv(fd, v, 3, 0));
  v[1].iov_base = bad;
  R(preadv(fd, v, 3, 0));
  v[0].iov_base = bad;
  R(preadv(fd, v, 3, 0));
  /* writing */
  lseek(fd, 0, SEEK_SET);
  R(write(fd, edge(100), 200));
  R(lseek(fd, 0, SEEK_CUR));
  R(pwrite(fd, edge(6000), 7000, 0));
  char *q = edge(6000);
  for (int i = 0; i < 6000; i++) q[i] = i * 31 >> 3;
  R(pwrite(fd, q, 7000, 0));
  R(pread(fd, big, 6000, 0));
  N(memcmp(big, q, 6000));
  memset(q, 'w', 6000);
  R(pwrite(fd, q, 6000, 0));
  R(pread(fd, big, 6000, 0));
  N(memcmp(big, q, 6000));
  memset(big, 'b', sizeof big);
  R(write(fd, bad, 10));
  R(write(fd, bad, 0));
  v[0].iov_base = big, v[1].iov_base = edge(20);
  R(pwritev(fd, v, 3, 0));
  v[1].iov_base = bad;
  R(pwritev(fd, v, 3, 0));
  R(lseek(fd, 0, SEEK_END));
  /* a pipe */
  int p[2];
  pipe(p);
  R(write(p[1], edge(100), 200));
  R(ioctl(p[0], FIONREAD, big));
  N(*(int *)big);
  R(write(p[1], edge(5000), 6000));
  R(write(p[1], bad, 10));
  R(writev(p[1], (struct iovec[]){{"abc", 3}, {bad, 5}}, 2));
  R(ioctl(p[0], FIONREAD, big));
  N(*(int *)big);
  R(read(p[0], bad, 10));
  R(read(p[0], big, 20000));
  write(p[1], "0123456789", 10);
  R(read(p[0], edge(4), 10));
  R(readv(p[0], (struct iovec[]){{big, 2}, {bad, 5}}, 2));
  fcntl(p[0], F_SETFL, O_NONBLOCK);
  R(read(p[0], big, 100));
  /* a socket takes all or nothing */
  int s[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  R(send(s[0], edge(100), 200, 0));
  R(send(s[0], bad, 10, 0));
  R(send(s[0], "0123456789", 10, 0));
  R(recv(s[1], bad, 10, 0));
  R(recv(s[1], big, 1000, MSG_DONTWAIT));
  int d[2];
  socketpair(AF_UNIX, SOCK_DGRAM, 0, d);
  R(send(d[0], edge(100), 200, 0));
  R(send(d[0], "0123456789", 10, 0));
  R(recv(d[1], edge(4), 10, 0));
  R(recv(d[1], big, 1000, MSG_DONTWAIT));
  /* a directory: entries that don't fit the good part */
  mkdir("d", 0755);
  for (int i = 0; i < 20; i++) {
    char n[20];
    sprintf(n, "d/file%04d", i);
    put(n, "");
  }
  int dir = open("d", O_RDONLY | O_DIRECTORY);
  R(syscall(SYS_getdents64, dir, bad, 4096));
  R(syscall(SYS_getdents64, dir, edge(0), 4096));
  long n = 0, r;
  while ((r = syscall(SYS_getdents64, dir, big, sizeof big)) > 0) n += r;
  N(n);
  /* others */
  R(getrandom(edge(10), 20, 0));
  R(getrandom(bad, 20, 0));
  R((long)getcwd(edge(1), 4096) ? 0 : -1);
  R(syscall(SYS_getcwd, bad, 4096));
  R(readlink("/proc/self/exe", bad, 100));
  int ur = open("/dev/urandom", O_RDONLY), z = open("/dev/zero", O_RDWR);
  R(read(ur, edge(10), 20));
  R(read(z, edge(10), 20));
  R(write(z, bad, 20));
  R(read(z, bad, 20));
  int st = open("/proc/self/status", O_RDONLY);
  R(read(st, edge(10), 20));
  R(read(st, bad, 20));
  R(lseek(st, 0, SEEK_CUR));
  return 0;
}
