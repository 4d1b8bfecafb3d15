/* Which calls go on after a handler with SA_RESTART, and which fail with EINTR whatever it says (signal(7)). */
#include "t.h"
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/file.h>
#include <linux/futex.h>
static volatile int hits;
static int wake = -1;
static void h(int s) {
  hits++;
  if (hits > 1 && wake >= 0) write(wake, "x", 1); /* the second signal ends a restarted read */
}
static void timer(int on) {
  struct itimerval t = {{0, on ? 40000 : 0}, {0, on ? 40000 : 0}};
  setitimer(ITIMER_REAL, &t, 0);
}
#define EACH(what, w, expr) \
  for (int restart = 0; restart < 2; restart++) { \
    fflush(stdout); \
    pid_t p_ = fork(); \
    if (!p_) { \
      struct sigaction a = {.sa_handler = h, .sa_flags = restart ? SA_RESTART : 0}; \
      sigaction(SIGALRM, &a, 0); \
      wake = w; \
      timer(1); \
      errno = 0; \
      long r = expr; \
      int e = errno; \
      timer(0); \
      printf("%s, %s: %ld %s after %s\n", what, restart ? "SA_RESTART" : "none", r, r < 0 ? strerrorname_np(e) : "", r < 0 && e == EINTR ? "one" : hits > 1 ? "restarts" : "one"); \
      fflush(stdout); \
      _exit(0); \
    } \
    int st_; \
    for (int i_ = 0; i_ < 100 && !waitpid(p_, &st_, WNOHANG); i_++) { \
      if (i_ == 20) kill(p_, SIGKILL), printf("%s, %s: still there\n", what, restart ? "SA_RESTART" : "none"); \
      ms(10); \
    } \
  }
int main(void) {
  char b[8];
  int p[2], s[2], d[2], q[2];
  pipe(p), pipe(q), socketpair(AF_UNIX, SOCK_STREAM, 0, s), socketpair(AF_UNIX, SOCK_DGRAM, 0, d);
  static char big[1 << 20];
  EACH("read of a pipe", p[1], read(p[0], b, 1));
  EACH("readv of a socket", s[1], readv(s[0], &(struct iovec){b, 1}, 1));
  EACH("recv", s[1], recv(s[0], b, 1, 0));
  EACH("recvfrom", d[1], recvfrom(d[0], b, 1, 0, 0, 0));
  EACH("write of a full pipe", -1, (write(q[1], big, 65536), write(q[1], "x", 1)));
  read(q[0], big, 65536);
  struct timeval tv = {0, 150000};
  EACH("recv with a time-out", s[1], (setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv), recv(s[0], b, 1, 0)));
  tv.tv_usec = 0;
  setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
  struct pollfd f = {p[0], POLLIN};
  EACH("poll", -1, poll(&f, 1, 1000));
  EACH("ppoll", -1, ppoll(&f, 1, 0, 0));
  EACH("select", -1, ({ fd_set r; FD_ZERO(&r); FD_SET(p[0], &r); select(p[0] + 1, &r, 0, 0, 0); }));
  EACH("pselect", -1, ({ fd_set r; FD_ZERO(&r); FD_SET(p[0], &r); pselect(p[0] + 1, &r, 0, 0, 0, 0); }));
  int ep = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN};
  epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev);
  EACH("epoll_wait", -1, epoll_wait(ep, &ev, 1, 1000));
  struct timespec ts = {0, 120000000};
  EACH("nanosleep", -1, nanosleep(&ts, 0));
  EACH("clock_nanosleep", -1, clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, 0));
  EACH("pause", -1, pause());
  sigset_t em;
  sigemptyset(&em);
  EACH("sigsuspend", -1, sigsuspend(&em));
  int word = 0;
  EACH("futex", -1, syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, 0, 0));
  EACH("futex without end", -1, syscall(SYS_futex, &word, FUTEX_WAIT, 0, 0, 0, 0));
  fflush(stdout);
  pid_t c = fork();
  if (!c) pause(), _exit(0);
  EACH("waitpid", -1, ({ pid_t k = fork(); if (!k) ms(150), _exit(0); waitpid(k, 0, 0) == k; }));
  kill(c, SIGKILL), waitpid(c, 0, 0);
  int ino = inotify_init();
  inotify_add_watch(ino, "/", IN_CREATE);
  EACH("read of inotify", -1, read(ino, big, 1000));
  int m = msgget(IPC_PRIVATE, 0600), sem = semget(IPC_PRIVATE, 1, 0600);
  EACH("msgrcv", -1, msgrcv(m, big, 10, 0, 0));
  struct sembuf op = {0, -1, 0};
  EACH("semop", -1, semop(sem, &op, 1));
  msgctl(m, IPC_RMID, 0), semctl(sem, 0, IPC_RMID);
  int l1 = open("lock", O_RDWR | O_CREAT, 0600), l2 = open("lock", O_RDWR);
  flock(l1, LOCK_EX);
  EACH("flock", -1, flock(l2, LOCK_EX));
  struct flock fl = {.l_type = F_WRLCK};
  fcntl(l1, F_SETLK, &fl);
  EACH("F_SETLKW", -1, fcntl(l2, F_SETLKW, &fl));
  mkfifo("fifo", 0600);
  EACH("open of a FIFO", -1, open("fifo", O_RDONLY));
  int ls = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un a = {AF_UNIX, "sock"};
  bind(ls, (void *)&a, sizeof a), listen(ls, 1);
  EACH("accept", -1, accept(ls, 0, 0));
  return 0;
}
