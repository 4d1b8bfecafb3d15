/* EFAULT of every pointer, second round: the calls that the first table (efault_table.c) leaves out; absurd lengths. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#define BAD ((long)0x10)
#define HUGE_ ((long)0x7fffffffffffff00)
static int fd, dir, sock, ep, tf, pp[2];
#define E(nr, ...) \
  do { \
    errno = 0; \
    long r = syscall(nr, ##__VA_ARGS__); \
    printf(#nr " " #__VA_ARGS__ ": %ld %s\n", r < 0 ? -1 : r > 0 ? 1 : 0, r < 0 ? strerrorname_np(errno) : ""); \
  } while (0)
int main(void) {
  char b[512] = "", *ok = b;
  fd = open("f", O_RDWR | O_CREAT, 0600), dir = open(".", O_RDONLY), sock = socket(AF_UNIX, SOCK_DGRAM, 0), ep = epoll_create1(0), tf = timerfd_create(1, 0), pipe(pp);
  E(SYS_openat, AT_FDCWD, BAD, 0);
  E(SYS_openat, AT_FDCWD, HUGE_, 0);
  E(SYS_stat, BAD, ok);
  E(SYS_stat, "f", BAD);
  E(SYS_newfstatat, AT_FDCWD, "f", HUGE_, 0);
  E(SYS_fstat, fd, BAD);
  E(SYS_statfs, "f", BAD);
  E(SYS_fstatfs, fd, BAD);
  E(SYS_statx, AT_FDCWD, "f", 0, 0x7ff, BAD);
  E(SYS_access, BAD, 0);
  E(SYS_readlink, BAD, ok, 10);
  E(SYS_chdir, BAD);
  E(SYS_rename, "f", BAD);
  E(SYS_rename, BAD, "f");
  E(SYS_link, "f", BAD);
  E(SYS_symlink, BAD, "x");
  E(SYS_symlink, "x", BAD);
  E(SYS_unlink, BAD);
  E(SYS_mkdir, BAD, 0);
  E(SYS_rmdir, BAD);
  E(SYS_mknod, BAD, 0, 0);
  E(SYS_chmod, BAD, 0);
  E(SYS_chown, BAD, 0, 0);
  E(SYS_truncate, BAD, 0);
  E(SYS_utimensat, AT_FDCWD, "f", BAD, 0);
  E(SYS_utime, "f", BAD);
  E(SYS_utimes, "f", BAD);
  E(SYS_futimesat, AT_FDCWD, "f", BAD);
  E(SYS_chroot, BAD);
  E(SYS_getcwd, BAD, 100);
  E(SYS_getcwd, ok, 0);
  E(SYS_getdents64, dir, HUGE_, 1000);
  E(SYS_read, fd, HUGE_, 10);
  E(SYS_write, fd, BAD, HUGE_);
  E(SYS_pread64, fd, BAD, 1, -1);
  E(SYS_readv, fd, BAD, 1);
  E(SYS_writev, fd, HUGE_, 1);
  E(SYS_readv, fd, ok, 1 << 20);
  E(SYS_pipe, BAD);
  E(SYS_pipe2, HUGE_, 0);
  E(SYS_poll, BAD, 1, 0);
  E(SYS_poll, ok, -1, 0);
  E(SYS_ppoll, ok, 1, BAD, 0, 8);
  E(SYS_ppoll, ok, 0, 0, BAD, 8);
  E(SYS_select, 10, BAD, 0, 0, ok);
  E(SYS_select, 10, 0, 0, 0, BAD);
  E(SYS_pselect6, 0, 0, 0, 0, BAD, 0);
  E(SYS_pselect6, 0, 0, 0, 0, 0, BAD);
  E(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, pp[0], BAD);
  E(SYS_timerfd_settime, tf, 0, BAD, 0);
  E(SYS_timerfd_gettime, tf, BAD);
  E(SYS_signalfd4, -1, BAD, 8, 0);
  E(SYS_signalfd4, -1, ok, 7, 0);
  E(SYS_inotify_add_watch, fd, BAD, 1);
  E(SYS_bind, sock, BAD, 10);
  E(SYS_bind, sock, ok, -1);
  E(SYS_bind, sock, ok, 1 << 20);
  E(SYS_connect, sock, BAD, 10);
  E(SYS_getsockname, sock, BAD, ok);
  E(SYS_getsockname, sock, ok, BAD);
  E(SYS_sendto, sock, ok, 1, 0, BAD, 10);
  E(SYS_sendmsg, sock, BAD, 0);
  E(SYS_recvmsg, sock, BAD, MSG_DONTWAIT);
  E(SYS_sendmmsg, sock, BAD, 1, 0);
  E(SYS_recvmmsg, sock, BAD, 1, MSG_DONTWAIT, 0);
  E(SYS_setsockopt, sock, SOL_SOCKET, SO_SNDBUF, BAD, 4);
  E(SYS_setsockopt, sock, SOL_SOCKET, SO_SNDBUF, ok, -1);
  E(SYS_getsockopt, sock, SOL_SOCKET, SO_SNDBUF, ok, BAD);
  E(SYS_getsockopt, sock, SOL_SOCKET, SO_SNDBUF, BAD, ok);
  E(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, BAD);
  E(SYS_rt_sigaction, 10, BAD, 0, 8);
  E(SYS_rt_sigaction, 10, 0, BAD, 8);
  E(SYS_rt_sigaction, 10, 0, 0, 4);
  E(SYS_rt_sigprocmask, 0, BAD, 0, 8);
  E(SYS_rt_sigprocmask, 0, 0, BAD, 8);
  E(SYS_rt_sigpending, BAD, 8);
  E(SYS_rt_sigpending, ok, 9);
  E(SYS_rt_sigsuspend, BAD, 8);
  E(SYS_rt_sigtimedwait, BAD, 0, 0, 8);
  E(SYS_sigaltstack, BAD, 0);
  E(SYS_rt_sigqueueinfo, getpid(), 10, BAD);
  E(SYS_clock_gettime, 0, BAD);
  E(SYS_clock_getres, 0, BAD);
  E(SYS_gettimeofday, BAD, 0);
  E(SYS_time, BAD);
  E(SYS_times, BAD);
  E(SYS_nanosleep, BAD, 0);
  E(SYS_clock_nanosleep, 0, 0, BAD, 0);
  E(SYS_getitimer, 0, BAD);
  E(SYS_setitimer, 0, BAD, 0);
  E(SYS_timer_create, 0, BAD, ok);
  E(SYS_timer_settime, 0, 0, BAD, 0);
  E(SYS_uname, BAD);
  E(SYS_sysinfo, BAD);
  E(SYS_getrlimit, 1, BAD);
  E(SYS_setrlimit, 1, BAD);
  E(SYS_prlimit64, 0, 1, BAD, 0);
  E(SYS_getrusage, 0, BAD);
  E(SYS_getgroups, 10, BAD);
  E(SYS_setgroups, 1, BAD);
  E(SYS_getresuid, BAD, ok, ok);
  E(SYS_getresgid, ok, ok, BAD);
  E(SYS_capget, BAD, 0);
  E(SYS_sethostname, BAD, 5);
  E(SYS_sethostname, ok, -1);
  E(SYS_sched_setaffinity, 0, 8, BAD);
  E(SYS_sched_getaffinity, 0, 128, BAD);
  E(SYS_sched_setparam, 0, BAD);
  E(SYS_get_robust_list, 0, BAD, ok);
  E(SYS_set_robust_list, BAD, 3);
  E(SYS_getrandom, BAD, 10, 0);
  E(SYS_futex, BAD, 0, 0, 0);
  E(SYS_execve, BAD, 0, 0);
  E(SYS_execve, "/bin/true", BAD, 0);
  E(SYS_execve, "/bin/true", 0, HUGE_);
  E(SYS_wait4, -1, BAD, 0x40000000, 0);
  E(SYS_mincore, 0x10000, 4096, BAD);
  E(SYS_memfd_create, BAD, 0);
  E(SYS_setxattr, "f", "user.x", BAD, 1, 0);
  E(SYS_getxattr, "f", BAD, ok, 1);
  E(SYS_listxattr, BAD, ok, 10);
  E(SYS_mount, BAD, BAD, BAD, 0, 0);
  E(SYS_umount2, BAD, 0);
  E(SYS_mq_open, BAD, 0, 0, 0);
  E(SYS_shmctl, 0, 2, BAD);
  E(SYS_semop, 0, BAD, 1);
  E(SYS_msgsnd, 0, BAD, 1, 0);
  E(SYS_mmap, 0, HUGE_, 3, 0x22, -1, 0);
  E(SYS_mmap, 0, -1, 3, 0x22, -1, 0);
  E(SYS_munmap, 0, -1);
  E(SYS_mprotect, 0, HUGE_, 0);
  E(SYS_madvise, 0, HUGE_, 0);
  E(SYS_mremap, 0, -1, 1, 0);
  E(SYS_fallocate, fd, 0, HUGE_, HUGE_);
  E(SYS_splice, fd, 0, pp[1], 0, -1, 0);
  E(SYS_sendfile, pp[1], fd, 0, HUGE_);
  E(SYS_dup2, 0, 0x7fffffff);
  E(SYS_fcntl, 0, F_DUPFD, 0x7fffffff);
  E(SYS_close_range, 0x7ffffff0, 0x7fffffff, 0);
  E(SYS_listen, sock, 0x7fffffff);
  E(SYS_brk, -1);
  return 0;
}
