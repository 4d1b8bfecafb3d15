/* seccomp(2): strict mode, filters and what they answer, stacking, threads, tracers, programs that are refused. */
#include "t.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <ucontext.h>

#define NR offsetof(struct seccomp_data, nr)
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (n))
#define LEN(a) (sizeof(a) / sizeof(*(a)))
#define LD(k) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, k)
#define RET(k) BPF_STMT(BPF_RET | BPF_K, k)
#define IF(nr, what) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), RET(what)
#define PUT(flags, ...) \
  ({ \
    struct sock_filter f_[] = {__VA_ARGS__}; \
    struct sock_fprog p_ = {LEN(f_), f_}; \
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &p_); \
  })
#define SIMPLE(nr, what) PUT(0, LD(NR), IF(nr, what), RET(SECCOMP_RET_ALLOW))

static void nnp(void) { prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

static void trapped(int sig, siginfo_t *i, void *u) {
  ucontext_t *c = u;
  printf("signal %d code %d errno %d call %d arch %x rax %lld\n", sig, i->si_code, i->si_errno, i->si_syscall, i->si_arch, (long long)c->uc_mcontext.gregs[REG_RAX]);
  C(i->si_call_addr == (void *)c->uc_mcontext.gregs[REG_RIP]);
  c->uc_mcontext.gregs[REG_RAX] = 77;
}

static pthread_barrier_t bar;
static void *doomed(void *a) { return (void *)syscall(SYS_getppid); }
static void *later(void *a) {
  pthread_barrier_wait(&bar);
  pthread_barrier_wait(&bar);
  return (void *)(syscall(SYS_getppid) == -1 ? (long)errno : 0);
}
static void *other(void *a) {
  if (a) OK(SIMPLE(SYS_getpgid, SECCOMP_RET_ERRNO | 5));
  pthread_barrier_wait(&bar);
  pthread_barrier_wait(&bar);
  return 0;
}

static int filters(void) {
  char line[100];
  int n = -1;
  FILE *f = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, f)) sscanf(line, "Seccomp_filters: %d", &n);
  fclose(f);
  return n;
}

static void refused(const char *what, struct sock_filter *f, unsigned n) {
  struct sock_fprog p = {n, f};
  errno = 0;
  long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p);
  printf("%s: %ld %s\n", what, r, strerrorname_np(errno));
  fflush(stdout);
}

static void traced(int action) {
  pid_t c = fork();
  int st;
  if (!c) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    nnp();
    SIMPLE(SYS_getpgid, SECCOMP_RET_TRACE | 42);
    long r = syscall(SYS_getpgid, 0);
    printf("got %ld\n", r == getpgrp() ? 0 : r);
    fflush(stdout);
    _exit(0);
  }
  waitpid(c, &st, 0);
  ptrace(PTRACE_SETOPTIONS, c, 0, PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL);
  ptrace(PTRACE_CONT, c, 0, 0);
  waitpid(c, &st, 0);
  unsigned long m = 0;
  ptrace(PTRACE_GETEVENTMSG, c, 0, &m);
  printf("status %x message %lu call %ld rax %ld\n", st, m, ptrace(PTRACE_PEEKUSER, c, 8 * 15, 0), ptrace(PTRACE_PEEKUSER, c, 8 * 10, 0));
  fflush(stdout);
  if (action == 1) {
    ptrace(PTRACE_POKEUSER, c, 8 * 15, -1);
    ptrace(PTRACE_POKEUSER, c, 8 * 10, 123);
  }
  if (action == 2) {
    ptrace(PTRACE_POKEUSER, c, 8 * 15, SYS_dup);
    ptrace(PTRACE_POKEUSER, c, 8 * 14, 99);
  }
  ptrace(PTRACE_CONT, c, 0, 0);
  waitpid(c, &st, 0);
  status_("tracee", st);
}

