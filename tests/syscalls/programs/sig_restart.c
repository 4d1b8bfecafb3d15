#include "t.h"

static volatile int got;
static void h(int s) { got++; }
static void arm(int flags) {
  struct sigaction a = {.sa_handler = h, .sa_flags = flags};
  sigaction(SIGALRM, &a, 0);
  struct itimerval t = {{0, 0}, {0, 100000}};
  setitimer(ITIMER_REAL, &t, 0);
}
static int p[2];
static void *later(void *x) {
  ms(300);
  write(p[1], "x", 1);
  return 0;
}
int main(void) {
  char b;
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGALRM);
  pipe(p);
  arm(0);
  R(read(p[0], &b, 1));
  pthread_t t;
  sigprocmask(SIG_BLOCK, &s, 0);
  pthread_create(&t, 0, later, 0);
  sigprocmask(SIG_UNBLOCK, &s, 0);
  arm(SA_RESTART);
  R(read(p[0], &b, 1));
  N(got);
  pthread_join(t, 0);
  arm(SA_RESTART);
  R(poll(&(struct pollfd){p[0], POLLIN}, 1, 2000));
  arm(SA_RESTART);
  R(select(0, 0, 0, 0, &(struct timeval){2, 0}));
  arm(SA_RESTART);
  struct timespec r = {0, 0}, w = {2, 0};
  R(nanosleep(&w, &r));
  C(r.tv_sec == 1 && r.tv_nsec > 500000000);
  arm(SA_RESTART);
  R(pause());
  arm(SA_RESTART);
  sigset_t e;
  sigemptyset(&e);
  R(sigsuspend(&e));
  arm(SA_RESTART);
  pid_t c = fork();
  if (!c) {
    ms(300);
    _exit(3);
  }
  int st;
  C(waitpid(c, &st, 0) == c);
  arm(0);
  c = fork();
  if (!c) {
    ms(300);
    _exit(3);
  }
  R(waitpid(c, &st, 0));
  waitpid(c, &st, 0);
  N(got);
  return 0;
}
