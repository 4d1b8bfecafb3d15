/* pidfd_getfd, pidfd_send_signal, polling a pidfd, rights. */
#include "t.h"
#include <sys/syscall.h>
static int po(pid_t p, unsigned f) { return syscall(SYS_pidfd_open, p, f); }
static int gf(int p, int fd, unsigned f) { return syscall(SYS_pidfd_getfd, p, fd, f); }
static int ss(int p, int s, void *i, unsigned f) { return syscall(SYS_pidfd_send_signal, p, s, i, f); }
static volatile int got, code, val;
static void h(int s, siginfo_t *i, void *c) { got = s, code = i->si_code, val = i->si_value.sival_int; }
int main(void) {
  R(po(-1, 0));
  R(po(0, 0));
  R(po(1 << 22, 0));
  R(po(getpid(), 1));
  int p[2], up[2];
  pipe(p), pipe(up);
  fflush(stdout);
  pid_t c = fork();
  if (!c) {
    struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &a, 0), sigaction(SIGRTMIN, &a, 0);
    int m = memfd_create("theirs", 0);
    dup2(m, 200);
    write(m, "hello", 5);
    write(up[1], "r", 1);
    while (got != SIGUSR1) ms(1);
    dprintf(up[1], "%d ", code);
    while (got != SIGRTMIN) ms(1);
    dprintf(up[1], "%d %d", code, val);
    pause();
  }
  char b[100] = "";
  read(up[0], b, 1);
  int fd = po(c, 0);
  C(fd >= 0);
  N(fcntl(fd, F_GETFD));
  N(fcntl(fd, F_GETFL) & O_NONBLOCK);
  int g = gf(fd, 200, 0);
  C(g >= 0);
  N(fcntl(g, F_GETFD));
  memset(b, 0, 100);
  R(pread(g, b, 10, 0));
  puts(b);
  R(lseek(g, 2, SEEK_SET)); /* one description */
  R(gf(fd, 201, 0));
  R(gf(fd, 200, 1));
  R(gf(1000, 200, 0));
  R(gf(1, 200, 0));
  CHILD("not mine", setresuid(65534, 65534, 65534); R(gf(fd, 200, 0)); R(ss(fd, SIGUSR1, 0, 0)); R(ss(fd, 0, 0, 0)));
  R(ss(fd, 0, 0, 0));
  R(ss(fd, 65, 0, 0));
  R(ss(fd, SIGUSR1, 0, 0x100));
  R(ss(1, SIGUSR1, 0, 0));
  siginfo_t i = {.si_signo = SIGUSR2};
  R(ss(fd, SIGUSR1, &i, 0));
  i.si_signo = SIGUSR1, i.si_code = 0;
  R(ss(fd, SIGUSR1, &i, 0)); /* forging SI_USER for another */
  R(ss(fd, SIGUSR1, (void *)8, 0));
  struct pollfd q = {fd, POLLIN};
  R(poll(&q, 1, 0));
  R(ss(fd, SIGUSR1, 0, 0));
  memset(b, 0, 100);
  read(up[0], b, 99), puts(b);
  i.si_signo = SIGRTMIN, i.si_code = SI_QUEUE, i.si_value.sival_int = 77;
  R(ss(fd, SIGRTMIN, &i, 0));
  memset(b, 0, 100);
  read(up[0], b, 99), puts(b);
  R(read(fd, b, 1));
  R(write(fd, b, 1));
  R(lseek(fd, 0, SEEK_SET));
  R(ss(fd, SIGKILL, 0, 0));
  R(poll(&q, 1, 2000));
  N(q.revents);
  R(ss(fd, 0, 0, 0)); /* a zombie still has its pid */
  R(gf(fd, 200, 0));
  waitpid(c, 0, 0);
  R(ss(fd, 0, 0, 0));
  R(gf(fd, 200, 0));
  R(poll(&q, 1, 0));
  OK(po(getpid(), 0));
  fflush(stdout);
  if (!(c = fork())) _exit(0);
  siginfo_t w;
  waitid(P_PID, c, &w, WEXITED | WNOWAIT);
  OK(po(c, 0)); /* of a zombie */
  waitpid(c, 0, 0);
  R(po(c, 0));
  return 0;
}
