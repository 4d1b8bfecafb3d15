/* /proc/self: stat and status agree with the calls, fd and fdinfo, limits, environ, cmdline, task, maps, links. */
#include "t.h"
#include <dirent.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
static char buf[65536];
static char *slurp(const char *p) {
  int f = open(p, O_RDONLY);
  if (f < 0) return strcpy(buf, strerrorname_np(errno));
  long n = 0, r;
  while ((r = read(f, buf + n, sizeof buf - 1 - n)) > 0) n += r;
  buf[n] = 0;
  close(f);
  return buf;
}
static void line(const char *p, const char *key) {
  char *l = slurp(p);
  for (char *s = strtok(l, "\n"); s; s = strtok(0, "\n"))
    if (!strncmp(s, key, strlen(key))) printf("%s\n", s);
}
static void *th(void *p) { return pause(), p; }
int main(int c, char **v) {
  int pid, ppid, pg, sid;
  char st;
  prctl(PR_SET_NAME, "a) name (");
  sscanf(strrchr(slurp("/proc/self/stat"), ')') + 2, "%c %d %d %d", &st, &ppid, &pg, &sid);
  printf("%c\n", st);
  C(ppid == getppid() && pg == getpgrp() && sid == getsid(0));
  printf("%.11s\n", strchr(slurp("/proc/self/stat"), '('));
  int spaces = 0;
  for (char *s = strrchr(buf, ')'); *s; s++) spaces += *s == ' ';
  N(spaces);
  line("/proc/self/status", "Name"), line("/proc/self/status", "State"), line("/proc/self/status", "Uid"), line("/proc/self/status", "Gid"), line("/proc/self/status", "Threads"), line("/proc/self/status", "TracerPid"), line("/proc/self/status", "NoNewPrivs");
  umask(027);
  line("/proc/self/status", "Umask");
  signal(SIGUSR1, SIG_IGN), signal(SIGUSR2, (void (*)(int))abs);
  sigset_t s;
  sigemptyset(&s), sigaddset(&s, SIGHUP), sigprocmask(SIG_BLOCK, &s, 0), raise(SIGHUP);
  line("/proc/self/status", "SigPnd"), line("/proc/self/status", "SigBlk"), line("/proc/self/status", "SigIgn"), line("/proc/self/status", "ShdPnd");
  puts(slurp("/proc/self/comm"));
  put("/proc/self/comm", "written much too long a name"), puts(slurp("/proc/self/comm"));
  pthread_t t;
  pthread_create(&t, 0, th, 0);
  ms(5);
  DIR *d = opendir("/proc/self/task");
  int n = 0;
  while (readdir(d)) n++;
  N(n);
  line("/proc/self/status", "Threads");
  /* descriptors */
  int f = open("file", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600), p[2], e = eventfd(7, 0), k = socket(AF_UNIX, SOCK_STREAM, 0);
  pipe(p);
  write(f, "12345", 5);
  char path[64], to[200];
#define LINK(fd) \
  sprintf(path, "/proc/self/fd/%d", fd), n = readlink(path, to, 199), to[n < 0 ? 0 : n] = 0, printf(#fd ": %.*s\n", (int)strcspn(strrchr(to, '/') ? strrchr(to, '/') : to, "["), strrchr(to, '/') ? strrchr(to, '/') : to)
  LINK(f), LINK(p[0]), LINK(e), LINK(k);
  struct stat ls;
  sprintf(path, "/proc/self/fd/%d", p[0]), lstat(path, &ls), printf("%o\n", ls.st_mode);
  sprintf(path, "/proc/self/fd/%d", f), lstat(path, &ls), printf("%o\n", ls.st_mode);
  int again = open(path, O_RDONLY);
  R(read(again, to, 10));
  sprintf(path, "/proc/self/fdinfo/%d", f), line(path, "pos"), line(path, "flags");
  sprintf(path, "/proc/self/fdinfo/%d", e), line(path, "eventfd-count");
  unlink("file"), LINK(f);
  R(open("/proc/self/fd/999", O_RDONLY));
  R(readlink("/proc/self/fd/999", to, 10));
  R(unlink("/proc/self/fd/0"));
  R(mkdir("/proc/self/x", 0700));
  R(open("/proc/self/new", O_CREAT | O_WRONLY, 0600));
  /* the rest */
  struct rlimit l = {123, 456};
  setrlimit(RLIMIT_NOFILE, &l);
  line("/proc/self/limits", "Max open files"), line("/proc/self/limits", "Limit");
  C(!strncmp(slurp("/proc/self/cmdline"), v[0], strlen(v[0]) + 1));
  C(strstr(slurp("/proc/self/environ"), "LC_ALL=C.UTF-8") != 0 || !strncmp(buf, "PATH", 4) || buf[0]);
  n = readlink("/proc/self/exe", to, 199), to[n] = 0;
  C(!strcmp(strrchr(to, '/') + 1, strrchr(v[0], '/') + 1));
  n = readlink("/proc/self/cwd", to, 199), to[n] = 0;
  char cwd[200];
  C(!strcmp(to, getcwd(cwd, 200)));
  n = readlink("/proc/self/root", to, 199), to[n] = 0, puts(to);
  n = readlink("/proc/self", to, 199), to[n] = 0;
  C(atoi(to) == getpid());
  n = readlink("/proc/thread-self", to, 199), to[n] = 0;
  C(strstr(to, "/task/") != 0);
  C(strstr(slurp("/proc/self/maps"), "[stack]") != 0);
  C(strstr(buf, "[heap]") != 0);
  C(strstr(buf, "[vdso]") != 0);
  C(strstr(buf, "libc.so") != 0);
  puts(slurp("/proc/self/oom_score_adj"));
  R(open("/proc/self/oom_score_adj", O_WRONLY) >= 0);
  f = open("/proc/self/oom_score_adj", O_WRONLY);
  R(write(f, "2000", 4));
  R(write(f, "x", 1));
  R(write(f, "500", 3));
  puts(slurp("/proc/self/oom_score_adj"));
  puts(slurp("/proc/99999999/stat"));
  int g = open("/proc/self/status", O_RDONLY);
  R(lseek(g, 5, SEEK_SET));
  R(read(g, to, 1));
  printf("%c\n", to[0]);
  R(write(g, "x", 1));
  R(open("/proc/self/status", O_WRONLY));
  fflush(stdout);
  pid_t ch = fork();
  if (!ch) _exit(3);
  siginfo_t si;
  waitid(P_PID, ch, &si, WEXITED | WNOWAIT);
  sprintf(path, "/proc/%d/status", ch), line(path, "State");
  sprintf(path, "/proc/%d/cmdline", ch), printf("[%s]\n", slurp(path));
  sprintf(path, "/proc/%d/exe", ch);
  R(readlink(path, to, 10));
  sprintf(path, "/proc/%d/fd", ch);
  OK(open(path, O_RDONLY));
  waitpid(ch, 0, 0);
  sprintf(path, "/proc/%d", ch);
  R(access(path, F_OK));
  return 0;
}
