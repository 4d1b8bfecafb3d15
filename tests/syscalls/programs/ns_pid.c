/* Pid namespaces: numbers at each level, pid 1 and its end, signals from inside and outside, orphans, /proc. */
#include "t.h"
#include <sys/mount.h>
#include <sys/prctl.h>

static void field(const char *path, const char *name) {
  char line[200];
  FILE *f = fopen(path, "r");
  if (!f) { printf("%s: no\n", path); return; }
  while (fgets(line, 200, f))
    if (!strncmp(line, name, strlen(name))) {
      int n = 0;
      for (char *p = line; *p; p++) n += *p == '\t';
      printf("%s has %d numbers, the last %d\n", name, n, atoi(strrchr(line, '\t')));
    }
  fclose(f);
  fflush(stdout);
}

static int inside(void) {
  N(getpid());
  N(getppid());
  N(gettid());
  N(getpgrp());
  N(getsid(0));
  R(kill(getppid(), 0));
  field("/proc/self/status", "NSpid:");
  R(setsid());
  N(getpgrp());
  pid_t c = fork();
  if (!c) {
    N(getpid());
    N(getppid());
    R(kill(1, SIGKILL));
    R(kill(1, SIGTERM));
    exit(3);
  }
  int st;
  N(waitpid(c, &st, 0));
  N(WEXITSTATUS(st));
  R(waitpid(c, &st, 0));
  /* orphans */
  int p[2];
  pipe(p);
  c = fork();
  if (!c) {
    if (!fork()) {
      while (getppid() != 1) usleep(1000);
      puts("an orphan's parent is 1");
      fflush(stdout);
      close(p[0]), close(p[1]);
      exit(4);
    }
    exit(0);
  }
  waitpid(c, &st, 0);
  close(p[1]);
  N(wait(&st));
  N(WEXITSTATUS(st));
  R(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
  R(mount("proc", "/proc", "proc", 0, 0));
  char me[20] = "";
  readlink("/proc/self", me, 19);
  puts(me);
  field("/proc/self/status", "NSpid:");
  OK(access("/proc/1", F_OK));
  R(access("/proc/2", F_OK));
  R(umount("/proc"));
  return 7;
}

static void *thread(void *a) {
  N(gettid());
  return 0;
}

static void on(int s, siginfo_t *i, void *u) {
  printf("signal %d from %d code %d\n", s, i->si_pid, i->si_code);
  fflush(stdout);
}

static volatile int heard;
static void hear(int s) { heard = s; }

/* What is blocked is kept for a pid 1, too: it may have a handler by the time it is unblocked. */
static void blocked_init(void) {
  puts("- signals that are blocked");
  fflush(stdout);
  int p[2], q[2];
  char c;
  pipe(p), pipe(q);
  R(unshare(CLONE_NEWPID));
  fflush(stdout);
  pid_t k = fork();
  if (!k) {
    sigset_t s;
    sigemptyset(&s), sigaddset(&s, SIGUSR1), sigaddset(&s, SIGUSR2), sigaddset(&s, SIGTERM);
    sigprocmask(SIG_BLOCK, &s, 0);
    write(p[1], "", 1), read(q[0], &c, 1);
    sigpending(&s);
    N(sigismember(&s, SIGUSR1)), N(sigismember(&s, SIGUSR2)), N(sigismember(&s, SIGHUP));
    signal(SIGUSR1, hear);
    raise(SIGTERM);
    sigpending(&s);
    N(sigismember(&s, SIGTERM));
    sigemptyset(&s);
    sigprocmask(SIG_SETMASK, &s, 0);
    N(heard);
    fflush(stdout);
    _exit(5);
  }
  read(p[0], &c, 1);
  R(kill(k, SIGUSR1));
  R(kill(k, SIGUSR2));
  R(kill(k, SIGHUP));
  write(q[1], "", 1);
  int st;
  waitpid(k, &st, 0);
  status_("blocked", st);
}

int main(void) {
  CHILD("blocked signals", blocked_init());
  int st;
  puts("- clone");
  fflush(stdout);
  pid_t p = syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
  if (!p) exit(inside());
  C(waitpid(p, &st, 0) == p);
  C(p > 1);
  N(WEXITSTATUS(st));

  puts("- unshare");
  fflush(stdout);
  if (!fork()) {
    pid_t me = getpid();
    R(unshare(CLONE_NEWPID));
    C(getpid() == me);
    R(unshare(CLONE_NEWPID));
    pthread_t t;
    N(pthread_create(&t, 0, thread, 0));
    char text[60], text2[60] = "";
    text[readlink("/proc/self/ns/pid", text, 59)] = 0;
    R(readlink("/proc/self/ns/pid_for_children", text2, 59));
    fflush(stdout);
    int go[2], said[2];
    char b;
    pipe(go), pipe(said);
    pid_t c = fork();
    if (!c) {
      N(getpid());
      N(getppid());
      write(said[1], "x", 1);
      read(go[0], &b, 1);
      exit(0);
    }
    read(said[0], &b, 1);
    text2[readlink("/proc/self/ns/pid_for_children", text2, 59)] = 0;
    C(strcmp(text, text2));
    fflush(stdout);
    pid_t d = fork();
    if (!d) {
      N(getpid());
      N(getppid());
      write(said[1], "x", 1);
      pause();
    }
    read(said[0], &b, 1);
    write(go[1], "x", 1);
    waitpid(d, &st, 0); /* the end of 1 is the end of all */
    N(st);
    waitpid(c, &st, 0);
    N(st);
    R(fork());
    exit(0);
  }
  wait(0);

  puts("- signals from outside");
  fflush(stdout);
  p = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
  if (!p) {
    struct sigaction a = {.sa_sigaction = on, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &a, 0);
    sigaction(SIGCHLD, &a, 0);
    sigset_t s, old;
    sigemptyset(&s), sigaddset(&s, SIGUSR1), sigaddset(&s, SIGCHLD);
    sigprocmask(SIG_BLOCK, &s, &old);
    raise(SIGTERM);
    if (!fork()) exit(0);
    sigsuspend(&old);
    for (;;) sigsuspend(&old);
  }
  usleep(100000);
  R(kill(p, SIGTERM)); /* pid 1 has no handler */
  kill(p, SIGUSR1);
  usleep(100000);
  R(kill(p, SIGSTOP));
  C(waitpid(p, &st, WUNTRACED) == p && WIFSTOPPED(st));
  R(kill(p, SIGCONT));
  R(kill(p, SIGKILL));
  C(waitpid(p, &st, 0) == p && WTERMSIG(st) == SIGKILL);

  puts("- the end of 1 waits for all");
  int q[2];
  pipe(q);
  fflush(stdout);
  p = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
  if (!p) {
    for (int i = 0; i < 5; i++)
      if (!fork()) {
        if (i & 1) signal(SIGTERM, SIG_IGN);
        if (i == 2 && fork()) setsid();
        pause();
      }
    usleep(50000);
    exit(0);
  }
  waitpid(p, &st, 0);
  close(q[1]);
  char b;
  R(read(q[0], &b, 1)); /* nobody has the other end any more */
  puts("- levels");
  fflush(stdout);
  p = syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
  if (!p) {
    int x[2];
    pipe(x);
    pid_t c = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    if (!c) {
      N(getpid());
      if (!fork()) {
        N(getpid());
        field("/proc/self/status", "NSpid:");
        exit(0);
      }
      wait(0);
      exit(5);
    }
    N(waitpid(c, &st, 0));
    N(WEXITSTATUS(st));
    exit(0);
  }
  C(waitpid(p, &st, 0) == p);
  C(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  return 0;
}
