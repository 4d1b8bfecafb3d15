/* execveat(2) by descriptor, and what pid 1 and directories of procfs answer to. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void ex(int fd, const char *p, int fl) {
  fflush(stdout);
  if (!fork()) {
    char *a[] = {"true", "x", 0};
    syscall(SYS_execveat, fd, p, a, (char *[]){0}, fl);
    printf("%s\n", strerrorname_np(errno));
    fflush(stdout);
    _exit(9);
  }
  int s;
  wait(&s);
  printf("%x\n", s);
}
int main() {
  setvbuf(stdout, 0, _IONBF, 0);
  int f = open("/bin/true", O_RDONLY), fc = open("/bin/true", O_RDONLY | O_CLOEXEC),
      fp = open("/bin/true", O_PATH), d = open("/bin", O_RDONLY);
  ex(f, "", AT_EMPTY_PATH);
  ex(fc, "", AT_EMPTY_PATH);
  ex(fp, "", AT_EMPTY_PATH);
  ex(d, "true", 0);
  ex(d, "", AT_EMPTY_PATH);
  ex(99, "", AT_EMPTY_PATH);
  ex(f, "", 0);
  ex(AT_FDCWD, "", AT_EMPTY_PATH);
  ex(d, "true", AT_EMPTY_PATH);
  ex(f, "x", 0);
  int s = open("sc", O_RDWR | O_CREAT, 0755);
  write(s, "#!/bin/sh\necho script $0 $1\n", 27);
  close(s);
  s = open("sc", O_RDONLY);
  ex(s, "", AT_EMPTY_PATH);
  s = open("sc", O_RDONLY | O_CLOEXEC);
  ex(s, "", AT_EMPTY_PATH);
  symlink("sc", "ln");
  ex(AT_FDCWD, "ln", AT_SYMLINK_NOFOLLOW);
  ex(AT_FDCWD, "ln", 0);
  int ln = open("ln", O_PATH | O_NOFOLLOW);
  ex(ln, "", AT_EMPTY_PATH);
  cpu_set_t c;
  printf("%d %s\n", sched_getaffinity(-1, sizeof c, &c), strerrorname_np(errno));
  printf("%d %s\n", sched_getaffinity(30999, sizeof c, &c), strerrorname_np(errno));
  printf("%d %s\n", sched_getaffinity(1, sizeof c, &c), errno == ESRCH ? "" : "");
  printf("%d\n", sched_getscheduler(1) & ~0x40000000);
  struct sched_param p;
  printf("%d %d\n", sched_getparam(1, &p), p.sched_priority);
  errno = 0;
  printf("%d %d\n", getpriority(PRIO_PROCESS, 1) > -21, errno);
  printf("%d\n", getpgid(1) >= 0);
  printf("%d\n", getsid(1) >= 0);
  struct rlimit r;
  printf("%d\n", prlimit(1, RLIMIT_NOFILE, 0, &r));
  printf("%ld\n", syscall(SYS_ioprio_get, 1, 1) >= 0);
  struct timespec ts;
  printf("%d\n", sched_rr_get_interval(1, &ts));
  unsigned h[6] = {0x20080522, 1};
  printf("%ld\n", syscall(SYS_capget, h, h + 2));
  char b[50];
  sprintf(b, "/proc/%d", getpid());
  int pd = open(b, O_DIRECTORY);
  signal(SIGUSR1, SIG_IGN);
  printf("%ld %s\n", syscall(SYS_pidfd_send_signal, pd, SIGUSR1, 0, 0), strerrorname_np(errno));
  pd = open("/proc", O_DIRECTORY);
  printf("%ld %s\n", syscall(SYS_pidfd_send_signal, pd, SIGUSR1, 0, 0), strerrorname_np(errno));
  pd = open("/proc/self/task", O_DIRECTORY);
  printf("%ld %s\n", syscall(SYS_pidfd_send_signal, pd, SIGUSR1, 0, 0), strerrorname_np(errno));
  pd = open(b, O_PATH);
  printf("%ld %s\n", syscall(SYS_pidfd_send_signal, pd, SIGUSR1, 0, 0), strerrorname_np(errno));
  return 0;
}
