#include "t.h"

static int depth, max, count;
static void nodefer(int s) {
  depth++;
  if (depth > max) max = depth;
  if (count++ < 3) raise(s);
  depth--;
}
static void once(int s) { printf("once %d\n", s); }
int main(void) {
  struct sigaction a = {.sa_handler = nodefer, .sa_flags = SA_NODEFER}, o;
  sigaction(SIGUSR1, &a, 0);
  raise(SIGUSR1);
  N(max);
  a.sa_flags = 0;
  max = depth = count = 0;
  sigaction(SIGUSR1, &a, 0);
  raise(SIGUSR1);
  N(max);
  N(count);
  a.sa_handler = once;
  a.sa_flags = SA_RESETHAND;
  sigaction(SIGUSR2, &a, 0);
  raise(SIGUSR2);
  sigaction(SIGUSR2, 0, &o);
  C(o.sa_handler == SIG_DFL);
  C(o.sa_flags & SA_RESETHAND);
  fflush(stdout);
  CHILD("second", raise(SIGUSR2));
  a.sa_flags = SA_NOCLDWAIT;
  a.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &a, 0);
  if (!fork()) _exit(1);
  R(wait(0));
  signal(SIGCHLD, SIG_IGN);
  if (!fork()) _exit(1);
  R(wait(0));
  return 0;
}
