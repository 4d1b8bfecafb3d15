/* User namespaces: maps and who may write them, ids and capabilities inside and outside, files and signals across. */
#include "t.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static int put_map(pid_t pid, const char *name, const char *text) {
  char path[64];
  sprintf(path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_WRONLY);
  if (fd < 0) return -1;
  int n = write(fd, text, strlen(text)), e = errno;
  close(fd);
  errno = e;
  return n;
}

static void show(const char *path) {
  char b[4096];
  int fd = open(path, O_RDONLY), n = fd < 0 ? -1 : read(fd, b, sizeof b - 1);
  printf("%s: %.*s", path, n > 0 ? n : 0, b);
  if (n <= 0) puts("(nothing)");
  if (fd >= 0) close(fd);
}

static void caps(const char *when) {
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2];
  syscall(SYS_capget, &h, d);
  printf("%s: eff %d perm %d inh %d bset %d ambient %d\n", when, d[0].effective >> 21 & 1, d[0].permitted >> 21 & 1,
         d[0].inheritable != 0, prctl(PR_CAPBSET_READ, 21), prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 21, 0, 0));
}

static void ids(void) {
  uid_t r, e, s;
  gid_t g[40];
  getresuid(&r, &e, &s);
  printf("uid %d %d %d", r, e, s);
  getresgid(&r, &e, &s);
  int n = getgroups(40, g);
  printf(" gid %d %d %d groups", r, e, s);
  for (int i = 0; i < n; i++) printf(" %d", g[i]);
  puts("");
  fflush(stdout);
}

static void own(void) {
  puts("- one's own id");
  R(unshare(CLONE_NEWUSER));
  ids();
  caps("unmapped");
  show("/proc/self/uid_map");
  show("/proc/self/setgroups");
  R(setgroups(0, 0));
  R(setuid(0));
  R(put_map(getpid(), "uid_map", "0 77 1"));
  R(put_map(getpid(), "uid_map", "0 1000 2"));
  R(put_map(getpid(), "uid_map", "0 1000\n"));
  R(put_map(getpid(), "uid_map", "0 1000 0"));
  R(put_map(getpid(), "uid_map", "0 1000 x"));
  R(put_map(getpid(), "uid_map", ""));
  R(put_map(getpid(), "uid_map", "5 1000 1"));
  R(put_map(getpid(), "uid_map", "5 1000 1"));
  R(put_map(getpid(), "gid_map", "0 1000 1"));
  R(put_map(getpid(), "setgroups", "maybe"));
  R(put_map(getpid(), "setgroups", "deny"));
  R(put_map(getpid(), "setgroups", "allow"));
  show("/proc/self/setgroups");
  R(put_map(getpid(), "gid_map", "0 1000 1"));
  R(put_map(getpid(), "setgroups", "deny"));
  show("/proc/self/uid_map");
  show("/proc/self/gid_map");
  ids();
  R(setgroups(0, 0));
  R(setuid(0));
  R(setuid(5));
  R(setresuid(5, 5, 5));
  R(setreuid(1000, -1));
  R(setfsuid(-1));
  R(setfsuid(17));
  R(setgid(0));
  struct stat st;
  stat("/", &st);
  printf("/ %d %d\n", st.st_uid, st.st_gid);
  int fd = open("mine", O_CREAT | O_RDWR, 0600);
  fstat(fd, &st);
  printf("mine %d %d\n", st.st_uid, st.st_gid);
  R(fchown(fd, 5, 0));
  R(fchown(fd, 0, 0));
  R(fchown(fd, 1000, -1));
  R(fchmod(fd, 04755));
  fstat(fd, &st);
  printf("%o\n", st.st_mode);
  R(open("/etc/shadow", O_RDONLY));
  R(sethostname("x", 1));
  R(mount("x", "/mnt", "tmpfs", 0, 0));
  R(chroot("/"));
  R(mknod("dev", S_IFCHR | 0600, 0x103));
  struct rlimit rl = {1, RLIM_INFINITY};
  R(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0));
  R(prctl(PR_CAPBSET_DROP, 30, 0, 0, 0));
  caps("mapped to 5");
  R(kill(getppid(), 0));
  puts("- a namespace in it");
  R(unshare(CLONE_NEWUSER));
  R(put_map(getpid(), "uid_map", "0 5 1"));
  show("/proc/self/uid_map");
  ids();
  stat("mine", &st);
  printf("mine %d %d\n", st.st_uid, st.st_gid);
  caps("root again");
  R(unshare(CLONE_NEWUTS));
  R(sethostname("inner", 5));
  char h[20];
  gethostname(h, 20);
  puts(h);
}

