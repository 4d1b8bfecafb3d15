#include "t.h"

/* Every call with pointers that point nowhere: the error and nothing else. */
static const struct {
  int nr;
  const char *name;
  long a[6];
} t[] = {
#define BAD 0x10
#define HIGH 0x7ffffffff000
#define KERN -4096L
#define T(n, ...) {SYS_##n, #n, {__VA_ARGS__}}
    T(read, 3, BAD, 5), T(read, 3, KERN, 5), T(write, 3, BAD, 5), T(write, 3, KERN, 5), T(open, BAD, 0), T(open, KERN, 0), T(stat, BAD, BAD), T(stat, KERN, BAD),
    T(fstat, 3, BAD), T(fstat, 3, KERN), T(lstat, BAD, BAD), T(poll, BAD, 3, 0), T(poll, KERN, 3, 0), T(rt_sigaction, 10, BAD, 0, 8), T(rt_sigprocmask, 0, BAD, 0, 8),
    T(ioctl, 4, FIONREAD, BAD), T(pread64, 3, BAD, 5, 0), T(pwrite64, 3, BAD, 5, 0), T(readv, 3, BAD, 2), T(writev, 3, BAD, 2), T(access, BAD, 0), T(pipe, BAD), T(pipe, KERN),
    T(select, 5, BAD, 0, 0, 0), T(nanosleep, BAD, 0), T(getitimer, 0, BAD), T(setitimer, 0, BAD, 0), T(connect, 6, BAD, 100), T(bind, 6, BAD, 100), T(accept, 7, BAD, BAD),
    T(getsockname, 6, BAD, BAD), T(socketpair, 1, 1, 0, BAD), T(setsockopt, 6, 1, 7, BAD, 4), T(getsockopt, 6, 1, 7, BAD, BAD), T(sendmsg, 6, BAD, 0), T(recvmsg, 6, BAD, 0),
    T(execve, BAD, 0, 0), T(wait4, -1, BAD, 1, 0), T(uname, BAD), T(getcwd, BAD, 100), T(chdir, BAD), T(rename, BAD, BAD), T(mkdir, BAD, 0), T(rmdir, BAD), T(creat, BAD, 0), T(link, BAD, BAD),
    T(unlink, BAD), T(symlink, BAD, BAD), T(readlink, BAD, BAD, 5), T(chmod, BAD, 0), T(chown, BAD, 0, 0), T(gettimeofday, BAD, 0), T(getrlimit, 0, BAD), T(setrlimit, 0, BAD), T(getrusage, 0, BAD),
    T(sysinfo, BAD), T(times, BAD), T(getgroups, 5, BAD), T(setgroups, 5, BAD), T(getresuid, BAD, BAD, BAD), T(capget, BAD, BAD), T(rt_sigpending, BAD, 8), T(rt_sigtimedwait, BAD, 0, 0, 8),
    T(rt_sigqueueinfo, 1, 0, BAD), T(rt_sigsuspend, BAD, 8), T(sigaltstack, BAD, 0), T(utime, BAD, 0), T(mknod, BAD, 0, 0), T(statfs, BAD, BAD), T(fstatfs, 3, BAD), T(sched_setparam, 0, BAD),
    T(sched_getparam, 0, BAD), T(sched_rr_get_interval, 0, BAD), T(prctl, 15, BAD), T(chroot, BAD), T(mount, BAD, BAD, BAD, 0, 0), T(umount2, BAD, 0), T(sethostname, BAD, 5), T(setxattr, BAD, BAD, BAD, 1, 0),
    T(getxattr, BAD, BAD, BAD, 1), T(listxattr, BAD, BAD, 5), T(removexattr, BAD, BAD), T(time, BAD), T(futex, BAD, 1, 1, 0, 0, 0), T(futex, BAD, 0, 1, 0, 0, 0), T(sched_setaffinity, 0, 8, BAD),
    T(getdents64, 5, BAD, 1000), T(timer_create, 1, BAD, BAD), T(timer_create, 1, 0, BAD), T(clock_gettime, 1, BAD), T(clock_getres, 1, BAD), T(clock_nanosleep, 1, 0, BAD, 0), T(epoll_wait, 8, BAD, 1, 0),
    T(epoll_ctl, 8, 1, 4, BAD), T(utimes, BAD, 0), T(inotify_add_watch, 9, BAD, 1), T(openat, -100, BAD, 0), T(mkdirat, -100, BAD, 0), T(newfstatat, -100, BAD, BAD, 0),
    T(unlinkat, -100, BAD, 0), T(renameat, -100, BAD, -100, BAD), T(linkat, -100, BAD, -100, BAD, 0), T(symlinkat, BAD, -100, BAD), T(readlinkat, -100, BAD, BAD, 5), T(fchmodat, -100, BAD, 0),
    T(faccessat, -100, BAD, 0), T(pselect6, 5, BAD, 0, 0, 0, 0), T(ppoll, BAD, 1, 0, 0, 8), T(set_robust_list, BAD, 5), T(get_robust_list, 0, BAD, BAD), 
    T(utimensat, -100, BAD, 0, 0), T(signalfd4, -1, BAD, 8, 0), T(timerfd_settime, 10, 0, BAD, 0), T(timerfd_gettime, 10, BAD), T(pipe2, BAD, 0), T(preadv, 3, BAD, 2, 0), T(pwritev, 3, BAD, 2, 0),
    T(rt_tgsigqueueinfo, 1, 1, 0, BAD), T(recvmmsg, 6, BAD, 1, 0, 0), T(sendmmsg, 6, BAD, 1, 0), T(prlimit64, 0, 0, BAD, 0), T(prlimit64, 0, 0, 0, BAD), T(getcpu, BAD, BAD, 0), T(sched_setattr, 0, BAD, 0),
    T(sched_getattr, 0, BAD, 48, 0), T(renameat2, -100, BAD, -100, BAD, 0), T(getrandom, BAD, 10, 0), T(memfd_create, BAD, 0), T(execveat, -100, BAD, 0, 0, 0), T(copy_file_range, 3, BAD, 5, 0, 1, 0),
    T(statx, -100, BAD, 0, 0, BAD), T(clone3, BAD, 88), T(openat2, -100, BAD, BAD, 24), T(faccessat2, -100, BAD, 0, 0), T(mincore, 0x10000, 4096, BAD), T(sendfile, 3, 5, BAD, 4), T(sendto, 6, BAD, 5, 0, 0, 0),
    T(recvfrom, 6, BAD, 5, 0x40, 0, 0), T(mq_open, BAD, 0, 0, 0), T(msgsnd, 0, BAD, 5, 0), T(semop, 0, BAD, 1), T(fsetxattr, 3, BAD, 0, 0, 0), T(truncate, BAD, 5), T(lchown, BAD, 0, 0), T(arch_prctl, 0x1003, BAD),
    T(read, 3, HIGH, 5), T(write, 3, HIGH, 5), T(open, HIGH, 0), T(stat, HIGH, HIGH), T(read, 3, 0x7fffffffeffe, 100)};
int main(void) {
  int p[2], s[2];
  struct sockaddr_un a = {AF_UNIX};
  if (open("f", O_RDWR | O_CREAT, 0600) != 3) return 1;
  write(3, "0123456789", 10);
  lseek(3, 0, SEEK_SET);
  pipe(p);
  dup2(p[0], 4), close(p[0]);
  dup2(open(".", O_RDONLY), 5);
  socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
  dup2(s[0], 6), dup2(socket(AF_UNIX, SOCK_STREAM, 0), 7);
  bind(7, (void *)&a, 2), listen(7, 5), fcntl(7, F_SETFL, O_NONBLOCK);
  dup2(syscall(SYS_epoll_create1, 0), 8), dup2(syscall(SYS_inotify_init1, 0), 9), dup2(syscall(SYS_timerfd_create, 1, 0), 10);
  for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
    const long *x = t[i].a;
    errno = 0;
    long r = syscall(t[i].nr, x[0], x[1], x[2], x[3], x[4], x[5]);
    printf("%s(%lx, %lx, %lx): %s\n", t[i].name, x[0], x[1], x[2], r == -1 ? strerrorname_np(errno) : "ok");
    fflush(stdout);
    lseek(3, 0, SEEK_SET);
  }
  return 0;
}
