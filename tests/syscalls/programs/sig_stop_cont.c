#include "t.h"

static void h(int s) { printf("%d\n", s); }
int main(void) {
  pid_t p = fork();
  int st;
  if (!p) {
    signal(SIGCONT, h);
    raise(SIGSTOP);
    raise(SIGTSTP);
    raise(SIGTTIN);
    fflush(stdout);
    _exit(1);
  }
  setpgid(p, p);
  for (int i = 0; i < 2; i++) {
    waitpid(p, &st, WUNTRACED);
    status_("wait", st);
    kill(p, SIGUSR1 + (SIGCONT - SIGUSR1));
    waitpid(p, &st, WCONTINUED);
    status_("wait", st);
  }
  waitpid(p, &st, WUNTRACED);
  status_("wait", st);
  kill(p, SIGKILL);
  waitpid(p, &st, 0);
  status_("killed while stopped", st);
  p = fork();
  if (!p) {
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGTSTP);
    sigprocmask(SIG_BLOCK, &s, 0);
    raise(SIGTSTP);
    raise(SIGCONT);
    sigprocmask(SIG_UNBLOCK, &s, 0);
    _exit(4);
  }
  waitpid(p, &st, WUNTRACED);
  status_("SIGCONT takes SIGTSTP away", st);
  p = fork();
  if (!p) {
    setsid();
    raise(SIGTSTP);
    _exit(6);
  }
  waitpid(p, &st, WUNTRACED);
  status_("orphaned group ignores SIGTSTP", st);
  return 0;
}