int main(int argc, char **argv) {
  if (argc > 1) {
    R(syscall(SYS_getpgid, 0));
    N(prctl(PR_GET_SECCOMP));
    return 0;
  }
  CHILD("strict", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); write(1, "still here\n", 11); syscall(SYS_exit, 3));
  CHILD("strict, another call", syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0); syscall(SYS_getppid); write(1, "not reached\n", 12));
  CHILD("nobody", setresuid(65534, 65534, 65534); R(SIMPLE(SYS_getpgid, SECCOMP_RET_ERRNO | 5)); nnp(); R(SIMPLE(SYS_getpgid, SECCOMP_RET_ERRNO | 5)); R(getpgid(0)));
  CHILD("root needs nothing", R(SIMPLE(SYS_getpgid, SECCOMP_RET_ERRNO | 5)); R(getpgid(0)); R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
  CHILD("large errno", SIMPLE(SYS_getpgid, SECCOMP_RET_ERRNO | 0xffff); N(syscall(SYS_getpgid, 0)); N(errno));
  CHILD("errno 0", SIMPLE(SYS_getpgid, SECCOMP_RET_ERRNO); R(getpgid(0)));
  CHILD("kill process", SIMPLE(SYS_getpgid, SECCOMP_RET_KILL_PROCESS); getpgid(0));
  CHILD("kill thread, the only one", SIMPLE(SYS_getpgid, SECCOMP_RET_KILL_THREAD); getpgid(0));
  CHILD("kill thread, one of two", pthread_t p; SIMPLE(SYS_getppid, SECCOMP_RET_KILL_THREAD); pthread_create(&p, 0, doomed, 0); ms(50); puts("alive"));
  CHILD("trap", struct sigaction a = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO}; sigaction(SIGSYS, &a, 0); SIMPLE(SYS_getpgid, SECCOMP_RET_TRAP | 9); R(syscall(SYS_getpgid, 0)));
  CHILD("trap, blocked", sigset_t s; sigfillset(&s); sigprocmask(SIG_BLOCK, &s, 0); SIMPLE(SYS_getpgid, SECCOMP_RET_TRAP); getpgid(0));
  CHILD("trap, not handled", SIMPLE(SYS_getpgid, SECCOMP_RET_TRAP); getpgid(0));
  CHILD("trace, no tracer", SIMPLE(SYS_getpgid, SECCOMP_RET_TRACE); R(getpgid(0)));
  CHILD("log", SIMPLE(SYS_getpgid, SECCOMP_RET_LOG); OK(getpgid(0)));
  CHILD("unknown call", SIMPLE(9999, SECCOMP_RET_ERRNO | 5); R(syscall(9999)); R(syscall(9998)));
  CHILD("quick calls", SIMPLE(SYS_getpid, SECCOMP_RET_ERRNO | 5); for (int i = 0; i < 20; i++) syscall(SYS_getpid); R(syscall(SYS_getpid)); R(getpid()));
  CHILD("arguments", PUT(0, LD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup, 0, 3), LD(ARG(0)), IF(55, SECCOMP_RET_ERRNO | 7), RET(SECCOMP_RET_ALLOW)); R(dup(55)); R(dup(56)); R(dup(55)); R(syscall(SYS_dup, 55 | 1l << 32)));
  CHILD("stacked", SIMPLE(SYS_getpgid, SECCOMP_RET_ERRNO | 5); SIMPLE(SYS_getpgid, SECCOMP_RET_ALLOW); R(getpgid(0)); SIMPLE(SYS_getpgid, SECCOMP_RET_ERRNO | 6); R(getpgid(0)); SIMPLE(SYS_getpgid, SECCOMP_RET_TRACE); R(getpgid(0)); SIMPLE(SYS_getpgid, SECCOMP_RET_KILL_PROCESS); getpgid(0));
  CHILD("mode", int n = filters(); R(SIMPLE(SYS_getpgid, SECCOMP_RET_ERRNO | 5)); SIMPLE(SYS_getsid, SECCOMP_RET_ERRNO | 5); N(prctl(PR_GET_SECCOMP)); N(filters() - n); R(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)); CHILD("child", R(getpgid(0)); N(filters() - n)); execl(argv[0], argv[0], "x", NULL));
  CHILD("arithmetic", PUT(0, LD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup, 1, 0), RET(SECCOMP_RET_ALLOW), LD(ARG(0)), BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 3), BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 7), BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_ST, 3), LD(ARG(1)), BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0), BPF_STMT(BPF_LDX | BPF_MEM, 3), BPF_STMT(BPF_ALU | BPF_SUB | BPF_X, 0), BPF_STMT(BPF_ALU | BPF_NEG, 0), BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 1), BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 2), BPF_STMT(BPF_LDX | BPF_IMM, 5), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff), BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO), BPF_STMT(BPF_RET | BPF_A, 0)); for (long i = 0; i < 9; i++) { syscall(SYS_dup, i * 17, i); printf("%d\n", errno); });
  CHILD("jumps", PUT(0, LD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup, 1, 0), RET(SECCOMP_RET_ALLOW), LD(ARG(0)), BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 100, 0, 1), RET(SECCOMP_RET_ERRNO | 1), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 50, 0, 1), RET(SECCOMP_RET_ERRNO | 2), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 4, 0, 1), RET(SECCOMP_RET_ERRNO | 3), BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), RET(SECCOMP_RET_ERRNO | 99), BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO), BPF_STMT(BPF_RET | BPF_A, 0)); int a[] = {101, 100, 50, 49, 4, 3, 0}; for (int i = 0; i < 7; i++) { syscall(SYS_dup, a[i]); printf("%d\n", errno); });
  CHILD("division by zero", PUT(0, LD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_dup, 1, 0), RET(SECCOMP_RET_ALLOW), BPF_STMT(BPF_LDX | BPF_IMM, 0), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), RET(SECCOMP_RET_ALLOW)); dup(1));
  CHILD("all threads", pthread_t p; void *got; nnp(); pthread_barrier_init(&bar, 0, 2); pthread_create(&p, 0, later, 0); pthread_barrier_wait(&bar); R(PUT(SECCOMP_FILTER_FLAG_TSYNC, LD(NR), IF(SYS_getppid, SECCOMP_RET_ERRNO | 5), RET(SECCOMP_RET_ALLOW))); pthread_barrier_wait(&bar); pthread_join(p, &got); N((long)got));
  CHILD("threads that differ", pthread_t p; nnp(); pthread_barrier_init(&bar, 0, 2); pthread_create(&p, 0, other, &bar); pthread_barrier_wait(&bar); C(PUT(SECCOMP_FILTER_FLAG_TSYNC, RET(SECCOMP_RET_ALLOW)) > 0); R(PUT(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, RET(SECCOMP_RET_ALLOW))); N(prctl(PR_GET_SECCOMP)); pthread_barrier_wait(&bar); pthread_join(p, 0));
  for (int i = 0; i < 3; i++) traced(i);
  nnp();
  struct sock_filter ok[] = {RET(SECCOMP_RET_ALLOW)}, noret[] = {LD(NR)}, odd[] = {LD(2), RET(0)}, far[] = {LD(64), RET(0)}, half[] = {BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), RET(0)};
  struct sock_filter jump[] = {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 1, 0), RET(0)}, ja[] = {BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), RET(0)}, div[] = {BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RET(0)}, mod[] = {BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), RET(0)};
  struct sock_filter shift[] = {BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), RET(0)}, mem[] = {BPF_STMT(BPF_LD | BPF_MEM, 2), RET(0)}, cell[] = {BPF_STMT(BPF_ST, 16), RET(0)}, odder[] = {{0xffff, 0, 0, 0}, RET(0)};
  struct sock_filter maybe[] = {LD(NR), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1), BPF_STMT(BPF_ST, 2), BPF_STMT(BPF_LD | BPF_MEM, 2), RET(0)};
  struct sock_filter retx[] = {BPF_STMT(BPF_RET | BPF_X, 0)}, ind[] = {BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), RET(0)};
  refused("empty", ok, 0), refused("too long", ok, 4097), refused("no return", noret, 1), refused("unaligned", odd, 2), refused("beyond", far, 2), refused("half word", half, 2);
  refused("jump out", jump, 2), refused("ja out", ja, 2), refused("division", div, 2), refused("modulo", mod, 2), refused("shift", shift, 2), refused("unwritten", mem, 2), refused("no such cell", cell, 2);
  refused("unknown", odder, 2), refused("maybe unwritten", maybe, 5), refused("return x", retx, 1), refused("indirect", ind, 2), refused("bad address", (void *)8, 1);
  R(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 8));
  R(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0x8000, 0));
  R(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, 0));
  R(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 1));
  R(syscall(SYS_seccomp, 77, 0, 0));
  R(prctl(PR_SET_SECCOMP, 3, 0));
  R(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 8));
  unsigned a[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO, SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW, 0x12345678};
  for (int i = 0; i < 8; i++) R(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, a + i));
  R(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 1, a));
  R(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, 8));
  return 0;
}
