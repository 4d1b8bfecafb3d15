#include "t.h"

int main(void) {
  volatile int x = 1;
  pid_t p = vfork();
  if (!p) {
    x = 2;
    _exit(4);
  }
  N(x);
  int st;
  waitpid(p, &st, 0);
  status_("vfork", st);
  p = vfork();
  if (!p) {
    execl("/bin/sh", "sh", "-c", "exit 6", NULL);
    _exit(1);
  }
  waitpid(p, &st, 0);
  status_("vfork exec", st);
  p = vfork();
  if (!p) {
    execl("/absent", "x", NULL);
    x = errno;
    _exit(1);
  }
  waitpid(p, &st, 0);
  N(x);
  p = vfork();
  if (!p) kill(getpid(), SIGKILL);
  waitpid(p, &st, 0);
  status_("vfork killed", st);
  return 0;
}
