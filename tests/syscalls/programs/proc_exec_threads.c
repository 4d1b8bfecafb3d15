/* exec and exit with threads: exec from the leader and from another thread, what survives, exit of the leader alone. */
#include "t.h"
#include <sys/syscall.h>
static char *self;
static void *sleeper(void *x) {
  for (;;) pause();
}
static void *execer(void *x) {
  execl(self, self, "again", x, NULL);
  return 0;
}
static void *later(void *x) {
  ms(50);
  printf("still here\n");
  fflush(stdout);
  _exit(6);
}
static void *ender(void *x) {
  ms(20);
  syscall(SYS_exit, 3);
  return 0;
}
int main(int c, char **v) {
  self = v[0];
  if (c > 1) {
    char b[300];
    snprintf(b, 300, "/proc/%d/task", getpid());
    struct stat s;
    stat(b, &s);
    printf("%s: one thread %d, leader %d, pending %d\n", v[2], s.st_nlink == 3, getpid() == syscall(SYS_gettid), ({ sigset_t p; sigpending(&p); sigismember(&p, SIGUSR1); }));
    return 5;
  }
  pthread_t t;
  CHILD("exec by the leader", for (int i = 0; i < 5; i++) pthread_create(&t, 0, sleeper, 0); ms(10); execl(self, self, "again", "leader", NULL));
  CHILD("exec by another", sigset_t m; sigemptyset(&m); sigaddset(&m, SIGUSR1); sigprocmask(SIG_BLOCK, &m, 0); kill(getpid(), SIGUSR1); for (int i = 0; i < 5; i++) pthread_create(&t, 0, sleeper, 0); pthread_create(&t, 0, execer, "thread"); pause());
  CHILD("failed exec", for (int i = 0; i < 3; i++) pthread_create(&t, 0, sleeper, 0); R(execl("/none", "none", NULL)); R(pthread_kill(t, 0)));
  CHILD("the leader leaves first", pthread_create(&t, 0, later, 0); pthread_exit(0));
  CHILD("a thread leaves by exit", pthread_create(&t, 0, ender, 0); pthread_join(t, 0); puts("joined"));
  CHILD("the last one's status", pthread_create(&t, 0, ender, 0); syscall(SYS_exit, 9));
  CHILD("exit_group from a thread", pthread_create(&t, 0, later, 0); for (;;) pause());
  CHILD("a signal kills all", for (int i = 0; i < 5; i++) pthread_create(&t, 0, sleeper, 0); pthread_kill(t, SIGTERM); for (;;) pause());
  CHILD("fork from a thread's process", for (int i = 0; i < 5; i++) pthread_create(&t, 0, sleeper, 0); ms(10); CHILD("child", puts("one thread")); );
  CHILD("vfork with threads", for (int i = 0; i < 5; i++) pthread_create(&t, 0, sleeper, 0); pid_t p = vfork(); if (!p) execl("/bin/true", "true", NULL); int st; waitpid(p, &st, 0); status_("vfork", st));
  return 0;
}
