#include "t.h"

#include <linux/sched.h>
static long c3(struct clone_args *a, size_t n) { return syscall(SYS_clone3, a, n); }
int main(void) {
  int st, pidfd = -1;
  pid_t ptid = 0, *ctid = mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct clone_args a = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID, .pidfd = (uintptr_t)&pidfd,
                         .parent_tid = (uintptr_t)&ptid, .child_tid = (uintptr_t)ctid, .exit_signal = SIGCHLD};
  fflush(stdout);
  pid_t p = c3(&a, sizeof a);
  if (!p) _exit(*ctid == getpid() ? 11 : 12);
  C(ptid == p);
  C(pidfd >= 0);
  N(fcntl(pidfd, F_GETFD));
  siginfo_t i;
  R(waitid(P_PIDFD, pidfd, &i, WEXITED));
  N(i.si_status);
  struct clone_args z = {0};
  R(c3(&z, 8));
  R(c3(&z, 10000));
  R(c3((void *)8, sizeof z));
  z.flags = SIGCHLD;
  R(c3(&z, sizeof z));
  z.flags = CLONE_THREAD;
  R(c3(&z, sizeof z));
  z.flags = CLONE_SIGHAND;
  R(c3(&z, sizeof z));
  z.flags = CLONE_FS | CLONE_NEWNS;
  R(c3(&z, sizeof z));
  z.flags = 0, z.exit_signal = 65;
  R(c3(&z, sizeof z));
  z.exit_signal = 0, z.stack = 4096;
  R(c3(&z, sizeof z));
  z.stack = 0, z.stack_size = 4096;
  R(c3(&z, sizeof z));
  z = (struct clone_args){.flags = CLONE_CLEAR_SIGHAND | CLONE_SIGHAND};
  R(c3(&z, sizeof z));
  signal(SIGUSR1, (void (*)(int))status_);
  z = (struct clone_args){.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
  p = c3(&z, sizeof z);
  if (!p) {
    raise(SIGUSR1);
    _exit(0);
  }
  waitpid(p, &st, 0);
  status_("clear_sighand", st);
  z = (struct clone_args){.exit_signal = 0};
  p = c3(&z, sizeof z);
  if (!p) _exit(3);
  R(waitpid(p, &st, 0));
  C(waitpid(p, &st, __WCLONE) == p);
  status_("no exit signal", st);
  return 0;
}
