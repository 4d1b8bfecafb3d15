#include "t.h"

static void h(int s) { printf("%d\n", s); }
int main(void) {
  int go[2], st;
  char c = 0;
  pipe(go);
  pid_t p = fork();
  if (!p) {
    signal(SIGCONT, h);
    raise(SIGSTOP);
    read(go[0], &c, 1); /* a new stop would take away the news that it went on */
    raise(SIGTSTP);
    read(go[0], &c, 1);
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
    write(go[1], &c, 1);
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
