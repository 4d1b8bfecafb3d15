/* dup family, close_range, descriptor flags, O_CLOEXEC through exec, sharing of offset and flags, closing in the middle. */
#include "t.h"
#include <sys/syscall.h>
static int cr(unsigned a, unsigned b, unsigned f) { return syscall(SYS_close_range, a, b, f); }
int main(int c, char **v) {
  if (c > 1) {
    for (int i = 3; i < 40; i++)
      if (fcntl(i, F_GETFD) >= 0) printf("%d ", i);
    puts("");
    return 0;
  }
  int a = open("f", O_RDWR | O_CREAT, 0600), b = dup(a), d = fcntl(a, F_DUPFD, 10), e = fcntl(a, F_DUPFD_CLOEXEC, 10);
  printf("%d %d %d %d\n", a, b, d, e);
  write(a, "hello", 5);
  R(lseek(b, 0, SEEK_CUR));
  fcntl(b, F_SETFL, O_APPEND);
  R(fcntl(d, F_GETFL) & O_APPEND);
  R(fcntl(e, F_GETFD));
  R(fcntl(d, F_GETFD));
  R(dup2(a, a));
  R(dup2(a, 20));
  R(dup2(1000, 20));
  R(dup2(a, -1));
  R(dup3(a, a, 0));
  R(dup3(a, 21, O_CLOEXEC));
  R(dup3(a, 22, O_NONBLOCK));
  R(dup2(1000, 1000));
  R(fcntl(21, F_GETFD));
  R(fcntl(a, F_DUPFD, -1));
  R(fcntl(a, 9999));
  R(fcntl(1000, F_GETFD));
  CHILD("exec", execl("/proc/self/exe", "x", "list", NULL));
  R(fcntl(20, F_SETFD, FD_CLOEXEC));
  CHILD("exec with 20 closed", execl("/proc/self/exe", "x", "list", NULL));
  R(cr(20, 21, 0));
  R(fcntl(20, F_GETFD));
  R(cr(30, 20, 0));
  R(cr(10, 12, 8));
  R(cr(10, 12, CLOSE_RANGE_CLOEXEC));
  R(fcntl(10, F_GETFD));
  CHILD("unshared", R(cr(3, ~0u, CLOSE_RANGE_UNSHARE)); R(fcntl(3, F_GETFD)));
  R(close(a));
  R(close(a));
  R(close(-1));
  R(write(b, "x", 1));
  int x = open("f", O_RDONLY), y = open("f", O_RDONLY);
  R(lseek(x, 3, SEEK_SET));
  R(lseek(y, 0, SEEK_CUR));
  CHILD("shared by fork", lseek(x, 1, SEEK_SET); fcntl(x, F_SETFL, O_NONBLOCK); close(y));
  R(lseek(x, 0, SEEK_CUR));
  R(fcntl(x, F_GETFL) & O_NONBLOCK);
  R(fcntl(y, F_GETFD));
  R(syscall(SYS_kcmp, getpid(), getpid(), 0, b, d));
  C(syscall(SYS_kcmp, getpid(), getpid(), 0, x, y) > 0);
  R(syscall(SYS_kcmp, getpid(), getpid(), 99, 0, 0));
  R(syscall(SYS_kcmp, getpid(), getpid(), 0, 1000, 1000));
  int n = 0;
  R(ioctl(x, FIONREAD, &n));
  N(n);
  R(ioctl(x, FIOCLEX));
  R(fcntl(x, F_GETFD));
  R(ioctl(x, FIONCLEX));
  R(ioctl(x, 0x1234, 0));
  R(ioctl(1000, FIONREAD, &n));
  return 0;
}
