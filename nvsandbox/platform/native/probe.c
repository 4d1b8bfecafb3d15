/* Whether the host lets us trap system calls: each way is tried on a child that does nothing else.
 */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void trapped(int sig, siginfo_t *si, void *uc) {
  (void)sig;
  (void)uc;
  _exit(si->si_syscall == SYS_getppid ? 0 : ENOSYS);
}

/* 0, or -errno of what failed. */
int nv_probe_systrap(void) {
  int status;
  pid_t pid = fork();
  if (pid < 0)
    return -errno;
  if (!pid) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {4, code};
    struct sigaction sa = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (sigaction(SIGSYS, &sa, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
      _exit(errno);
    syscall(SYS_getppid);
    _exit(ENOSYS);
  }
  if (waitpid(pid, &status, 0) != pid)
    return -ECHILD;
  return WIFEXITED(status) ? -WEXITSTATUS(status) : -EPERM;
}

int nv_probe_ptrace(void) {
  int status, err = 0;
  pid_t pid = fork();
  if (pid < 0)
    return -errno;
  if (!pid) {
    for (;;)
      syscall(SYS_getppid);
  }
  if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) ||
      ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
    err = -errno;
  else if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
    err = -ECHILD;
  else if (ptrace(PTRACE_SYSEMU, pid, NULL, NULL))
    err = -errno;
  else if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status) ||
           WSTOPSIG(status) != (SIGTRAP | 0x80))
    err = -ENOSYS;
  kill(pid, SIGKILL);
  while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
  }
  return err;
}
