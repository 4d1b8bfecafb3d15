/* ptrace(2): stops, registers, memory, steps, events, attaching to others, and its errors. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define P(r, p, a, d)                                                                              \
  ({                                                                                               \
    errno = 0;                                                                                     \
    long v_ = ptrace(r, p, (void *)(long)(a), (void *)(long)(d));                                  \
    v_ < 0 ? -errno : v_;                                                                          \
  })

static volatile long word = 0x1234;
static pid_t child;

static int wait_for(pid_t p) {
  int st = -1;
  pid_t r = waitpid(p, &st, __WALL);
  return r < 0 ? -errno : st;
}

static void state(pid_t p) {
  char name[64], line[256];
  snprintf(name, sizeof name, "/proc/%d/status", p);
  FILE *f = fopen(name, "r");
  while (f && fgets(line, sizeof line, f)) {
    if (!strncmp(line, "State:", 6))
      printf("%s", line);
    if (!strncmp(line, "TracerPid:", 10))
      printf("tracer: %d\n", atoi(line + 10) == getpid());
  }
  fclose(f);
}

static void basics(void) {
  fflush(stdout);
  child = fork();
  if (!child) {
    long a = P(PTRACE_TRACEME, 0, 0, 0);
    long b = P(PTRACE_TRACEME, 0, 0, 0);
    printf("traceme %ld, twice %ld\n", a, b);
    fflush(stdout);
    raise(SIGSTOP);
    syscall(SYS_getppid);
    write(1, "child\n", 6);
    syscall(999, 1, 2, 3);
    _exit(word == 0x4321 ? 7 : 8);
  }
  printf("stop %x\n", wait_for(child));
  state(child);
  printf("peek %lx\n", P(PTRACE_PEEKDATA, child, &word, 0));
  printf("bad peek %ld %ld\n", P(PTRACE_PEEKDATA, child, 8, 0), P(PTRACE_POKEDATA, child, 8, 0));
  printf("poke %ld\n", P(PTRACE_POKEDATA, child, &word, 0x4321));
  printf("mine %lx\n", word);
  siginfo_t si;
  printf("siginfo %ld", P(PTRACE_GETSIGINFO, child, 0, &si));
  printf(" %d %d %d\n", si.si_signo, si.si_code, si.si_pid == child);
  printf("options %ld %ld\n", P(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD),
         P(PTRACE_SETOPTIONS, child, 0, 1 << 30));
  printf("bad request %ld, bad signal %ld\n", P(0x777, child, 0, 0), P(PTRACE_CONT, child, 0, 99));
  for (int i = 0; i < 12; i++) {
    P(PTRACE_SYSCALL, child, 0, 0);
    int st = wait_for(child);
    if (!WIFSTOPPED(st)) {
      printf("end %x\n", st);
      return;
    }
    struct user_regs_struct r;
    P(PTRACE_GETREGS, child, 0, &r);
    struct __ptrace_syscall_info info;
    memset(&info, 0, sizeof info);
    long n = P(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info);
    if (r.orig_rax == SYS_getppid || r.orig_rax == SYS_write || r.orig_rax == 999 ||
        r.orig_rax == SYS_exit_group) {
      printf("stop %x nr %lld ax %lld info %ld op %d", st, r.orig_rax,
             r.orig_rax == SYS_getppid && info.op == PTRACE_SYSCALL_INFO_EXIT ? 0
                                                                              : (long long)r.rax,
             n, info.op);
      if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
        printf(" %llu %llu\n", info.entry.nr, info.entry.args[2] * (info.entry.nr == SYS_write));
      else
        printf(" error %d\n", info.exit.is_error);
      printf("user %d\n", P(PTRACE_PEEKUSER, child, offsetof(struct user, regs.orig_rax), 0) ==
                              (long)r.orig_rax);
      if (r.orig_rax == SYS_write && info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        r.rdx = 3; /* shorter */
        P(PTRACE_SETREGS, child, 0, &r);
      }
      if (r.orig_rax == 999 && info.op == PTRACE_SYSCALL_INFO_ENTRY)
        P(PTRACE_POKEUSER, child, offsetof(struct user, regs.orig_rax), -1);
    }
  }
  kill(child, SIGKILL);
  wait_for(child);
}

static volatile int handled;
static void handler(int s) { handled = s; }

