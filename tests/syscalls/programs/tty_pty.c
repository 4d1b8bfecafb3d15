#include "t.h"

#include <pty.h>
#include <termios.h>
static int m, s;
static void rd(int fd, const char *w) {
  char b[200];
  struct pollfd p = {fd, POLLIN, 0};
  ssize_t n = poll(&p, 1, 200) > 0 ? read(fd, b, sizeof b) : -2;
  printf("%s: %ld ", w, (long)n);
  for (int i = 0; i < n; i++) b[i] < 32 ? printf("\\%o", b[i]) : putchar(b[i]);
  puts("");
}
static void h(int g) { printf("signal %d\n", g); }
int main(void) {
  struct winsize w = {30, 90, 0, 0}, x;
  struct termios t;
  R(openpty(&m, &s, 0, 0, &w));
  C(isatty(s) && isatty(m));
  C(strncmp(ttyname(s), "/dev/pts/", 9) == 0);
  R(ioctl(s, TIOCGWINSZ, &x));
  printf("%d %d\n", x.ws_row, x.ws_col);
  R(tcgetattr(s, &t));
  printf("%o %o %o %o\n", t.c_iflag, t.c_oflag, t.c_cflag & ~CBAUD, t.c_lflag);
  write(m, "hello\n", 6);
  rd(m, "echo");
  rd(s, "line");
  write(m, "ab\177c\025new\027x\n", 11);
  rd(m, "edit echo");
  rd(s, "edited");
  write(s, "out\n", 4);
  rd(m, "output");
  write(m, "part\004", 5);
  rd(s, "VEOF");
  write(m, "\004", 1);
  rd(s, "end of file");
  rd(m, "rest");
  t.c_lflag &= ~(ICANON | ECHO);
  t.c_cc[VMIN] = 3, t.c_cc[VTIME] = 0;
  R(tcsetattr(s, TCSANOW, &t));
  write(m, "12", 2);
  rd(s, "below VMIN");
  write(m, "3", 1);
  rd(s, "VMIN");
  t.c_cc[VMIN] = 0, t.c_cc[VTIME] = 1;
  tcsetattr(s, TCSANOW, &t);
  char b[10];
  R(read(s, b, 10));
  cfmakeraw(&t);
  tcsetattr(s, TCSANOW, &t);
  write(s, "raw\n", 4);
  rd(m, "raw");
  t.c_iflag |= ICRNL | ISTRIP;
  t.c_oflag |= OPOST | ONLCR;
  t.c_lflag |= ICANON | ISIG | ECHO | ECHOCTL;
  tcsetattr(s, TCSANOW, &t);
  int n;
  R(ioctl(s, FIONREAD, &n));
  R(ioctl(s, TIOCOUTQ, &n));
  R(tcflush(s, TCIOFLUSH));
  R(tcgetpgrp(s));
  R(ioctl(s, 0x5499, &n));
  pid_t p = fork();
  if (!p) {
    signal(SIGINT, h), signal(SIGWINCH, h), signal(SIGHUP, h);
    setsid();
    R(ioctl(s, TIOCSCTTY, 0));
    C(tcgetpgrp(s) == getpid());
    C(tcgetsid(s) == getpid());
    C(open("/dev/tty", O_RDWR) >= 0);
    write(m, "\003", 1);
    rd(m, "^C echo");
    w.ws_row = 50;
    R(ioctl(m, TIOCSWINSZ, &w));
    fflush(stdout);
    pid_t bg = fork();
    if (!bg) {
      setpgid(0, 0);
      signal(SIGTTOU, SIG_DFL);
      signal(SIGTTIN, SIG_DFL);
      R(read(s, b, 1));
      _exit(0);
    }
    int st;
    waitpid(-1, &st, WUNTRACED);
    status_("background read", st);
    kill(bg, SIGKILL);
    waitpid(bg, &st, 0);
    fflush(stdout);
    _exit(0);
  }
  close(m);
  wait(0);
  R(read(s, b, 1));
  return 0;
}
