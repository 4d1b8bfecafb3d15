/* clone3(2) with set_tid: ids for a child in its pid namespaces. */
#include "t.h"
#include <linux/sched.h>

static pid_t ids[40];

static long child(int n) {
  struct clone_args a = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)ids, .set_tid_size = n};
  fflush(stdout);
  long p = syscall(SYS_clone3, &a, sizeof a);
  if (p == 0) {
    printf("I am %d, my parent is %d\n", getpid(), getppid());
    fflush(stdout);
    _exit(0);
  }
  int e = errno;
  if (p > 0) waitpid(p, 0, 0);
  errno = e;
  return p;
}

static long want(int n, int a, int b) {
  ids[0] = a, ids[1] = b;
  long p = child(n);
  return p;
}

int main(void) {
  struct clone_args a = {.exit_signal = SIGCHLD, .set_tid_size = 1};
  R(syscall(SYS_clone3, &a, sizeof a));
  a = (struct clone_args){.exit_signal = SIGCHLD, .set_tid = (uintptr_t)ids};
  R(syscall(SYS_clone3, &a, sizeof a));
  a = (struct clone_args){.exit_signal = SIGCHLD, .set_tid = 8, .set_tid_size = 1};
  R(syscall(SYS_clone3, &a, sizeof a));
  R(want(33, 5, 5));
  R(want(2, 5, 5)); /* one namespace only */
  R(want(1, 0, 0));
  R(want(1, -1, 0));
  R(want(1, 1 << 30, 0));
  R(want(1, 1, 0));
  R(want(1, getpid(), 0));
  CHILD("inner", R(unshare(CLONE_NEWPID)); R(want(1, 2, 0)); R(want(3, 2, 3)); ids[0] = 1;
        a = (struct clone_args){.exit_signal = SIGCHLD, .set_tid = (uintptr_t)ids, .set_tid_size = 1}; fflush(stdout);
        long p = syscall(SYS_clone3, &a, sizeof a); if (!p) {
          N(getpid());
          R(want(1, 1, 0));
          R(want(1, 77, 0));
          R(want(1, 5, 0));
          R(want(1, 77, 0));
          R(fork() ? wait(0) > 0 : (printf("next: %d\n", getpid()), fflush(stdout), _exit(0), 0));
          setuid(1000);
          R(want(1, 50, 0));
          fflush(stdout);
          _exit(0);
        } waitpid(p, 0, 0); C(p > 0););
  CHILD("user namespace", setresuid(1000, 1000, 1000); R(unshare(CLONE_NEWUSER | CLONE_NEWPID)); ids[0] = 1;
        a = (struct clone_args){.exit_signal = SIGCHLD, .set_tid = (uintptr_t)ids, .set_tid_size = 1}; fflush(stdout);
        long p = syscall(SYS_clone3, &a, sizeof a); if (!p) {
          R(want(1, 9, 0));
          R(want(2, 9, 9));
          fflush(stdout);
          _exit(0);
        } waitpid(p, 0, 0););
  return 0;
}
