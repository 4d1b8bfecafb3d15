#include "t.h"

static char stack[65536];
static sigjmp_buf jb;
static int on(void *p) { return (char *)p >= stack && (char *)p < stack + sizeof stack; }
static void h(int s, siginfo_t *i, void *c) {
  ucontext_t *u = c;
  stack_t o;
  sigaltstack(0, &o);
  printf("%d on altstack %d flags %d uc flags %d size %ld\n", s, on(&o), o.ss_flags, u->uc_stack.ss_flags, (long)u->uc_stack.ss_size);
  stack_t n = {.ss_sp = stack, .ss_size = 9000};
  R(sigaltstack(&n, 0));
  if (s == SIGSEGV) siglongjmp(jb, 1);
}
static int eat(int n) {
  volatile char b[8192];
  b[0] = n;
  return eat(n + 1) + b[0];
}
int main(void) {
  stack_t st = {.ss_sp = stack, .ss_size = sizeof stack}, o;
  R(sigaltstack(0, &o));
  N(o.ss_flags);
  R(sigaltstack(&st, 0));
  R(sigaltstack(0, &o));
  N(o.ss_flags);
  st.ss_size = 100;
  R(sigaltstack(&st, 0));
  st.ss_size = sizeof stack;
  st.ss_flags = 0x70;
  R(sigaltstack(&st, 0));
  R(sigaltstack((void *)8, 0));
  struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGUSR1, &a, 0);
  sigaction(SIGSEGV, &a, 0);
  raise(SIGUSR1);
  a.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR2, &a, 0);
  raise(SIGUSR2);
  st = (stack_t){.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&st, 0);
  if (!sigsetjmp(jb, 1)) eat(0);
  puts("stack overflow survived");
  sigaltstack(&st, 0);
  if (!sigsetjmp(jb, 1)) eat(0);
  puts("and again");
  st.ss_flags = SS_DISABLE;
  R(sigaltstack(&st, 0));
  R(sigaltstack(0, &o));
  N(o.ss_flags);
  CHILD("overflow without", signal(SIGSEGV, SIG_DFL); eat(0));
  CHILD("overflow, handler without stack", a.sa_flags = SA_SIGINFO; sigaction(SIGSEGV, &a, 0); eat(0));
  return 0;
}
