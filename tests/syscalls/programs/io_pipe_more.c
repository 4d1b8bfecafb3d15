/* Pipes: sizes, atomic writes, packets, FIFO open rules, both ends gone. */
#include "t.h"
int main(void) {
  signal(SIGPIPE, SIG_IGN);
  int p[2];
  static char b[1 << 20];
  R(pipe2(p, 0x40000000));
  R(pipe2((void *)8, 0));
  R(pipe2(p, O_NONBLOCK | O_CLOEXEC));
  R(fcntl(p[1], F_GETPIPE_SZ));
  R(fcntl(p[1], F_SETPIPE_SZ, 1));
  R(fcntl(p[1], F_SETPIPE_SZ, 5000));
  R(write(p[1], b, 8192));
  R(write(p[1], b, 1));
  R(fcntl(p[1], F_SETPIPE_SZ, 4096));
  R(fcntl(p[1], F_SETPIPE_SZ, 1 << 20));
  R(fcntl(p[1], F_SETPIPE_SZ, 0));
  R(write(p[1], b, 1 << 20));
  R(read(p[0], b, 1 << 20));
  CHILD("beyond the limit, unprivileged", setresuid(65534, 65534, 65534); R(fcntl(p[1], F_SETPIPE_SZ, 1 << 21)));
  fcntl(p[1], F_SETPIPE_SZ, 65536);
  /* atomic up to PIPE_BUF */
  R(write(p[1], b, 65536 - 4096));
  R(write(p[1], b, 4097));
  R(read(p[0], b, 4096));
  R(write(p[1], b, 4096));
  R(write(p[1], b, 10000));
  while (read(p[0], b, sizeof b) > 0) {
  }
  R(write(p[0], b, 1));
  R(read(p[1], b, 1));
  R(lseek(p[0], 0, SEEK_CUR));
  R(pread(p[0], b, 1, 0));
  R(ftruncate(p[1], 0));
  R(fsync(p[1]));
  /* packets */
  int q[2];
  R(pipe2(q, O_DIRECT | O_NONBLOCK));
  R(write(q[1], "one", 3));
  R(write(q[1], "second", 6));
  R(write(q[1], b, 5000)); /* becomes two */
  R(read(q[0], b, 100));
  R(read(q[0], b, 2)); /* the rest is thrown away */
  R(read(q[0], b, 10000));
  R(read(q[0], b, 10000));
  R(read(q[0], b, 10));
  R(fcntl(q[1], F_GETFL) & O_DIRECT);
  fcntl(q[1], F_SETFL, O_NONBLOCK);
  write(q[1], "a", 1), write(q[1], "b", 1);
  R(read(q[0], b, 10));
  close(q[1]);
  R(read(q[0], b, 10));
  close(q[0]);
  close(p[0]);
  R(write(p[1], b, 1));
  R(write(p[1], b, 0));
  /* FIFOs */
  mkfifo("f", 0600);
  R(open("f", O_WRONLY | O_NONBLOCK));
  int r = open("f", O_RDONLY | O_NONBLOCK);
  C(r >= 0);
  R(read(r, b, 1));
  int w = open("f", O_WRONLY | O_NONBLOCK);
  C(w >= 0);
  R(read(r, b, 1));
  R(write(w, "xy", 2));
  R(read(r, b, 1));
  close(w);
  R(read(r, b, 1));
  R(read(r, b, 1));
  close(r);
  int rw = open("f", O_RDWR);
  R(write(rw, "kept", 4));
  R(read(rw, b, 10));
  close(rw);
  fflush(stdout);
  if (!fork()) {
    ms(30);
    int k = open("f", O_WRONLY);
    write(k, "late", 4);
    _exit(0);
  }
  long t0 = now_ms();
  r = open("f", O_RDONLY);
  C(now_ms() - t0 >= 25);
  R(read(r, b, 10));
  wait(0);
  R(read(r, b, 10));
  R(open("f", O_RDONLY | O_DIRECTORY));
  return 0;
}
