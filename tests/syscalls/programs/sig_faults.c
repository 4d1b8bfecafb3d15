#include "t.h"

#include <sys/ucontext.h>
static sigjmp_buf jb;
static void *want;
static void h(int s, siginfo_t *i, void *c) {
  ucontext_t *u = c;
  printf("%d code %d addr %s trapno %lld err %lld\n", s, i->si_code, i->si_addr == want ? "right" : "other",
         i->si_code > 0 ? u->uc_mcontext.gregs[REG_TRAPNO] : 0, u->uc_mcontext.gregs[REG_ERR]);
  siglongjmp(jb, 1);
}
#define TRY(what, ...) \
  printf("%s: ", what); \
  if (!sigsetjmp(jb, 1)) { \
    __VA_ARGS__; \
    puts("nothing"); \
  }
int main(void) {
  struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
  int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  for (int i = 0; i < 5; i++) sigaction(sigs[i], &a, 0);
  char *p = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  want = (void *)16;
  TRY("null read", (void)*(volatile int *)want);
  TRY("null write", *(volatile int *)want = 1);
  want = p + 100;
  TRY("write read-only", *(volatile char *)want = 1);
  want = p;
  TRY("exec non-exec", ((void (*)(void))p)());
  want = (void *)0;
  TRY("exec null", ((void (*)(void))want)());
  TRY("non-canonical", (void)*(volatile int *)0x8000000000000000);
  int fd = memfd_create("x", 0);
  char *f = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
  want = f + 5;
  TRY("beyond the end", (void)*(volatile char *)want);
  volatile int zero = 0;
  want = 0;
  TRY("divide", zero = 1 / zero);
  TRY("ud2", __asm__ volatile("ud2"));
  TRY("int3", __asm__ volatile("int3"));
  TRY("hlt", __asm__ volatile("hlt"));
  TRY("int $0x55", __asm__ volatile("int $0x55"));
  TRY("cli", __asm__ volatile("cli"));
  TRY("single step", __asm__ volatile("pushfq; orl $0x100,(%rsp); popfq; nop; nop"));
  TRY("raise", raise(SIGSEGV));
  CHILD("blocked", sigset_t s; sigemptyset(&s); sigaddset(&s, SIGSEGV); sigprocmask(SIG_BLOCK, &s, 0); *(volatile int *)8 = 1);
  CHILD("ignored", signal(SIGSEGV, SIG_IGN); *(volatile int *)8 = 1);
  CHILD("ignored kill", signal(SIGSEGV, SIG_IGN); raise(SIGSEGV); puts("alive"));
  return 0;
}
