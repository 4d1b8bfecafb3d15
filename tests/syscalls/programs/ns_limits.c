/* /proc/sys/user/max_*_namespaces: limits for each user of a user namespace, and of those that it lies in. */
#include "t.h"
#include <sys/mount.h>

static int set(const char *kind, const char *v) {
  char path[80];
  sprintf(path, "/proc/sys/user/max_%s_namespaces", kind);
  int fd = open(path, O_WRONLY);
  if (fd < 0) return -1;
  int n = write(fd, v, strlen(v)), e = errno;
  close(fd);
  errno = e;
  return n;
}

static int get(const char *kind) {
  char path[80], b[20] = {0};
  sprintf(path, "/proc/sys/user/max_%s_namespaces", kind);
  int fd = open(path, O_RDONLY);
  if (fd < 0 || read(fd, b, 19) < 0) return -1;
  close(fd);
  return atoi(b);
}

static void map(void) {
  int fd = open("/proc/self/setgroups", O_WRONLY);
  write(fd, "deny", 4), close(fd);
  fd = open("/proc/self/uid_map", O_WRONLY);
  write(fd, "0 1000 1", 8), close(fd);
}

int main(void) {
  setresgid(1000, 1000, 1000), setresuid(1000, 1000, 1000);
  C(get("user") > 100);
  R(set("user", "5"));
  R(unshare(CLONE_NEWUSER | CLONE_NEWNS));
  map();
  const char *kinds[] = {"user", "pid", "uts", "ipc", "net", "mnt", "cgroup", "time"};
  for (int i = 0; i < 8; i++) N(get(kinds[i]));
  R(set("uts", "-1"));
  R(set("uts", "x"));
  R(set("uts", "0"));
  R(unshare(CLONE_NEWUTS));
  R(set("uts", "1"));
  N(get("uts"));
  R(unshare(CLONE_NEWUTS));
  R(unshare(CLONE_NEWUTS)); /* the old one is still there */
  CHILD("child", R(unshare(CLONE_NEWUTS)); R(unshare(CLONE_NEWIPC)));
  R(set("ipc", "2"));
  R(unshare(CLONE_NEWIPC));
  R(set("pid", "0"));
  R(unshare(CLONE_NEWPID));
  R(unshare(CLONE_NEWIPC | CLONE_NEWPID));
  R(set("net", "0"));
  R(unshare(CLONE_NEWNET));
  R(set("mnt", "1"));
  R(unshare(CLONE_NEWNS));
  R(unshare(CLONE_NEWNS));
  R(set("cgroup", "0"));
  R(unshare(CLONE_NEWCGROUP));
  puts("- within");
  R(set("user", "1"));
  CHILD("user namespaces", R(unshare(CLONE_NEWUSER)); N(get("uts")); R(unshare(CLONE_NEWUTS)); R(unshare(CLONE_NEWUSER));
        R(unshare(CLONE_NEWIPC)));
  R(set("user", "0"));
  R(unshare(CLONE_NEWUSER));
  R(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
  return 0;
}
