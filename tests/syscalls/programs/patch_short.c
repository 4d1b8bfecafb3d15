/* A system call of any number, as Go's syscall package makes them: nothing but padding near it leaves room for a
 * jump. Registers and flags survive, signals find the thread where it knows its way, and what is after the call can be jumped to. */
#include "t.h"

#include <ucontext.h>

extern char short_site[], short_end[], pad[], pad_end[];
long call(long nr, long a, long b, long c);
long compare(long value);
__asm__(".text\n.p2align 4,0xcc\n"
        ".globl call, compare, short_site, short_end, pad, pad_end\n"
        "call:\n"
        "  mov %rdi,%rax\n  mov %rsi,%rdi\n  mov %rdx,%rsi\n  mov %rcx,%rdx\n"
        "short_site: syscall\n"
        "short_end: cmp $0xfffffffffffff001,%rax\n"
        "  jbe 1f\n"
        "  neg %rax\n"
        "  or $0x10000,%rax\n"
        "1: ret\n"
        "compare: mov %rdi,%rax\n  jmp short_end\n"
        "pad: .fill 9,1,0xcc\n .p2align 4,0xcc\n"
        "pad_end:\n");
/* The same without room, which stays as it is. */
long cramped(long nr);
__asm__(".text\n.p2align 8\n .globl cramped\n"
        "cramped: mov %rdi,%rax\n"
        "  syscall\n"
        "  ret\n"
        "  .fill 300,1,0x90\n");

static volatile int alarms, astray;

static void on_alarm(int s, siginfo_t *si, void *context) {
  (void)s, (void)si;
  char *rip = (char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
  if (rip >= pad && rip < pad_end)
    astray++;
  alarms++;
}

static void *racer(void *arg) {
  long bad = 0, me = getpid();
  for (int i = 0; i < 3000; i++)
    bad += call(SYS_getpid, 0, 0, 0) != me || call(SYS_getppid, 0, 0, 0) != getppid();
  *(long *)arg = bad;
  return NULL;
}

int main(void) {
  long bad = 0, me = getpid();
  for (int i = 0; i < 300; i++)
    bad += call(SYS_getpid, 0, 0, 0) != me || cramped(SYS_getpid) != me;
  N(bad);
  int fd = open("/dev/zero", O_RDONLY);
  char buf[64];
  for (int i = 0; i < 300; i++) {
    memset(buf, 1, sizeof buf);
    bad += call(SYS_read, fd, (long)buf, sizeof buf) != sizeof buf || buf[0] || buf[63];
    bad += call(SYS_read, -1, (long)buf, 1) != (0x10000 | EBADF);
    bad += compare(5) != 5 || compare(-3) != 0x10003;
  }
  N(bad);
  for (int i = 0; i < 300; i++) {
    uint64_t flags, red;
    __asm__ volatile("movq $0x5a5a,-64(%%rsp)\n"
                     "stc\n"
                     "mov $110,%%rax\n syscall\n"
                     "mov -64(%%rsp),%1\n"
                     "lea -128(%%rsp),%%rsp\n pushfq\n pop %0\n lea 128(%%rsp),%%rsp\n"
                     : "=&r"(flags), "=&r"(red)
                     :
                     : "rax", "rcx", "r11", "memory", "cc");
    bad += !(flags & 1) || red != 0x5a5a;
  }
  N(bad);

  struct sigaction sa = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGALRM, &sa, NULL);
  struct itimerval it = {{0, 200}, {0, 200}};
  setitimer(ITIMER_REAL, &it, NULL);
  for (int i = 0; i < 300000000 && alarms < 200; i++)
    bad += call(SYS_getppid, 0, 0, 0) != getppid();
  memset(&it, 0, sizeof it);
  setitimer(ITIMER_REAL, &it, NULL);
  N(bad);
  N(astray);

  pthread_t th[4];
  long wrong[4];
  for (int i = 0; i < 4; i++)
    pthread_create(&th[i], NULL, racer, &wrong[i]);
  for (int i = 0; i < 4; i++) {
    pthread_join(th[i], NULL);
    N(wrong[i]);
  }
  for (int i = 0; i < 3; i++) {
    pid_t p = (pid_t)call(SYS_fork, 0, 0, 0);
    if (!p) {
      for (int k = 0; k < 100; k++)
        bad += call(SYS_getpid, 0, 0, 0) == me || call(SYS_getppid, 0, 0, 0) != me;
      call(SYS_exit_group, bad ? 1 : 0, 0, 0);
    }
    int st;
    waitpid(p, &st, 0);
    N(st);
  }
  uintptr_t page = (uintptr_t)short_site & ~4095ul;
  R(mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC));
  N(memcmp(short_site, "\x0f\x05", 2));
  N(pad[0] & 0xff);
  N(call(SYS_getpid, 0, 0, 0) == me);
  return 0;
}
