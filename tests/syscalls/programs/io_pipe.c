#include "t.h"

int main(void) {
  int p[2], q[2];
  char b[70000];
  memset(b, 'x', sizeof b);
  R(pipe2(p, O_NONBLOCK | O_CLOEXEC));
  R(fcntl(p[0], F_GETFD));
  R(read(p[0], b, 10));
  R(write(p[1], b, sizeof b));
  R(write(p[1], b, 1));
  int n;
  ioctl(p[0], FIONREAD, &n);
  N(n);
  R(read(p[0], b, 4096));
  R(write(p[1], b, 4097));
  R(write(p[1], b, 4096));
  R(fcntl(p[0], F_GETPIPE_SZ));
  R(fcntl(p[0], F_SETPIPE_SZ, 4096));
  R(fcntl(p[0], F_SETPIPE_SZ, 200000));
  R(fcntl(p[0], F_SETPIPE_SZ, 0) > 0 ? 0 : -1);
  struct pollfd f[2] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}};
  R(poll(f, 2, 0));
  printf("%x %x\n", f[0].revents, f[1].revents);
  close(p[1]);
  R(poll(f, 1, 0));
  printf("%x\n", f[0].revents);
  while (read(p[0], b, sizeof b) > 0) {
  }
  R(read(p[0], b, 1));
  R(poll(f, 1, 0));
  printf("%x\n", f[0].revents);
  pipe(q);
  close(q[0]);
  f[1].fd = q[1];
  R(poll(f + 1, 1, 0));
  printf("%x\n", f[1].revents);
  R(read(q[1], b, 1));
  R(pipe2(p, 0x10));
  R(pipe((int *)8));
  R(pipe2(p, O_DIRECT));
  R(write(p[1], "abc", 3));
  R(write(p[1], "defg", 4));
  R(read(p[0], b, 100));
  R(read(p[0], b, 2));
  R(fcntl(p[1], F_SETFL, O_NONBLOCK));
  struct stat st;
  fstat(p[0], &st);
  printf("%o %ld\n", st.st_mode, (long)st.st_size);
  pipe(p);
  if (!fork()) {
    close(p[0]);
    for (int i = 0; i < 20; i++) write(p[1], b, 50000);
    _exit(0);
  }
  close(p[1]);
  long total = 0, k;
  while ((k = read(p[0], b, 7777)) > 0) total += k;
  N(total);
  return 0;
}
