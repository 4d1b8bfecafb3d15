#include "t.h"

static void h(int s) {}
int main(void) {
  int st;
  pid_t g = 0;
  for (int i = 0; i < 3; i++) {
    pid_t p = fork();
    if (!p) {
      for (;;) pause();
    }
    setpgid(p, g);
    if (!g) g = p;
  }
  R(kill(-g, 0));
  R(killpg(g, SIGTERM));
  for (int i = 0; i < 3; i++) C(waitpid(-g, &st, 0) > 0 && WTERMSIG(st) == SIGTERM);
  R(waitpid(-g, &st, 0));
  R(kill(-g, 0));
  CHILD("other user", setuid(77); R(kill(getppid(), 0)); R(kill(getppid(), SIGCONT)));
  CHILD("kill 0", setpgid(0, 0); signal(SIGUSR1, h); R(kill(0, SIGUSR1)); R(killpg(0, 0)); R(killpg(-5, 0)));
  return 0;
}
