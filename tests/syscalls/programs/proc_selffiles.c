#include "t.h"

static void first(const char *p) {
  char b[300] = "";
  int fd = open(p, O_RDONLY);
  ssize_t n = fd < 0 ? -1 : read(fd, b, 299);
  b[strcspn(b, "\n")] = 0;
  printf("%s: %s%s\n", p, n < 0 ? strerrorname_np(errno) : "", n > 0 ? b : "");
  close(fd);
}
static void key(const char *p, const char *k) {
  char l[500];
  FILE *f = fopen(p, "r");
  while (f && fgets(l, 500, f))
    if (!strncmp(l, k, strlen(k))) printf("%s", l);
  if (f) fclose(f);
}
static void ignored(int sig) {
  char l[500];
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(l, 500, f))
    if (!strncmp(l, "SigIgn:", 7)) printf("ignored: %d\n", (int)(strtoull(l + 7, 0, 16) >> (sig - 1) & 1));
  if (f) fclose(f);
}
int main(void) {
  first("/proc/self/comm");
  key("/proc/self/status", "Name:");
  key("/proc/self/status", "State:");
  key("/proc/self/status", "Uid:");
  key("/proc/self/status", "Gid:");
  key("/proc/self/status", "Threads:");
  key("/proc/self/status", "NoNewPrivs:");
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGUSR1);
  sigprocmask(SIG_BLOCK, &s, 0);
  raise(SIGUSR1);
  signal(SIGUSR2, SIG_IGN);
  key("/proc/self/status", "SigPnd:");
  key("/proc/self/status", "SigBlk:");
  ignored(SIGUSR2); /* whoever started us may have others ignored */
  first("/proc/self/oom_score_adj");
  first("/proc/self/wchan") ;
  first("/proc/self/nothing");
  first("/proc/99999/stat");
  first("/proc/sys/kernel/ostype");
  first("/proc/sys/kernel/pid_max") ;
  first("/proc/self/loginuid");
  key("/proc/self/limits", "Max open files");
  key("/proc/self/limits", "Max core");
  char b[100] = "", d[100];
  R(readlink("/proc/self", b, 99) > 0);
  C(atoi(b) == getpid());
  memset(b, 0, 100);
  readlink("/proc/self/cwd", b, 99);
  C(strcmp(b, getcwd(d, 100)) == 0);
  memset(b, 0, 100);
  readlink("/proc/self/root", b, 99);
  puts(b);
  R(unlink("/proc/self/comm"));
  R(chmod("/proc/version", 0777) == 99);
  CHILD("cmdline", execl("/bin/cat", "cat", "/proc/self/cmdline", NULL));
  puts("");
  CHILD("environ", char *e[] = {"A=1", "B=2", 0}; execle("/bin/cat", "cat", "/proc/self/environ", NULL, e));
  puts("");
  return 0;
}
