#include "t.h"

#include <spawn.h>
int main(void) {
  pid_t p;
  int st;
  char *av[] = {"sh", "-c", "echo $0 $V; exit 5", "arg", 0}, *ev[] = {"V=value", 0};
  posix_spawn(&p, "/bin/sh", 0, 0, av, ev);
  waitpid(p, &st, 0);
  status_("spawn", st);
  R(posix_spawn(&p, "/absent", 0, 0, av, ev) == ENOENT);
  posix_spawn_file_actions_t fa;
  posix_spawn_file_actions_init(&fa);
  posix_spawn_file_actions_addopen(&fa, 1, "out", O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addclose(&fa, 0);
  posix_spawnattr_t at;
  posix_spawnattr_init(&at);
  posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGUSR1);
  posix_spawnattr_setsigmask(&at, &s);
  sigaddset(&s, SIGUSR2);
  posix_spawnattr_setsigdefault(&at, &s);
  signal(SIGUSR2, SIG_IGN);
  char *a2[] = {"sh", "-c", "grep -E 'SigBlk|SigIgn' /proc/self/status; ls -l /proc/self/fd/0 2>/dev/null; true", 0};
  R(posix_spawn(&p, "/bin/sh", &fa, &at, a2, environ));
  waitpid(p, &st, 0);
  status_("spawn", st);
  fflush(stdout);
  system("cat out");
  R(posix_spawnp(&p, "false", 0, 0, (char *[]){"false", 0}, environ));
  waitpid(p, &st, 0);
  status_("false", st);
  N(WEXITSTATUS(system("exit 9")));
  FILE *f = popen("echo popen; exit 2", "r");
  char b[50];
  fgets(b, 50, f);
  printf("%s", b);
  status_("pclose", pclose(f));
  return 0;
}
