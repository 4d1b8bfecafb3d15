/* Every terminal ioctl on both sides of a pseudo-terminal, VMIN and VTIME, packet mode, hang-up. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#define R(x)                                                                                       \
  do {                                                                                             \
    errno = 0;                                                                                     \
    long r_ = (long)(x);                                                                           \
    printf("%s = %ld %s\n", #x, r_, r_ < 0 ? strerrorname_np(errno) : "");                         \
  } while (0)
static unsigned cm[] = {
    TCGETS, 0x5402,     0x5403,     0x5404,     0x5405,     0x5409,     0x540b,     0x540c,
    0x540d, 0x540f,     0x5411,     0x5413,     0x5415,     0x5418,     0x5419,     0x541b,
    0x5420, 0x5421,     0x5422,     0x5423,     0x5424,     0x5425,     0x5429,     0x542a,
    0x5430, 0x80045430, 0x40045431, 0x80045432, 0x80045438, 0x80045439, 0x80045440, 0x5450,
    0x5451, 0x545d,     0x545e,     0x5460,     0x12345678};
int main(void) {
  setvbuf(stdout, 0, _IONBF, 0);
  signal(SIGHUP, SIG_IGN);
  signal(SIGTTOU, SIG_IGN);
  int m = posix_openpt(O_RDWR | O_NOCTTY), s;
  R(grantpt(m));
  s = open(ptsname(m), O_RDWR | O_NOCTTY);
  R(s);
  R(unlockpt(m));
  s = open(ptsname(m), O_RDWR | O_NOCTTY);
  printf("%d\n", s > 0);
  struct stat st;
  fstat(s, &st);
  printf("%o %d %d\n", st.st_mode & ~020, major(st.st_rdev), (int)st.st_nlink);
  fstat(m, &st);
  printf("%o %d %d\n", st.st_mode, major(st.st_rdev), minor(st.st_rdev));
  for (unsigned i = 0; i < sizeof cm / sizeof *cm; i++)
    for (int w = 0; w < 2; w++)
      for (int a = 0; a < 3; a++) {
        char b[4096];
        memset(b, 0, sizeof b);
        if ((cm[i] == 0x5402 || cm[i] == 0x5403 || cm[i] == 0x5404 || cm[i] == 0x5406 ||
             cm[i] == 0x5407 || cm[i] == 0x5408) &&
            a == 1)
          ioctl(s, TCGETS, b);
        errno = 0;
        long r = ioctl(w ? s : m, cm[i], a == 0 ? 0l : a == 1 ? (long)b : 1l);
        unsigned sum = 0;
        for (int k = 0; k < 64; k++)
          sum = sum * 31 + (unsigned char)b[k];
        if (r > 4)
          r = 5;
        printf("%x %c%d %ld %s %x\n", cm[i], w ? 's' : 'm', a, r,
               r < 0 ? strerrorname_np(errno) : "",
               (cm[i] == 0x80045430 || cm[i] == 0x80045432 || a != 1) ? 0 : sum);
      }
  struct termios t;
  tcgetattr(s, &t);
  printf("%x %x %x %x %d %d\n", t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, cfgetispeed(&t),
         cfgetospeed(&t));
  for (int i = 0; i < 19; i++)
    printf("%d ", t.c_cc[i]);
  puts("");
  cfmakeraw(&t);
  t.c_cc[VMIN] = 0;
  t.c_cc[VTIME] = 1;
  R(tcsetattr(s, TCSANOW, &t));
  char b[100];
  R(read(s, b, 100));
  R(write(m, "abc", 3));
  usleep(20000);
  R(read(s, b, 2));
  R(read(s, b, 10));
  t.c_cc[VMIN] = 5;
  t.c_cc[VTIME] = 1;
  tcsetattr(s, TCSANOW, &t);
  write(m, "ab", 2);
  R(read(s, b, 100));
  t.c_lflag |= ICANON | ECHO;
  t.c_cc[VMIN] = 1;
  tcsetattr(s, TCSANOW, &t);
  write(m, "no newline", 10);
  usleep(20000);
  fcntl(s, F_SETFL, O_NONBLOCK);
  R(read(s, b, 100));
  struct pollfd p = {s, POLLIN | POLLOUT};
  poll(&p, 1, 0);
  printf("%x\n", p.revents);
  int n;
  ioctl(s, FIONREAD, &n);
  printf("fion %d\n", n);
  ioctl(m, FIONREAD, &n);
  printf("fion m %d\n", n);
  write(m, "\n", 1);
  usleep(20000);
  ioctl(s, FIONREAD, &n);
  printf("fion %d\n", n);
  R(read(s, b, 3));
  R(read(s, b, 100));
  R(read(m, b, 100));
  R(tcflush(s, TCIOFLUSH));
  R(tcflush(s, 9));
  R(tcsendbreak(s, 0));
  R(tcdrain(s));
  R(tcflow(s, TCOOFF));
  R(write(s, "x", 1));
  R(tcflow(s, TCOON));
  R(tcflow(s, 9));
  n = 1;
  R(ioctl(m, TIOCPKT, &n));
  R(tcflush(s, TCIFLUSH));
  R(read(m, b, 100));
  printf("%x\n", b[0]);
  write(s, "pk", 2);
  usleep(10000);
  R(read(m, b, 100));
  printf("%x %c\n", b[0], b[1]);
  p.fd = m;
  p.events = POLLIN | POLLPRI;
  tcflush(s, TCIFLUSH);
  poll(&p, 1, 100);
  printf("%x\n", p.revents);
  n = 0;
  ioctl(m, TIOCPKT, &n);
  R(ioctl(s, TIOCEXCL));
  int s2 = open(ptsname(m), O_RDWR | O_NOCTTY);
  printf("excl %d\n", s2 >= 0 || errno == EBUSY);
  R(ioctl(s, TIOCNXCL));
  int g = ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY);
  printf("peer %d\n", g > 0);
  close(g);
  R(lseek(s, 0, SEEK_SET));
  R(ftruncate(s, 0));
  R(pread(s, b, 1, 0));
  R(fsync(s));
  R(ioctl(s, TIOCSTI, "q"));
  R(isatty(s));
  R(isatty(m));
  R(ttyname_r(s, b, 100));
  printf("%d\n", strncmp(b, "/dev/pts/", 9));
  R(ttyname_r(m, b, 100));
  if (!fork()) {
    setsid();
    int x = open(ptsname(m), O_RDWR);
    printf("sid %d\n", tcgetsid(x) == getpid());
    R(ioctl(x, TIOCSCTTY, 0));
    printf("%d\n", tcgetpgrp(x) == getpid());
    int tt = open("/dev/tty", O_RDWR);
    printf("tty %d\n", tt > 0);
    R(ioctl(tt, TIOCNOTTY));
    R(open("/dev/tty", O_RDWR));
    R(tcgetpgrp(x));
    R(ioctl(x, TIOCSCTTY, 0));
    R(vhangup());
    _exit(0);
  }
  wait(0);
  close(m);
  R(read(s, b, 10));
  R(write(s, "x", 1));
  p.fd = s;
  p.events = POLLIN | POLLOUT;
  poll(&p, 1, 0);
  printf("%x\n", p.revents);
  R(tcgetattr(s, &t));
  R(ioctl(s, FIONREAD, &n));
  close(s);
  m = posix_openpt(O_RDWR | O_NOCTTY);
  grantpt(m);
  unlockpt(m);
  p.fd = m;
  poll(&p, 1, 0);
  printf("%x\n", p.revents);
  s = open(ptsname(m), O_RDWR | O_NOCTTY);
  write(s, "bye\n", 4);
  close(s);
  R(read(m, b, 100));
  R(read(m, b, 100));
  poll(&p, 1, 0);
  printf("%x\n", p.revents);
  return 0;
}
