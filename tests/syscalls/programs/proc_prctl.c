#include "t.h"

#include <sys/prctl.h>
int main(void) {
  char n[20] = "";
  R(prctl(PR_SET_NAME, "a-name-longer-than-fifteen"));
  R(prctl(PR_GET_NAME, n));
  puts(n);
  FILE *f = fopen("/proc/self/comm", "r");
  fgets(n, 20, f);
  printf("%s", n);
  R(prctl(PR_GET_DUMPABLE));
  R(prctl(PR_SET_DUMPABLE, 0));
  R(prctl(PR_GET_DUMPABLE));
  R(prctl(PR_SET_DUMPABLE, 2));
  R(prctl(PR_SET_DUMPABLE, 1));
  int s = 9;
  R(prctl(PR_GET_PDEATHSIG, &s));
  N(s);
  R(prctl(PR_SET_PDEATHSIG, SIGUSR1));
  R(prctl(PR_SET_PDEATHSIG, 99));
  R(prctl(PR_GET_PDEATHSIG, &s));
  N(s);
  R(prctl(PR_GET_PDEATHSIG, 8));
  R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  R(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
  R(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  R(prctl(PR_GET_KEEPCAPS));
  R(prctl(PR_SET_KEEPCAPS, 5));
  R(prctl(PR_GET_TIMERSLACK));
  R(prctl(PR_SET_TIMERSLACK, 1234));
  R(prctl(PR_GET_TIMERSLACK));
  R(prctl(PR_GET_CHILD_SUBREAPER, &s));
  N(s);
  R(prctl(PR_SET_CHILD_SUBREAPER, 1));
  R(prctl(PR_GET_CHILD_SUBREAPER, &s));
  N(s);
  R(prctl(99999));
  R(prctl(PR_SET_NAME, 8));
  R(prctl(PR_GET_SECCOMP));
  int orphan[2];
  pipe(orphan);
  fflush(stdout);
  if (!fork()) {
    if (!fork()) {
      char b;
      read(orphan[0], &b, 1);
      _exit(33);
    }
    _exit(1);
  }
  int st;
  wait(&st);
  status_("child", st);
  write(orphan[1], "x", 1);
  wait(&st);
  status_("adopted grandchild", st);
  CHILD("pdeathsig over fork", prctl(PR_GET_PDEATHSIG, &s); N(s));
  return 0;
}
