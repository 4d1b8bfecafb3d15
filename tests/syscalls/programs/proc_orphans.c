/* Orphaned process groups: hangup and continue for the stopped, no stopping by the terminal for the others; setpgid's rules. */
#include "t.h"
static volatile sig_atomic_t hup, cont;
static void h(int s) { s == SIGHUP ? hup++ : cont++; }
int main(void) {
  int p[2];
  pipe(p);
  CHILD("orphaned while stopped",
        setsid();
        pid_t mid = fork();
        if (!mid) {
          pid_t c = fork();
          if (!c) {
            setpgid(0, 0);
            signal(SIGHUP, h), signal(SIGCONT, h);
            write(p[1], "r", 1);
            raise(SIGSTOP);
            while (!hup || !cont) ms(1);
            dprintf(p[1], "hup %d cont %d;", hup, cont);
            _exit(0);
          }
          char b;
          read(p[0], &b, 1);
          int st;
          waitpid(c, &st, WUNTRACED);
          _exit(WIFSTOPPED(st) ? 3 : 4);
        }
        int st; waitpid(mid, &st, 0); status_("middle", st);
        char b[100]; long n = read(p[0], b, 99); b[n < 0 ? 0 : n] = 0; puts(b));
  CHILD("a stop signal of the terminal is nothing to an orphaned group",
        setsid();
        pid_t c = fork();
        if (!c) {
          setpgid(0, 0);
          signal(SIGTSTP, SIG_DFL);
          setsid(); /* its own session: orphaned */
          puts("before"), fflush(stdout);
          raise(SIGTSTP);
          raise(SIGTTIN);
          puts("not stopped"), fflush(stdout);
          _exit(0);
        }
        int st; waitpid(c, &st, WUNTRACED); status_("child", st));
  CHILD("but SIGSTOP is", pid_t c = fork(); if (!c) { setsid(); raise(SIGSTOP); _exit(1); } int st; waitpid(c, &st, WUNTRACED); status_("child", st); kill(c, SIGKILL); waitpid(c, &st, 0); status_("child", st));
  /* setpgid */
  R(setpgid(-1, 0));
  R(setpgid(0, -1));
  R(setpgid(1 << 22, 0));
  R(setpgid(getppid(), 0));
  fflush(stdout);
  pid_t c = fork();
  if (!c) pause(), _exit(0);
  R(setpgid(c, 1 << 21));
  R(setpgid(c, c));
  C(getpgid(c) == c);
  R(setpgid(c, getpgrp()));
  C(getpgid(c) == getpgrp());
  R(setpgid(c, 0));
  R(getpgid(1 << 22));
  R(getsid(1 << 22));
  C(getsid(c) == getsid(0));
  kill(c, SIGKILL);
  waitpid(c, 0, 0);
  int q[2];
  pipe(q);
  fflush(stdout);
  if (!(c = fork())) {
    char b;
    read(q[0], &b, 1);
    execl("/bin/sleep", "sleep", "5", NULL);
  }
  write(q[1], "x", 1);
  ms(300);
  R(setpgid(c, c)); /* after exec */
  kill(c, SIGKILL);
  waitpid(c, 0, 0);
  CHILD("leaders can't", setpgid(0, 0); OK(setsid()); CHILD("session leader", OK(setsid()); R(setpgid(0, 0)); OK(setsid())));
  return 0;
}
