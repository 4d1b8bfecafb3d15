/* waitid and wait4: every kind of id and option, what siginfo says, what is left to wait for. */
#include "t.h"
#include <sys/syscall.h>
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
static pid_t c;
static void si(siginfo_t *i) { printf("signo %d code %d status %d pid %s uid %d\n", i->si_signo, i->si_code, i->si_status, i->si_pid == c ? "child" : i->si_pid ? "other" : "0", i->si_uid), memset(i, 0, sizeof *i); }
static pid_t spawn(int how) {
  fflush(stdout);
  pid_t p = fork();
  if (p) return p;
  if (how < 256) _exit(how);
  if (how == 300) raise(SIGSTOP), pause();
  if (how == 301) pause();
  raise(how - 400);
  _exit(99);
}
int main(void) {
  siginfo_t i;
  memset(&i, 0x55, sizeof i);
  struct rlimit nocore = {0, 0};
  setrlimit(RLIMIT_CORE, &nocore);
  R(waitid(P_ALL, 0, &i, WEXITED));
  c = spawn(42);
  R(waitid(P_PID, c, &i, WEXITED | WNOWAIT));
  si(&i);
  R(waitid(P_PID, c, &i, WEXITED | WNOWAIT | WNOHANG));
  si(&i);
  R(waitid(P_PID, c, &i, WEXITED));
  si(&i);
  R(waitid(P_PID, c, &i, WEXITED));
  c = spawn(400 + SIGTERM);
  R(waitid(P_ALL, 0, &i, WEXITED));
  si(&i);
  c = spawn(400 + SIGSEGV);
  R(waitid(P_PGID, getpgrp(), &i, WEXITED));
  si(&i);
  c = spawn(1);
  R(waitid(P_PGID, 0, &i, WEXITED));
  si(&i);
  c = spawn(300);
  R(waitid(P_PID, c, &i, WSTOPPED | WNOWAIT));
  si(&i);
  R(waitid(P_PID, c, &i, WSTOPPED));
  si(&i);
  R(waitid(P_PID, c, &i, WSTOPPED | WNOHANG));
  si(&i);
  R(waitid(P_PID, c, &i, WEXITED | WNOHANG));
  si(&i);
  kill(c, SIGCONT);
  R(waitid(P_PID, c, &i, WCONTINUED));
  si(&i);
  R(waitid(P_PID, c, &i, WCONTINUED | WNOHANG));
  si(&i);
  int fd = syscall(SYS_pidfd_open, c, 0);
  R(waitid(P_PIDFD, fd, &i, WEXITED | WNOHANG));
  si(&i);
  kill(c, SIGKILL);
  R(waitid(P_PIDFD, fd, &i, WEXITED));
  si(&i);
  R(waitid(P_PIDFD, fd, &i, WEXITED));
  R(waitid(P_PIDFD, 1000, &i, WEXITED));
  R(waitid(P_PIDFD, 1, &i, WEXITED));
  int nb = syscall(SYS_pidfd_open, c = spawn(301), O_NONBLOCK);
  R(waitid(P_PIDFD, nb, &i, WEXITED));
  kill(c, SIGKILL), waitpid(c, 0, 0);
  R(waitid(P_ALL, 0, &i, 0));
  R(waitid(P_ALL, 0, &i, WNOHANG));
  R(waitid(P_ALL, 0, &i, WEXITED | 0x40));
  R(waitid(9, 0, &i, WEXITED));
  R(waitid(P_PID, 0, &i, WEXITED));
  R(waitid(P_PID, -5, &i, WEXITED));
  R(waitid(P_PGID, -5, &i, WEXITED));
  c = spawn(7);
  R(syscall(SYS_waitid, P_PID, c, 8, WEXITED, 0));
  R(waitid(P_PID, c, 0, WEXITED));
  struct rusage ru;
  c = spawn(8);
  memset(&ru, 0x77, sizeof ru);
  R(syscall(SYS_waitid, P_PID, c, &i, WEXITED, &ru));
  si(&i);
  C(ru.ru_utime.tv_sec < 10);
  /* wait4 */
  int st;
  R(waitpid(-1, &st, 0));
  R(waitpid(-1, &st, 0x100));
  c = spawn(9);
  C(wait4(0, &st, 0, &ru) == c);
  status_("group", st);
  c = spawn(9);
  C(wait4(-getpgrp(), &st, 0, 0) == c);
  status_("-group", st);
  R(wait4(-12345678, &st, 0, 0));
  R(wait4(INT_MIN, &st, 0, 0));
  c = spawn(300);
  C(waitpid(c, &st, WUNTRACED) == c);
  status_("stop", st);
  R(waitpid(c, &st, WUNTRACED | WNOHANG));
  kill(c, SIGCONT);
  C(waitpid(c, &st, WCONTINUED) == c);
  status_("continue", st);
  kill(c, SIGKILL);
  C(waitpid(c, &st, 0) == c);
  status_("kill", st);
  c = spawn(5);
  R(wait4(c, (void *)8, 0, 0)); /* reaped all the same */
  R(wait4(c, 0, 0, 0));
  /* clone children */
  signal(SIGCHLD, SIG_IGN);
  c = spawn(3);
  R(waitpid(c, &st, 0));
  signal(SIGCHLD, SIG_DFL);
  c = syscall(SYS_clone, 0, 0, 0, 0, 0);
  if (!c) _exit(11);
  ms(50);
  R(waitpid(c, &st, 0));
  C(waitpid(c, &st, __WCLONE) == c);
  status_("__WCLONE", st);
  signal(SIGUSR2, SIG_IGN);
  c = syscall(SYS_clone, SIGUSR2, 0, 0, 0, 0);
  if (!c) _exit(12);
  C(waitpid(c, &st, __WALL) == c);
  status_("__WALL", st);
  c = spawn(1);
  R(waitpid(c, &st, __WCLONE | WNOHANG));
  C(waitpid(c, &st, __WNOTHREAD) == c);
  return 0;
}
