#include "t.h"

#include <linux/futex.h>
static char st[4][65536] __attribute__((aligned(16)));
static int shared = 1, tid;
static int f(void *x) {
  shared = 5;
  return 0;
}
static int g(void *x) {
  chdir("/");
  close(0);
  shared++;
  _exit(17);
}
int main(void) {
  int s;
  pid_t p = clone(f, st[0] + 65536, CLONE_VM | SIGCHLD, 0);
  waitpid(p, &s, 0);
  status_("CLONE_VM", s);
  N(shared);
  p = clone(g, st[1] + 65536, SIGCHLD, 0);
  waitpid(p, &s, 0);
  N(shared);
  char d[400];
  C(strlen(getcwd(d, 400)) > 1);
  p = clone(g, st[1] + 65536, CLONE_FS | CLONE_FILES | SIGCHLD, 0);
  waitpid(p, &s, 0);
  status_("CLONE_FS|FILES", s);
  puts(getcwd(d, 400));
  R(fcntl(0, F_GETFD));
  signal(SIGUSR1, SIG_IGN);
  p = clone(f, st[0] + 65536, SIGUSR1, 0);
  R(waitpid(p, &s, 0));
  C(waitpid(p, &s, __WALL) == p || errno == EINTR);
  C(clone(f, st[2] + 65536, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES | CLONE_FS | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID, 0,
          0, 0, &tid) > 0);
  while (tid) syscall(SYS_futex, &tid, FUTEX_WAIT, tid, 0, 0, 0);
  N(tid);
  R(clone(f, st[3] + 65536, CLONE_THREAD, 0));
  R(clone(f, st[3] + 65536, CLONE_THREAD | CLONE_SIGHAND, 0));
  R(clone(f, st[3] + 65536, CLONE_SIGHAND, 0));
  R(syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
  p = clone(f, st[0] + 65536, CLONE_PARENT | SIGCHLD, 0);
  C(p > 0);
  R(waitpid(p, &s, 0));
  return 0;
}
