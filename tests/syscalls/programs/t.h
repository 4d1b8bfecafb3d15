/* What every program shares: calls are printed with their result or the name of their error, never with pids or addresses. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A call whose value is the same everywhere. */
#define R(expr) \
  do { \
    errno = 0; \
    long r_ = (long)(expr); \
    int e_ = errno; \
    printf("%s = %ld%s%s\n", #expr, r_, r_ == -1 ? " " : "", r_ == -1 ? strerrorname_np(e_) : ""); \
    fflush(stdout); \
  } while (0)

/* A call whose value is not (a pid, an address): only whether it worked. */
#define OK(expr) \
  do { \
    errno = 0; \
    long r_ = (long)(expr); \
    int e_ = errno; \
    printf("%s: %s\n", #expr, r_ == -1 ? strerrorname_np(e_) : "ok"); \
    fflush(stdout); \
  } while (0)

/* A condition. */
#define C(expr) (printf("%s: %s\n", #expr, (expr) ? "yes" : "no"), fflush(stdout))

/* A number. */
#define N(expr) (printf("%s is %ld\n", #expr, (long)(expr)), fflush(stdout))

static inline void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) perror(path);
  close(fd);
}

static inline void status_(const char *what, int st) {
  if (WIFEXITED(st)) printf("%s: exit %d\n", what, WEXITSTATUS(st));
  else if (WIFSIGNALED(st)) printf("%s: signal %d\n", what, WTERMSIG(st));
  else if (WIFSTOPPED(st)) printf("%s: stopped %d\n", what, WSTOPSIG(st));
  else if (WIFCONTINUED(st)) printf("%s: continued\n", what);
  fflush(stdout);
}

/* Runs a block in a child and prints how it ended. */
#define CHILD(name, ...) \
  do { \
    fflush(stdout); \
    pid_t p_ = fork(); \
    if (p_ == 0) { \
      __VA_ARGS__; \
      fflush(stdout); \
      _exit(0); \
    } \
    int st_ = 0; \
    if (waitpid(p_, &st_, 0) != p_) perror("waitpid"); \
    status_(name, st_); \
  } while (0)

static inline void ms(long n) {
  struct timespec t = {n / 1000, n % 1000 * 1000000};
  while (nanosleep(&t, &t) < 0 && errno == EINTR) {
  }
}

static inline long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
