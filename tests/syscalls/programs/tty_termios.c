/* A terminal's modes: canonical and raw, VMIN and VTIME, echo, signals, mapping, EOF, erase, TIOCSTI, sizes, hangup. */
#include "t.h"
#include <termios.h>
static int m, s;
static void show(const char *w, int fd) {
  char b[256];
  fcntl(fd, F_SETFL, O_NONBLOCK);
  long n = read(fd, b, sizeof b);
  printf("%s:", w);
  for (long i = 0; i < n; i++) b[i] >= 33 && b[i] < 127 ? printf(" %c", b[i]) : printf(" %02x", b[i] & 255);
  puts(n < 0 ? strerrorname_np(errno) : "");
  fcntl(fd, F_SETFL, 0);
}
static void in(const char *t) { write(m, t, strlen(t)), ms(15); }
static struct termios t0, t;
static volatile int winch;
static void h(int x) { winch++; }
int main(void) {
  m = posix_openpt(O_RDWR | O_NOCTTY);
  R(grantpt(m));
  R(unlockpt(m));
  s = open(ptsname(m), O_RDWR | O_NOCTTY);
  C(s >= 0);
  C(isatty(s));
  C(isatty(m));
  R(tcgetattr(s, &t0));
  printf("%x %x %x %x\n", t0.c_iflag, t0.c_oflag, t0.c_cflag, t0.c_lflag);
  for (int i = 0; i < 17; i++) printf("%d ", t0.c_cc[i]);
  puts("");
  in("hello"), show("no line", s), show("echo", m);
  in("\n"), show("line", s), show("echo of newline", m);
  in("abc\b\x7fX\n"), show("erase", s), show("echo", m);
  in("one two\x17three\n"), show("word erase", s);
  in("gone\x15kept\n"), show("kill", s);
  in("a\x16\x03z\n"), show("literal", s);
  in("a\rb\n"), show("return is newline", s), show("second line", s);
  in("\x04"), show("end of file", s);
  in("part\x04"), show("pushed out", s);
  show("drain", m);
  write(s, "out\n", 4), show("newline out", m);
  t = t0, t.c_oflag &= ~ONLCR;
  R(tcsetattr(s, TCSANOW, &t));
  write(s, "out\n", 4), show("as it is", m);
  t = t0, t.c_lflag &= ~ECHO, tcsetattr(s, TCSANOW, &t);
  in("secret\n"), show("no echo", m), show("line", s);
  t.c_iflag |= IUCLC | ISTRIP, t.c_iflag &= ~ICRNL, tcsetattr(s, TCSANOW, &t);
  in("AbC\r\n"), show("mapped", s);
  t = t0, t.c_iflag |= INLCR | IGNCR, t.c_lflag &= ~ECHO, tcsetattr(s, TCSANOW, &t);
  in("a\r\n\x04"), show("inlcr igncr", s);
  /* raw */
  t = t0, cfmakeraw(&t), t.c_cc[VMIN] = 3, t.c_cc[VTIME] = 0, tcsetattr(s, TCSAFLUSH, &t);
  char b[100];
  struct pollfd p = {s, POLLIN};
  in("ab");
  R(poll(&p, 1, 0));
  in("c");
  R(poll(&p, 1, 0));
  R(read(s, b, 100));
  t.c_cc[VMIN] = 0, t.c_cc[VTIME] = 1, tcsetattr(s, TCSANOW, &t);
  long a = now_ms();
  R(read(s, b, 100));
  C(now_ms() - a >= 90);
  in("x");
  R(read(s, b, 100));
  t.c_cc[VMIN] = 0, t.c_cc[VTIME] = 0, tcsetattr(s, TCSANOW, &t);
  R(read(s, b, 100));
  t.c_cc[VMIN] = 5, t.c_cc[VTIME] = 1, tcsetattr(s, TCSANOW, &t);
  in("yz");
  R(read(s, b, 100)); /* between characters */
  /* flushing, counts */
  tcsetattr(s, TCSANOW, &t0);
  in("typed\n");
  int n;
  R(ioctl(s, FIONREAD, &n));
  N(n);
  R(tcflush(s, TCIFLUSH));
  R(ioctl(s, FIONREAD, &n));
  N(n);
  R(ioctl(s, TIOCOUTQ, &n));
  R(tcflush(s, 99));
  R(tcdrain(s));
  R(tcflow(s, TCOOFF));
  R(tcflow(s, TCOON));
  show("drain", m);
  /* size */
  struct winsize w = {24, 80, 0, 0}, g;
  R(ioctl(m, TIOCSWINSZ, &w));
  R(ioctl(s, TIOCGWINSZ, &g));
  printf("%d %d\n", g.ws_row, g.ws_col);
  R(ioctl(s, TIOCGWINSZ, 8));
  R(ioctl(1, TCGETS, &t));
  R(ioctl(s, 0x5499, 0));
  /* a session of its own */
  CHILD("session", R(ioctl(s, TIOCSCTTY, 0)); setsid(); R(tcgetpgrp(s)); R(ioctl(s, TIOCSCTTY, 0)); C(tcgetpgrp(s) == getpid()); C(tcgetsid(s) == getpid()); signal(SIGWINCH, h); w.ws_col = 100; ioctl(m, TIOCSWINSZ, &w); ms(5); N(winch);
        ioctl(m, TIOCSWINSZ, &w); ms(5); N(winch); signal(SIGINT, h); signal(SIGQUIT, h); signal(SIGTSTP, h); winch = 0; in("\x03"); N(winch); in("\x1c"); N(winch); in("\x1a"); N(winch); show("flushed", s);
        in("x"); char c = 'y'; R(ioctl(s, TIOCSTI, &c)); c = '\n'; ioctl(s, TIOCSTI, &c); show("simulated", s); int f = open("/dev/tty", O_RDWR); C(f >= 0); R(tcsetpgrp(s, 1 << 21)); R(tcsetpgrp(1, getpid()));
        pid_t k = fork(); if (!k) { setpgid(0, 0); signal(SIGTTIN, SIG_DFL); char z; read(s, &z, 1); _exit(5); } int st; waitpid(k, &st, WUNTRACED); status_("background read", st); kill(k, SIGKILL); waitpid(k, &st, 0);
        k = fork(); if (!k) { setpgid(0, 0); struct termios q = t0; tcsetattr(s, TCSANOW, &q); _exit(5); } waitpid(k, &st, WUNTRACED); status_("background change", st); kill(k, SIGKILL); waitpid(k, &st, 0);
        k = fork(); if (!k) { setpgid(0, 0); signal(SIGTTIN, SIG_IGN); char z; long r = read(s, &z, 1); _exit(r < 0 ? errno : 0); } waitpid(k, &st, 0); status_("ignored", st);
        R(ioctl(s, TIOCNOTTY, 0)); OK(open("/dev/tty", O_RDWR)));
  /* hangup */
  CHILD("hangup", setsid(); ioctl(s, TIOCSCTTY, 0); signal(SIGHUP, h); winch = 0; close(m); for (int i = 3; i < 20; i++) if (i != s) close(i); ms(20); N(winch));
  fflush(stdout);
  int k = fork();
  if (!k) {
    close(m), setsid(), ioctl(s, TIOCSCTTY, 0), signal(SIGHUP, h), winch = 0;
    while (!winch) ms(1);
    errno = 0;
    long r = read(s, b, 1);
    printf("read %ld, write %s\n", r, write(s, "x", 1) < 0 ? strerrorname_np(errno) : "ok");
    R(tcgetattr(s, &t));
    fflush(stdout);
    _exit(0);
  }
  ms(50), close(m);
  waitpid(k, 0, 0);
  p.fd = s;
  R(poll(&p, 1, 0));
  printf("%x\n", p.revents);
  return 0;
}
