#include "t.h"

static void w(idtype_t t, id_t id, int o) {
  siginfo_t i;
  memset(&i, 0, sizeof i);
  int r = waitid(t, id, &i, o);
  fflush(stdout);
  printf("%d %s: signo %d code %d status %d\n", r, r ? strerrorname_np(errno) : "", i.si_signo, i.si_code, i.si_status);
  fflush(stdout);
}
int main(void) {
  int go[2];
  char b;
  pipe(go);
  pid_t p = fork();
  if (!p) {
    close(go[1]);
    raise(SIGSTOP);
    read(go[0], &b, 1);
    _exit(7);
  }
  w(P_PID, p, WSTOPPED);
  w(P_PID, p, WSTOPPED | WNOHANG);
  kill(p, SIGCONT);
  w(P_PID, p, WCONTINUED | WNOWAIT);
  w(P_PID, p, WCONTINUED);
  w(P_PID, p, WCONTINUED | WNOHANG);
  close(go[1]);
  w(P_PGID, getpgrp(), WEXITED | WNOWAIT);
  w(P_PGID, 0, WEXITED);
  p = fork();
  if (!p) {
    setpgid(0, 0);
    kill(getpid(), 9);
  }
  setpgid(p, p);
  w(P_PGID, p, WEXITED);
  p = fork();
  if (!p) {
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
  }
  w(P_ALL, 0, WEXITED);
  w(P_ALL, 0, WEXITED);
  w(P_PID, getppid(), WEXITED);
  return 0;
}
