#include "t.h"

int main(void) {
  pid_t me = getpid();
  R(setpgid(0, -1));
  R(setpgid(99999, 0));
  R(getpgid(99999));
  R(getsid(99999));
  int go[2];
  pipe(go);
  pid_t p = fork();
  if (!p) {
    char b;
    close(go[1]);
    C(getpgrp() == getpgid(getppid()));
    OK(setsid());
    C(getsid(0) == getpid());
    C(getpgrp() == getpid());
    R(setsid() == -1 ? -1 : 0);
    R(setpgid(0, 0));
    R(setpgid(0, getppid()));
    CHILD("grandchild", C(getsid(0) == getppid()); OK(setpgid(0, 0)); C(getpgrp() == getpid()); R(setpgid(0, me) ? -1 : 0));
    read(go[0], &b, 1);
    _exit(0);
  }
  close(go[1]);
  int st;
  waitpid(p, &st, 0);
  status_("child", st);
  pipe(go);
  p = fork();
  if (!p) {
    char b;
    close(go[1]);
    read(go[0], &b, 1);
    execl("/bin/sleep", "sleep", "30", NULL);
  }
  R(setpgid(p, p));
  C(getpgid(p) == p);
  close(go[1]);
  ms(300);
  R(setpgid(p, getpgrp()));
  kill(-p, SIGKILL);
  waitpid(p, &st, 0);
  status_("group killed", st);
  R(kill(-p, 0));
  R(tcgetpgrp(1));
  C(open("/dev/tty", O_RDWR) == -1 || isatty(3));
  return 0;
}
