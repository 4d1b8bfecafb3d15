#include "t.h"

static sigjmp_buf jb;
static void h(int s, siginfo_t *i, void *c) {
  (void)c;
  printf("signal %d code %d\n", s, i->si_code);
  siglongjmp(jb, 1);
}
int main(void) {
  struct sigaction sa = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &sa, 0);
  sigaction(SIGBUS, &sa, 0);
  char *p = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  R(mprotect(p + 4096, 4096, PROT_READ));
  p[0] = p[8192] = 1;
  if (!sigsetjmp(jb, 1)) p[4096] = 1;
  R(mprotect(p, 4096, PROT_NONE));
  if (!sigsetjmp(jb, 1)) printf("%d\n", p[0]);
  R(mprotect(p, 4096, PROT_READ | PROT_WRITE));
  printf("%d\n", p[0]);
  munmap(p + 4096, 4096);
  if (!sigsetjmp(jb, 1)) printf("%d\n", p[4096]);
  R(mprotect(p, 3 * 4096, PROT_READ));
  if (!sigsetjmp(jb, 1)) p[0] = 2;
  R(mprotect(p + 1, 4096, PROT_READ));
  R(mprotect(p, 0, PROT_READ));
  R(mprotect(p, 4096, 0x100));
  R(mprotect(p + 4096, 4096, PROT_READ));
  R(mprotect(p, -4096UL, PROT_READ));
  R(mprotect(p, 4096, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP));
  put("f", "data");
  int fd = open("f", O_RDONLY);
  char *s = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
  R(mprotect(s, 4096, PROT_READ | PROT_WRITE));
  char *m = mmap(0, 8192, PROT_READ, MAP_SHARED, fd, 0);
  if (!sigsetjmp(jb, 1)) printf("%d\n", m[4096]);
  printf("%.4s %d\n", m, m[4095]);
  return 0;
}
