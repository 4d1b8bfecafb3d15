#include "t.h"

#include <sys/prctl.h>
int main(void) {
  int p[2], q[2];
  pipe(p);
  pipe(q);
  if (!fork()) {
    if (!fork()) {
      sigset_t s;
      sigemptyset(&s);
      sigaddset(&s, SIGUSR1);
      sigprocmask(SIG_BLOCK, &s, 0);
      prctl(PR_SET_PDEATHSIG, SIGUSR1);
      write(q[1], "r", 1);
      siginfo_t i;
      int r = sigwaitinfo(&s, &i);
      dprintf(p[1], "%d code %d", r, i.si_code);
      _exit(0);
    }
    char b;
    read(q[0], &b, 1);
    _exit(0);
  }
  wait(0);
  close(p[1]);
  char b[100] = "";
  read(p[0], b, 99);
  puts(b);
  return 0;
}
