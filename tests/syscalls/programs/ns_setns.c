/* setns(2) by files of /proc/PID/ns and by pidfd; the ioctls of namespaces. */
#include "t.h"
#include <linux/nsfs.h>
#include <sys/mount.h>
#include <sys/pidfd.h>

static int ns(pid_t p, const char *kind) {
  char path[60];
  sprintf(path, "/proc/%d/ns/%s", p, kind);
  return open(path, O_RDONLY | O_CLOEXEC);
}

static int same(int a, int b) {
  struct stat x, y;
  return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static void host(void) {
  char b[65] = "";
  gethostname(b, 64);
  printf("host %s\n", b);
  fflush(stdout);
}

int main(void) {
  int go[2], st;
  char b;
  pipe(go);
  const char *kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time"};
  fflush(stdout);
  pid_t p = syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP | SIGCHLD, 0, 0, 0, 0);
  if (!p) {
    sethostname("target", 6);
    mount("x", "/mnt", "tmpfs", 0, 0);
    put("/mnt/file", "there"); /* an owner it can't have */
    write(go[1], "x", 1);
    pause();
  }
  read(go[0], &b, 1);
  for (int i = 0; i < 8; i++) {
    int a = ns(getpid(), kinds[i]), c = ns(p, kinds[i]);
    printf("%s: %s\n", kinds[i], same(a, c) ? "same" : "other");
    N(ioctl(c, NS_GET_NSTYPE));
    int u = ioctl(c, NS_GET_USERNS), e = errno;
    printf("owner: %s\n", u < 0 ? strerrorname_np(e) : same(u, ns(p, "user")) ? "new" : same(u, ns(getpid(), "user")) ? "mine" : "?");
    int up = ioctl(c, NS_GET_PARENT);
    e = errno;
    printf("parent: %s\n", up < 0 ? strerrorname_np(e) : same(up, a) ? "mine" : "?");
    uid_t who = 99;
    R(ioctl(c, NS_GET_OWNER_UID, &who));
    N(who);
    close(a), close(c);
  }
  fflush(stdout);
  puts("- one by one");
  int uts = ns(p, "uts"), mnt = ns(p, "mnt"), ipc = ns(p, "ipc"), pid = ns(p, "pid"), user = ns(p, "user"), home = ns(getpid(), "uts");
  if (!fork()) {
    R(setns(uts, CLONE_NEWNET));
    R(setns(go[0], 0));
    R(setns(99, 0));
    R(setns(uts, CLONE_NEWUTS));
    host();
    R(setns(home, 0));
    C(1);
    R(setns(ipc, 0));
    R(setns(mnt, 0));
    R(access("/mnt/file", F_OK));
    char cwd[100];
    puts(getcwd(cwd, 100));
    R(setns(ns(getppid(), "user"), 0));
    R(setns(pid, 0));
    fflush(stdout);
    pid_t c = fork();
    if (!c) {
      N(getpid());
      N(getppid());
      exit(6);
    }
    C(waitpid(c, &st, 0) == c);
    N(WEXITSTATUS(st));
    exit(0);
  }
  wait(0);
  puts("- into the user namespace");
  fflush(stdout);
  if (!fork()) {
    R(setns(user, 0));
    R(setns(user, 0));
    N(getuid());
    R(setns(uts, 0));
    host();
    R(setns(home, 0));
    R(sethostname("again", 5));
    exit(0);
  }
  wait(0);
  puts("- by pidfd");
  fflush(stdout);
  int pf = pidfd_open(p, 0);
  if (!fork()) {
    R(setns(pf, 0));
    R(setns(pf, CLONE_FS));
    R(setns(pf, CLONE_NEWUTS | CLONE_NEWNS));
    host();
    R(access("/mnt/file", F_OK));
    R(setns(pf, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC));
    fflush(stdout);
    pid_t c = fork();
    if (!c) {
      N(getpid());
      N(kill(1, 0));
      exit(0);
    }
    waitpid(c, &st, 0);
    exit(0);
  }
  wait(0);
  puts("- as somebody");
  fflush(stdout);
  if (!fork()) {
    setresgid(1000, 1000, 1000), setresuid(1000, 1000, 1000);
    R(ns(p, "uts"));
    char path[60], t[60];
    sprintf(path, "/proc/%d/ns/uts", p);
    R(readlink(path, t, 60));
    R(setns(uts, 0));
    R(setns(user, 0));
    R(setns(pf, CLONE_NEWUTS));
    exit(0);
  }
  wait(0);
  puts("- bound to a file");
  put("name", "");
  char path[60], text[60] = "";
  sprintf(path, "/proc/%d/ns/uts", p);
  fflush(stdout);
  if (!fork()) {
    R(unshare(CLONE_NEWNS));
    R(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
    R(mount(path, "name", 0, MS_BIND, 0));
    kill(p, SIGKILL);
    waitpid(p, 0, 0);
    usleep(100000);
    int fd = open("name", O_RDONLY);
    N(ioctl(fd, NS_GET_NSTYPE));
    R(setns(fd, 0));
    host();
    close(fd);
    R(umount("name"));
    exit(0);
  }
  wait(0);
  wait(0);
  close(uts), close(mnt);
  return 0;
}
