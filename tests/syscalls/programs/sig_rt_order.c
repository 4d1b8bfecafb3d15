#include "t.h"

static int order[100], vals[100], n;
static void h(int s, siginfo_t *i, void *c) {
  (void)c;
  order[n] = s - SIGRTMIN;
  vals[n++] = i->si_value.sival_int;
}
int main(void) {
  struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
  sigfillset(&a.sa_mask);
  sigset_t s;
  sigemptyset(&s);
  for (int i = 0; i < 4; i++) sigaction(SIGRTMIN + i, &a, 0), sigaddset(&s, SIGRTMIN + i);
  sigprocmask(SIG_BLOCK, &s, 0);
  for (int i = 0; i < 12; i++) sigqueue(getpid(), SIGRTMIN + (3 - i % 4), (union sigval){.sival_int = i});
  sigprocmask(SIG_UNBLOCK, &s, 0);
  for (int i = 0; i < n; i++) printf("%d:%d\n", order[i], vals[i]);
  sigprocmask(SIG_BLOCK, &s, 0);
  struct rlimit l = {5, 5};
  setuid(3333);
  setrlimit(RLIMIT_SIGPENDING, &l);
  for (int i = 0; i < 7; i++) R(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}));
  n = 0;
  sigprocmask(SIG_UNBLOCK, &s, 0);
  N(n);
  return 0;
}
