/*
 * Random system calls with arguments that are more often nearly right than not. Children do them, one after the other, each for
 * a short while; what becomes of them is their business, the kernel must survive. usage: syscalls SECONDS SEED
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;
static uint64_t rnd(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}
static char *mem;
static const char *paths[] = {"/tmp/f", "/tmp", ".", "..", "/proc/self/maps", "/dev/null", "/dev/ptmx", "/nothing", "a", "b/c", "/proc/self/fd/3", "", "/tmp/fifo", "/dev/full", "/proc/self/mem", "/etc/passwd"};
static const uint64_t odd[] = {0, 1, 2, 3, 7, 8, 16, 4095, 4096, 4097, 65536, 1 << 20, 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, 1ull << 47, 0x7fffffffffffffff, 0x8000000000000000, -1ull, -2ull, -4096ull, 0x7ffffffff000, AT_FDCWD};

static uint64_t arg(void) {
  switch (rnd() % 10) {
    case 0:
    case 1:
      return rnd() % 40; /* a descriptor, a small number */
    case 2:
      return (uintptr_t)mem + rnd() % 8192;
    case 3:
      return (uintptr_t)mem + (rnd() % 8192 & ~7);
    case 4:
      return (uintptr_t)paths[rnd() % 16];
    case 5:
      return odd[rnd() % 24];
    case 6:
      return 1ull << rnd() % 64;
    case 7:
      return rnd() % 4 ? 0 : (uintptr_t)mem + 8192 - rnd() % 64; /* up to the edge */
    case 8:
      return rnd() & rnd() & 0xfff;
    default:
      return rnd() >> rnd() % 64;
  }
}

/* What would end the run or only waste its time. */
static int left_out(long nr) {
  switch (nr) {
    case SYS_exit:
    case SYS_exit_group:
    case SYS_reboot:
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_kill:
    case SYS_tkill:
    case SYS_tgkill:
    case SYS_rt_sigqueueinfo:
    case SYS_rt_tgsigqueueinfo:
    case SYS_vfork:
    case SYS_fork:
    case SYS_clone:
    case SYS_clone3:
    case SYS_umount2:
    case SYS_pivot_root:
    case SYS_chroot:
      return 1;
  }
  return 0;
}

static void child(void) {
  struct rlimit l = {1 << 26, 1 << 26}, n = {200, 200};
  setrlimit(RLIMIT_FSIZE, &l), setrlimit(RLIMIT_NOFILE, &n), setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  struct itimerval it = {{0, 0}, {0, 200000}};
  setitimer(ITIMER_REAL, &it, 0);
  for (int s = 1; s < 65; s++)
    if (s != SIGALRM) signal(s, SIG_IGN);
  mem = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(mem + 8192, 4096);
  int p[2], s[2];
  chdir("/tmp"), open("f", O_RDWR | O_CREAT, 0600), pipe(p), socketpair(AF_UNIX, SOCK_STREAM, 0, s), eventfd(0, EFD_NONBLOCK), epoll_create1(0), timerfd_create(1, TFD_NONBLOCK), inotify_init1(IN_NONBLOCK), open("/tmp", O_RDONLY), open("/proc/self/maps", O_RDONLY), socket(AF_INET, SOCK_STREAM, 0), socket(AF_INET, SOCK_DGRAM, 0), socket(AF_NETLINK, SOCK_RAW, 0), open("/dev/ptmx", O_RDWR), memfd_create("m", 3), open("/tmp", O_PATH), signalfd(-1, &(sigset_t){}, 0);
  for (int fd = 3; fd < 30; fd++) fcntl(fd, F_SETFL, O_NONBLOCK);
  if (rnd() % 3 == 0) setresuid(65534, 65534, 65534);
  for (int i = 0; i < 3000; i++) {
    for (int k = rnd() % 8; k; k--) *(uint64_t *)(mem + (rnd() % 8184 & ~7)) = arg();
    long nr = rnd() % 20 ? (long)(rnd() % 335) : 424 + (long)(rnd() % 40);
    if (!left_out(nr)) syscall(nr, arg(), arg(), arg(), arg(), arg(), arg());
  }
  _exit(0);
}

int main(int c, char **v) {
  int seconds = atoi(v[1]);
  uint64_t seed = strtoull(v[2], 0, 0);
  time_t end = time(0) + seconds;
  long n = 0;
  while (time(0) < end) {
    pid_t p = fork();
    if (!p) {
      state = (seed + n) * 0x9e3779b97f4a7c15ull | 1;
      int q = open("/dev/null", O_RDWR);
      dup2(q, 0), dup2(q, 1), dup2(q, 2);
      setpgid(0, 0);
      child();
    }
    int st;
    time_t t0 = time(0);
    while (waitpid(p, &st, WNOHANG) == 0) {
      if (time(0) > t0 + 3) kill(p, SIGKILL);
      usleep(1000);
    }
    n++;
  }
  printf("%ld children\n", n);
  return 0;
}
