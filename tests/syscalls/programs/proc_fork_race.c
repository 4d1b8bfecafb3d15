/* A child whose first call is to itself or to its parent's tables: it must be there before it runs. */
#include "t.h"
int main(void) {
  int bad = 0;
  for (int i = 0; i < 200; i++) {
    pid_t p = fork();
    if (!p) {
      if (kill(getpid(), 0) || getpgid(0) < 0 || setpgid(0, 0)) _exit(1);
      if (i % 4 == 0) kill(getpid(), SIGKILL);
      if (i % 4 == 1) raise(SIGSTOP);
      _exit(0);
    }
    int st;
    if (waitpid(p, &st, WUNTRACED) != p) bad++;
    if (i % 4 == 0 ? !WIFSIGNALED(st) : i % 4 == 1 ? !WIFSTOPPED(st) : !WIFEXITED(st) || WEXITSTATUS(st)) bad++;
    if (i % 4 == 1) kill(p, SIGKILL), waitpid(p, &st, 0);
  }
  N(bad);
  /* killed by its parent before, while and after it comes to be */
  for (int i = 0; i < 200; i++) {
    pid_t p = fork();
    if (!p) {
      for (;;) {
      }
    }
    kill(p, i % 2 ? SIGKILL : SIGTERM);
    int st;
    if (waitpid(p, &st, 0) != p || !WIFSIGNALED(st)) bad++;
  }
  N(bad);
  return 0;
}
