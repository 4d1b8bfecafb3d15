#include "t.h"

#include <sys/ucontext.h>
static void skip(int s, siginfo_t *i, void *c) {
  ucontext_t *u = c;
  u->uc_mcontext.gregs[REG_RIP] += 2;
  u->uc_mcontext.gregs[REG_RAX] = 77;
}
static void flags(int s, siginfo_t *i, void *c) {
  ucontext_t *u = c;
  u->uc_mcontext.gregs[REG_EFL] |= 1;
  sigaddset(&u->uc_sigmask, SIGUSR2);
}
static void fp(int s, siginfo_t *i, void *c) {
  ucontext_t *u = c;
  float *x = (float *)&u->uc_mcontext.fpregs->_xmm[7];
  x[0] = 2.5;
}
int main(void) {
  struct sigaction a = {.sa_sigaction = skip, .sa_flags = SA_SIGINFO};
  sigaction(SIGILL, &a, 0);
  long r = 0;
  __asm__ volatile("mov $5,%%rax; ud2; mov %%rax,%0" : "=r"(r)::"rax");
  N(r);
  a.sa_sigaction = flags;
  sigaction(SIGTRAP, &a, 0);
  unsigned char carry;
  __asm__ volatile("clc; int3; setc %0" : "=q"(carry));
  N(carry);
  sigset_t s;
  sigprocmask(SIG_SETMASK, 0, &s);
  N(sigismember(&s, SIGUSR2));
  a.sa_sigaction = fp;
  sigaction(SIGTRAP, &a, 0);
  float f = 0;
  __asm__ volatile("xorps %%xmm7,%%xmm7; int3; movss %%xmm7,%0" : "=m"(f)::"xmm7");
  printf("%g\n", f);
  CHILD("bad frame", __asm__ volatile("mov $15,%eax; mov $64,%rsp; syscall"));
  return 0;
}
