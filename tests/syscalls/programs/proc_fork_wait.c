#include "t.h"

int main(void) {
  int st;
  R(wait(&st));
  R(waitpid(-1, &st, WNOHANG));
  R(waitpid(-1, &st, 0x100));
  pid_t p = fork();
  if (!p) {
    pause();
  }
  R(waitpid(p, &st, WNOHANG));
  kill(p, SIGSTOP);
  C(waitpid(p, &st, WUNTRACED) == p);
  status_("stop", st);
  R(waitpid(p, &st, WNOHANG | WUNTRACED));
  kill(p, SIGCONT);
  C(waitpid(p, &st, WCONTINUED) == p);
  status_("cont", st);
  kill(p, SIGTERM);
  siginfo_t i;
  memset(&i, 0, sizeof i);
  R(waitid(P_PID, p, &i, WEXITED | WNOWAIT));
  printf("%d %d %d %d\n", i.si_signo, i.si_code, i.si_status, i.si_pid == p);
  R(waitid(P_PID, p, &i, WEXITED));
  R(waitid(P_PID, p, &i, WEXITED));
  CHILD("exit 300", _exit(300));
  CHILD("abort", signal(SIGABRT, SIG_DFL); abort());
  CHILD("segv", *(volatile int *)8 = 1);
  CHILD("kill", kill(getpid(), SIGKILL));
  R(waitid(P_ALL, 0, &i, 0));
  R(waitid(7, 0, &i, WEXITED));
  R(waitid(P_PID, 0, &i, WEXITED));
  R(waitpid(1, &st, 0));
  R(waitpid(-999999, &st, 0));
  return 0;
}
