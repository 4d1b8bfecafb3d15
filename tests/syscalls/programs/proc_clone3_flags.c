/* clone3 and clone: combinations that are refused, tids in memory, shared tables, exit signals, pidfds. */
#include "t.h"
#include <linux/capability.h>
#include <linux/sched.h>
static long c3(struct clone_args *a, size_t n) { return syscall(SYS_clone3, a, n); }
#define TRY(...) \
  do { \
    struct clone_args a = {__VA_ARGS__}; \
    fflush(stdout); \
    long r = c3(&a, sizeof a); \
    if (r == 0) _exit(0); \
    printf(#__VA_ARGS__ ": %s\n", r < 0 ? strerrorname_np(errno) : "ok"); \
    if (r > 0) waitpid(r, 0, __WALL); \
  } while (0)
static int shared = 1, ptid, ctid, pfd = -1;
int main(void) {
  static char stack[65536];
  TRY(.exit_signal = SIGCHLD);
  TRY(.exit_signal = 0);
  TRY(.exit_signal = 64);
  TRY(.exit_signal = 65);
  TRY(.exit_signal = SIGCHLD, .flags = SIGCHLD);
  TRY(.flags = CLONE_THREAD);
  TRY(.flags = CLONE_THREAD | CLONE_VM);
  TRY(.flags = CLONE_SIGHAND);
  TRY(.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, .exit_signal = SIGCHLD);
  TRY(.flags = CLONE_FS | CLONE_NEWNS, .exit_signal = SIGCHLD);
  TRY(.flags = CLONE_DETACHED, .exit_signal = SIGCHLD);
  TRY(.flags = CLONE_CLEAR_SIGHAND | CLONE_SIGHAND | CLONE_VM, .exit_signal = SIGCHLD);
  TRY(.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD);
  TRY(.exit_signal = SIGCHLD, .stack = (uintptr_t)stack);
  TRY(.exit_signal = SIGCHLD, .stack_size = sizeof stack);
  TRY(.exit_signal = SIGCHLD, .set_tid_size = 1);
  TRY(.exit_signal = SIGCHLD, .set_tid = (uintptr_t)stack);
  TRY(.exit_signal = SIGCHLD, .set_tid = (uintptr_t)stack, .set_tid_size = 40);
  TRY(.flags = 1ull << 40, .exit_signal = SIGCHLD);
  TRY(.flags = CLONE_PARENT_SETTID, .exit_signal = SIGCHLD, .parent_tid = 8);
  TRY(.flags = CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = 8);
  TRY(.flags = CLONE_PIDFD | CLONE_DETACHED, .exit_signal = SIGCHLD, .pidfd = (uintptr_t)&pfd);
  struct clone_args a = {.exit_signal = SIGCHLD};
  R(c3(&a, 0));
  R(c3(&a, 63));
  R(c3((void *)8, sizeof a));
  R(c3(&a, 8192));
  char big[200] = "";
  memcpy(big, &a, sizeof a);
  big[150] = 1;
  R(c3((void *)big, sizeof big));
  /* what is written where */
  struct clone_args b = {.flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_PIDFD, .exit_signal = SIGCHLD, .parent_tid = (uintptr_t)&ptid, .child_tid = (uintptr_t)&ctid, .pidfd = (uintptr_t)&pfd};
  fflush(stdout);
  long p = c3(&b, sizeof b);
  if (!p) {
    shared = 2;
    C(ctid == getpid());
    _exit(5);
  }
  C(ptid == p);
  N(ctid);
  C(pfd >= 0);
  int st;
  C(waitpid(p, &st, 0) == p);
  status_("child", st);
  N(shared);
  N(fcntl(pfd, F_GETFD));
  /* shared tables without shared memory */
  struct clone_args f = {.flags = CLONE_FILES | CLONE_FS, .exit_signal = SIGCHLD};
  p = c3(&f, sizeof f);
  if (!p) {
    dup2(1, 77), chdir("/tmp"), umask(0123);
    _exit(0);
  }
  waitpid(p, 0, 0);
  R(fcntl(77, F_GETFD));
  char cwd[100];
  puts(getcwd(cwd, 100));
  printf("%o\n", umask(022));
  /* vfork style: the parent waits and the memory is one */
  fflush(stdout);
  signal(SIGUSR1, SIG_IGN);
  p = syscall(SYS_clone, CLONE_VFORK | SIGUSR1, 0, 0, 0, 0);
  if (!p) _exit(3);
  C(waitpid(p, &st, __WALL) == p);
  status_("exit signal of another kind", st);
  signal(SIGCHLD, SIG_IGN);
  CHILD("a sibling", TRY(.flags = CLONE_PARENT, .exit_signal = SIGCHLD));
  struct __user_cap_header_struct hd = {_LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {0};
  R(syscall(SYS_capset, &hd, none));
  for (unsigned i = 0; i < 5; i++)
    R(syscall(SYS_clone, (unsigned[]){CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET}[i] | SIGCHLD, 0, 0, 0, 0));
  return 0;
}
