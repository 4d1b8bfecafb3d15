#include "t.h"

static sigjmp_buf jb;
static jmp_buf j2;
static void h(int s) { siglongjmp(jb, s); }
static void g(int s) { longjmp(j2, s); }
int main(void) {
  signal(SIGUSR1, h);
  volatile int n = 0;
  for (int i = 0; i < 100; i++) {
    if (!sigsetjmp(jb, 1)) raise(SIGUSR1);
    else n++;
  }
  N(n);
  sigset_t s;
  sigprocmask(SIG_SETMASK, 0, &s);
  N(sigismember(&s, SIGUSR1));
  signal(SIGUSR2, g);
  if (!setjmp(j2)) raise(SIGUSR2);
  sigprocmask(SIG_SETMASK, 0, &s);
  N(sigismember(&s, SIGUSR2));
  return 0;
}
