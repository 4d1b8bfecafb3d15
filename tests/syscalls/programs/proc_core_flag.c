/* The core-dump bit of a wait status: which signals, which limits, not dumpable. */
#include "t.h"
#include <sys/prctl.h>
#include <fcntl.h>
static void run(const char *what, int sig, rlim_t lim, int dumpable) {
  fflush(stdout);
  pid_t p = fork();
  if (!p) {
    struct rlimit l;
    getrlimit(RLIMIT_CORE, &l);
    l.rlim_cur = lim;
    setrlimit(RLIMIT_CORE, &l);
    prctl(PR_SET_DUMPABLE, dumpable);
    raise(sig);
    _exit(0);
  }
  int st;
  waitpid(p, &st, 0);
  printf("%s: signal %d core %d\n", what, WTERMSIG(st), !!WCOREDUMP(st));
}
int main(void) {
  int quiet[] = {SIGHUP, SIGINT, SIGKILL, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, 34, 64};
  for (int i = 0; i < 15; i++) run("no core", quiet[i], RLIM_INFINITY, 1);
  int loud[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS};
  for (int i = 0; i < 10; i++) run("limit 0", loud[i], 0, 1);
  run("not dumpable", SIGSEGV, 0, 0);
  int none[] = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH};
  for (int i = 0; i < 4; i++) {
    fflush(stdout);
    pid_t p = fork();
    if (!p) raise(none[i]), _exit(i);
    int st;
    waitpid(p, &st, 0);
    status_("ignored by default", st);
  }
  return 0;
}