static void signals(void) {
  fflush(stdout);
  child = fork();
  if (!child) {
    signal(SIGUSR1, handler);
    signal(SIGUSR2, handler);
    signal(SIGCHLD, SIG_IGN);
    P(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGUSR1); /* swallowed */
    int a = handled;
    raise(SIGUSR1); /* becomes SIGUSR2 */
    int b = handled;
    raise(SIGCHLD); /* told although it is ignored */
    raise(SIGTERM); /* swallowed */
    _exit(a * 16 + (b == SIGUSR2));
  }
  int inject[] = {0, SIGUSR2, SIGCHLD, 0};
  for (int i = 0; i < 4; i++) {
    int st = wait_for(child);
    printf("signal stop %x\n", st);
    P(PTRACE_CONT, child, 0, inject[i]);
  }
  printf("end %x\n", wait_for(child));
}

static void steps(void) {
  fflush(stdout);
  child = fork();
  if (!child) {
    P(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    __asm__ volatile("nop; nop; int3; nop; ud2");
    _exit(0);
  }
  wait_for(child);
  struct user_regs_struct a, b;
  P(PTRACE_GETREGS, child, 0, &a);
  int ok = 1;
  for (int i = 0; i < 200; i++) {
    P(PTRACE_SINGLESTEP, child, 0, 0);
    int st = wait_for(child);
    P(PTRACE_GETREGS, child, 0, &b);
    siginfo_t si;
    P(PTRACE_GETSIGINFO, child, 0, &si);
    long ins = P(PTRACE_PEEKTEXT, child, b.rip, 0);
    if ((ins & 0xff) == 0xcc) {
      printf("at int3 %x flags %llx\n", st, b.eflags & 0x100);
      break;
    }
    ok &= st == 0x57f && a.rip != b.rip;
    a = b;
  }
  printf("steps %d\n", ok);
  P(PTRACE_CONT, child, 0, 0);
  printf("int3 %x\n", wait_for(child));
  P(PTRACE_GETREGS, child, 0, &a);
  printf("past it %llx\n", a.rip - b.rip);
  P(PTRACE_CONT, child, 0, 0);
  printf("ud2 %x\n", wait_for(child));
  siginfo_t si;
  P(PTRACE_GETSIGINFO, child, 0, &si);
  P(PTRACE_GETREGS, child, 0, &a);
  printf("code %d at ip %d\n", si.si_code, (uint64_t)si.si_addr == a.rip);
  struct user_fpregs_struct fp;
  printf("fpregs %ld", P(PTRACE_GETFPREGS, child, 0, &fp));
  printf(" %x\n", fp.mxcsr);
  char buf[4096];
  struct iovec iov = {buf, sizeof buf};
  printf("xstate %ld", P(PTRACE_GETREGSET, child, NT_X86_XSTATE, &iov));
  printf(" %zu %d\n", iov.iov_len, buf[512] & 2);
  iov.iov_len = 4096;
  printf("prstatus %ld", P(PTRACE_GETREGSET, child, NT_PRSTATUS, &iov));
  printf(" %zu\n", iov.iov_len);
  P(PTRACE_CONT, child, 0, SIGILL);
  printf("end %x\n", wait_for(child) & 0x7f);
}

static void *thread(void *arg) { return arg; }

static void events(void) {
  fflush(stdout);
  child = fork();
  if (!child) {
    P(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    if (!fork())
      _exit(1);
    wait(NULL);
    pthread_t t;
    pthread_create(&t, NULL, thread, NULL);
    pthread_join(t, NULL);
    if (!vfork())
      execl("/bin/true", "true", NULL);
    wait(NULL);
    _exit(5);
  }
  wait_for(child);
  P(PTRACE_SETOPTIONS, child, 0,
    PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
        PTRACE_O_TRACEEXIT | PTRACE_O_TRACEVFORKDONE);
  P(PTRACE_CONT, child, 0, 0);
  int count[8] = {0}, stops = 0, exits = 0, chlds = 0, left = 1, other = 0;
  pid_t p;
  int st;
  while ((p = waitpid(-1, &st, __WALL)) > 0) {
    if (!WIFSTOPPED(st)) {
      exits += 1;
      if (p == child)
        printf("end %x\n", st);
      continue;
    }
    int ev = st >> 16, sig = 0;
    if (ev && ev < 8) {
      count[ev]++;
      unsigned long msg = 0;
      P(PTRACE_GETEVENTMSG, p, 0, &msg);
      if (ev == PTRACE_EVENT_EXIT)
        printf("exit event %lx\n", msg);
      else
        other += ev != PTRACE_EVENT_EXEC && msg == child;
    } else if (WSTOPSIG(st) == SIGSTOP) {
      stops++;
    } else {
      chlds += WSTOPSIG(st) == SIGCHLD;
      sig = WSTOPSIG(st);
    }
    P(PTRACE_CONT, p, 0, sig);
  }
  printf(
      "fork %d vfork %d clone %d exec %d done %d exit %d, new %d, ended %d, SIGCHLD %d, odd %d\n",
      count[1], count[2], count[3], count[4], count[5], count[6], stops, exits, chlds, other);
}

static void attach(void) {
  int up[2];
  pipe(up);
  fflush(stdout);
  child = fork();
  if (!child) {
    write(up[1], "x", 1);
    for (;;)
      pause();
  }
  char c;
  read(up[0], &c, 1);
  printf("not mine %ld %ld\n", P(PTRACE_CONT, child, 0, 0), P(PTRACE_PEEKDATA, child, &word, 0));
  printf("self %ld, nobody %ld, init %d\n", P(PTRACE_ATTACH, getpid(), 0, 0),
         P(PTRACE_ATTACH, 30999, 0, 0), P(PTRACE_CONT, 1, 0, 0) < 0);
  printf("attach %ld", P(PTRACE_ATTACH, child, 0, 0));
  printf(" %x\n", wait_for(child));
  printf("again %ld interrupt %ld\n", P(PTRACE_ATTACH, child, 0, 0),
         P(PTRACE_INTERRUPT, child, 0, 0));
  state(child);
  P(PTRACE_CONT, child, 0, 0);
  printf("running %ld\n", P(PTRACE_PEEKDATA, child, &word, 0));
  kill(child, SIGUSR2);
  printf("signal %x\n", wait_for(child));
  printf("detach %ld\n", P(PTRACE_DETACH, child, 0, 0));
  printf("seize %ld %ld", P(PTRACE_SEIZE, child, 8, 0), P(PTRACE_SEIZE, child, 0, 0));
  printf(" interrupt %ld", P(PTRACE_INTERRUPT, child, 0, 0));
  int st = wait_for(child);
  printf(" %x\n", st);
  siginfo_t si;
  P(PTRACE_GETSIGINFO, child, 0, &si);
  printf("code %x\n", si.si_code);
  P(PTRACE_CONT, child, 0, 0);
  kill(child, SIGSTOP);
  printf("stop %x", wait_for(child));
  P(PTRACE_CONT, child, 0, SIGSTOP);
  printf(" group %x", wait_for(child));
  printf(" listen %ld", P(PTRACE_LISTEN, child, 0, 0));
  printf(" peek %ld\n", P(PTRACE_PEEKDATA, child, &word, 0));
  kill(child, SIGCONT);
  st = wait_for(child);
  printf("cont %x", st);
  P(PTRACE_CONT, child, 0, 0);
  st = wait_for(child);
  printf(" %x\n", st);
  P(PTRACE_CONT, child, 0, 0);
  kill(child, SIGKILL);
  printf("end %x\n", wait_for(child));
}

/* Its parent is another than its tracer: both hear of its end. */
static void foreign(void) {
  int go[2];
  pipe(go);
  fflush(stdout);
  child = fork();
  if (!child)
    for (;;)
      pause();
  pid_t tracer = fork();
  if (!tracer) {
    printf("attach %ld", P(PTRACE_ATTACH, child, 0, 0));
    printf(" %x", wait_for(child));
    P(PTRACE_CONT, child, 0, 0);
    fflush(stdout);
    write(go[1], "x", 1);
    usleep(100000);
    printf(" end %x\n", wait_for(child));
    fflush(stdout);
    _exit(0);
  }
  char c;
  read(go[0], &c, 1);
  kill(child, SIGKILL);
  usleep(20000);
  int st = 0, early = waitpid(child, &st, WNOHANG);
  printf("held back %d\n", early);
  fflush(stdout);
  printf("parent %x\n", wait_for(child));
  wait_for(tracer);
  /* a tracer that goes lets go, or kills */
  for (int opt = 0; opt < 2; opt++) {
    fflush(stdout);
    child = fork();
    if (!child)
      for (;;)
        pause();
    tracer = fork();
    if (!tracer) {
      P(PTRACE_SEIZE, child, 0, opt ? PTRACE_O_EXITKILL : 0);
      _exit(0);
    }
    wait_for(tracer);
    usleep(20000);
    printf("left %d: %d\n", opt, waitpid(child, &st, WNOHANG) == child);
    kill(child, SIGKILL);
    wait_for(child);
  }
}

int main(void) {
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  basics();
  signals();
  steps();
  events();
  attach();
  foreign();
  return 0;
}
