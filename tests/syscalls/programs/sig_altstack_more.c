/* sigaltstack: SS_AUTODISARM, nested use, overflow of it, changes while on it, errors. */
#include "t.h"
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
static char st1[65536], st2[65536];
static void where(const char *w) {
  stack_t o;
  char here;
  sigaltstack(0, &o);
  printf("%s: flags %x, %s\n", w, o.ss_flags, &here >= st1 && &here < st1 + sizeof st1 ? "on 1" : &here >= st2 && &here < st2 + sizeof st2 ? "on 2" : "elsewhere");
}
static void inner(int s) { where("inner"); }
static void h(int s) {
  where("handler");
  stack_t n = {.ss_sp = st2, .ss_size = sizeof st2};
  R(sigaltstack(&n, 0));
  raise(SIGUSR2);
}
static void on(int sig, void (*f)(int), int flags) {
  struct sigaction a = {.sa_handler = f, .sa_flags = flags};
  sigaction(sig, &a, 0);
}
int main(void) {
  stack_t s = {.ss_sp = st1, .ss_size = sizeof st1};
  where("at first");
  R(sigaltstack(&s, 0));
  where("set");
  on(SIGUSR1, h, SA_ONSTACK), on(SIGUSR2, inner, SA_ONSTACK);
  raise(SIGUSR1);
  where("back");
  s.ss_flags = SS_AUTODISARM;
  R(sigaltstack(&s, 0));
  where("armed");
  raise(SIGUSR1); /* may be changed inside now */
  where("restored");
  on(SIGUSR1, h, 0);
  raise(SIGUSR1);
  s.ss_flags = 0;
  s.ss_size = 1000;
  R(sigaltstack(&s, 0));
  s.ss_size = 65536, s.ss_flags = 4;
  R(sigaltstack(&s, 0));
  s.ss_flags = SS_ONSTACK;
  R(sigaltstack(&s, 0));
  s.ss_flags = SS_DISABLE, s.ss_size = 0;
  R(sigaltstack(&s, 0));
  where("disabled");
  R(sigaltstack((void *)8, 0));
  R(sigaltstack(0, (void *)8));
  R(sigaltstack(0, 0));
  CHILD("a stack that isn't there", stack_t b = {.ss_sp = (void *)0x10000, .ss_size = 65536}; sigaltstack(&b, 0); on(SIGUSR2, inner, SA_ONSTACK); raise(SIGUSR2); puts("?"));
  CHILD("inherited by fork", stack_t b = {.ss_sp = st1, .ss_size = sizeof st1}; sigaltstack(&b, 0); CHILD("grandchild", where("child")));
  on(SIGUSR2, inner, SA_ONSTACK | SA_RESETHAND);
  raise(SIGUSR2);
  CHILD("reset", raise(SIGUSR2));
  return 0;
}