static void by_parent(const char *map, const char *gmap, int uid) {
  int a[2], b[2];
  char c = 0;
  pipe(a), pipe(b);
  fflush(stdout);
  pid_t p = fork();
  if (!p) {
    if (uid) setresgid(uid, uid, uid), setresuid(uid, uid, uid), prctl(PR_SET_DUMPABLE, 1);
    R(unshare(CLONE_NEWUSER));
    write(a[1], &c, 1);
    read(b[0], &c, 1);
    show("/proc/self/uid_map");
    ids();
    R(setgroups(1, (gid_t[]){3}));
    R(setresgid(4, 4, 4));
    R(setresuid(3, 3, 3));
    ids();
    caps("after setuid");
    R(setuid(9999));
    exit(0);
  }
  read(a[0], &c, 1);
  R(put_map(p, "uid_map", map));
  R(put_map(p, "gid_map", gmap));
  char path[60], text[100] = "";
  sprintf(path, "/proc/%d/uid_map", p);
  int fd = open(path, O_RDONLY);
  read(fd, text, 99);
  printf("seen from outside: %s", text);
  fflush(stdout);
  write(b[1], &c, 1);
  int st;
  waitpid(p, &st, 0);
  N(st);
}

static void exec_caps(void) {
  puts("- what exec keeps");
  fflush(stdout);
  if (!fork()) {
    R(unshare(CLONE_NEWUSER));
    execl("/bin/sh", "sh", "-c", "grep -E 'Cap(Eff|Prm)' /proc/self/status", (char *)0);
  }
  wait(0);
  if (!fork()) {
    R(unshare(CLONE_NEWUSER));
    put_map(getpid(), "uid_map", "0 0 1");
    execl("/bin/sh", "sh", "-c", "grep -E 'Uid|Cap(Eff|Prm)' /proc/self/status | sed 's/[0-7]f*$//'", (char *)0);
  }
  wait(0);
}

static void clones(void) {
  puts("- clone");
  struct { uint64_t v[8]; } a = {{0}};
  R(syscall(SYS_clone, CLONE_NEWUSER | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
  R(syscall(SYS_clone, CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, 0, 0, 0, 0));
  R(syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
  R(syscall(SYS_clone, CLONE_NEWIPC | CLONE_SYSVSEM | SIGCHLD, 0, 0, 0, 0));
  fflush(stdout);
  pid_t p = syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
  if (!p) {
    ids();
    caps("in a clone");
    R(sethostname("c", 1));
    R(mount("x", "/mnt", "tmpfs", 0, 0));
    exit(0);
  }
  OK(p);
  waitpid(p, 0, 0);
}

static void *idle(void *a) { return pause(), a; }

static void credentials(void) {
  puts("- credentials across");
  int s[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  int on = 1;
  setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, 4);
  fflush(stdout);
  if (!fork()) {
    setresgid(1000, 1000, 1000), setresuid(1000, 1000, 1000);
    write(s[0], "x", 1);
    exit(0);
  }
  wait(0);
  if (!fork()) {
    R(unshare(CLONE_NEWUSER));
    char b, cb[64];
    struct iovec io = {&b, 1};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = cb, .msg_controllen = 64};
    recvmsg(s[1], &m, 0);
    struct ucred *u = (void *)CMSG_DATA(CMSG_FIRSTHDR(&m));
    printf("%d %d\n", u->uid, u->gid);
    struct ucred peer;
    socklen_t n = sizeof peer;
    getsockopt(s[0], SOL_SOCKET, SO_PEERCRED, &peer, &n);
    printf("peer %d %d\n", peer.uid, peer.gid);
    exit(0);
  }
  wait(0);
}

static void threads(void) {
  pthread_t t;
  pthread_create(&t, 0, idle, 0);
  R(unshare(CLONE_NEWUSER));
  R(unshare(CLONE_NEWUTS));
  exit(0);
}

int main(void) {
  chmod(".", 0777);
  fflush(stdout);
  if (!fork()) {
    setgroups(1, (gid_t[]){1001});
    setresgid(1000, 1000, 1000), setresuid(1000, 1000, 1000);
    prctl(PR_SET_DUMPABLE, 1);
    own();
    exit(0);
  }
  wait(0);
  puts("- by a parent");
  by_parent("0 1000 1\n1 100000 65536\n", "0 1000 1\n1 200000 65536\n", 1000);
  by_parent("0 0 10\n", "0 0 10\n", 0);
  by_parent("0 0 10\n5 100 2\n", "0 5 10\n10 10 1\n", 0);
  exec_caps();
  clones();
  credentials();
  fflush(stdout);
  if (!fork()) threads();
  wait(0);
  fflush(stdout);
  if (!fork()) {
    R(chroot("."));
    R(unshare(CLONE_NEWUSER));
    exit(0);
  }
  wait(0);
  return 0;
}
