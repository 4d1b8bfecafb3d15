/* System call instructions in every shape, used so often that a kernel may patch them: registers
 * and flags survive, a jump into the middle of one still works, and so does text that becomes
 * writable. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 400

/* One hot site whose `syscall` has a label of its own. */
extern char site_mov[], site_mov_call[], site_mov_end[];
long call_mov(void);
long call_mov_middle(long nr);
__asm__(".text\n.globl call_mov, call_mov_middle, site_mov, site_mov_call, site_mov_end\n"
        "call_mov:\n"
        "site_mov: mov $39,%eax\n"
        "site_mov_call: syscall\n"
        "site_mov_end: ret\n"
        "call_mov_middle: mov %rdi,%rax\n jmp site_mov_call\n");

/* read(2) as glibc has it, and its middle. */
extern char site_xor[], site_xor_call[];
long call_xor(long fd, void *buf, long n);
long call_xor_middle(long fd, void *buf, long n);
__asm__(".globl call_xor, call_xor_middle, site_xor, site_xor_call\n"
        "call_xor:\n"
        "site_xor: xor %eax,%eax\n"
        "site_xor_call: syscall\n"
        "  cmp $-4096,%rax\n"
        "  ja 1f\n"
        "  ret\n"
        "1: mov $-77,%rax\n"
        "  ret\n"
        "call_xor_middle: xor %eax,%eax\n jmp site_xor_call\n");

/* All registers around a hot call: the sum of what changed. */
static uint64_t check_registers(void) {
  uint64_t bad = 0;
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t in[8], out[8];
    for (int k = 0; k < 8; k++)
      in[k] = 0x1111111111111111ull * (unsigned)(k + 1) + (unsigned)i;
    __asm__ volatile("push %%rbx\n push %%rbp\n"
                     "mov %[in],%%r11\n"
                     "mov 0(%%r11),%%rbx\n mov 8(%%r11),%%r12\n mov 16(%%r11),%%r13\n"
                     "mov 24(%%r11),%%r14\n mov 32(%%r11),%%r15\n mov 40(%%r11),%%r8\n"
                     "mov 48(%%r11),%%r9\n mov 56(%%r11),%%r10\n"
                     "mov $110,%%eax\n syscall\n"
                     "mov %[out],%%r11\n"
                     "mov %%rbx,0(%%r11)\n mov %%r12,8(%%r11)\n mov %%r13,16(%%r11)\n"
                     "mov %%r14,24(%%r11)\n mov %%r15,32(%%r11)\n mov %%r8,40(%%r11)\n"
                     "mov %%r9,48(%%r11)\n mov %%r10,56(%%r11)\n"
                     "pop %%rbp\n pop %%rbx\n"
                     :
                     : [in] "D"(in), [out] "S"(out)
                     : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "memory");
    bad |= (uint64_t)memcmp(in, out, sizeof in);
  }
  return bad;
}

/* Carry and direction flags survive, and the red zone does. */
static int check_flags(void) {
  int bad = 0;
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t fl, red;
    __asm__ volatile("movq $0x5a5a,-64(%%rsp)\n"
                     "stc\n std\n"
                     "mov $110,%%eax\n syscall\n"
                     "mov -64(%%rsp),%1\n"
                     "lea -128(%%rsp),%%rsp\n pushfq\n pop %0\n lea 128(%%rsp),%%rsp\n cld\n"
                     : "=&r"(fl), "=&r"(red)
                     :
                     : "rax", "rcx", "r11", "memory", "cc");
    if ((fl & 0x401) != 0x401 || red != 0x5a5a)
      bad++;
  }
  return bad;
}

static volatile int alarms;
static volatile double fp_guard;
static void on_alarm(int s, siginfo_t *si, void *uc) {
  (void)s, (void)si, (void)uc;
  volatile double x = 3.25; /* uses vector registers: they are the interrupted code's to get back */
  __asm__ volatile("pcmpeqd %%xmm0,%%xmm0\n pcmpeqd %%xmm7,%%xmm7\n pcmpeqd %%xmm15,%%xmm15" ::
                       : "xmm0", "xmm7", "xmm15");
  fp_guard = x * 2;
  alarms++;
}

/* A timer's signals land anywhere in hot calls. */
static int check_signals(void) {
  struct sigaction sa;
  memset(&sa, 0, sizeof sa);
  sa.sa_sigaction = on_alarm;
  sa.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGALRM, &sa, NULL);
  struct itimerval it = {{0, 300}, {0, 300}};
  setitimer(ITIMER_REAL, &it, NULL);
  int bad = 0;
  pid_t me = getpid(), parent = getppid();
  for (int i = 0; i < 300000000 && alarms < 60; i++) {
    uint64_t a = 0x0123456789abcdefull + (unsigned)i, b, c;
    long r;
    __asm__ volatile("movq %[a],%%xmm7\n movq %[a],%%xmm15\n"
                     "mov $110,%%eax\n syscall\n"
                     "movq %%xmm7,%[b]\n movq %%xmm15,%[c]\n"
                     : [b] "=&r"(b), [c] "=&r"(c), "=&a"(r)
                     : [a] "r"(a)
                     : "rcx", "r11", "xmm7", "xmm15", "memory");
    if (r != parent || b != a || c != a)
      bad++;
    if (call_mov() != me)
      bad++;
  }
  memset(&it, 0, sizeof it);
  setitimer(ITIMER_REAL, &it, NULL);
  return bad;
}

static int pipefd[2];
static void *feeder(void *arg) {
  (void)arg;
  for (int i = 0; i < 200; i++) {
    char c = (char)i;
    if (write(pipefd[1], &c, 1) != 1)
      return "write";
    if (i % 8 == 0)
      usleep(300);
  }
  return NULL;
}

/* A blocking hot read, interrupted and restarted. */
static int check_restart(void) {
  alarms = 0;
  struct itimerval it = {{0, 700}, {0, 700}};
  pthread_t th;
  int bad = 0;
  if (pipe(pipefd))
    return -1;
  setitimer(ITIMER_REAL, &it, NULL);
  pthread_create(&th, NULL, feeder, NULL);
  for (int i = 0; i < 200; i++) {
    char c;
    if (call_xor(pipefd[0], &c, 1) != 1 || c != (char)i)
      bad++;
  }
  pthread_join(th, NULL);
  memset(&it, 0, sizeof it);
  setitimer(ITIMER_REAL, &it, NULL);
  return bad;
}

static volatile int go;
static volatile long racers_bad;
static void *racer(void *arg) {
  (void)arg;
  while (!go) {
  }
  pid_t me = getpid();
  for (int i = 0; i < 3000; i++) {
    long r;
    __asm__ volatile("mov $39,%%eax\n syscall" : "=a"(r) : : "rcx", "r11", "memory");
    if (r != me)
      racers_bad++;
    if (syscall(SYS_getppid) != getppid())
      racers_bad++;
  }
  return NULL;
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  pid_t me = getpid();
  int bad = 0;
  for (int i = 0; i < ROUNDS; i++)
    bad += call_mov() != me;
  printf("hot getpid: %d wrong\n", bad);
  bad = 0;
  for (int i = 0; i < 50; i++) {
    bad += call_mov_middle(SYS_getpid) != me;
    bad += call_mov_middle(SYS_getppid) != getppid();
    bad += call_mov_middle(100000) != -ENOSYS;
  }
  printf("jumps into the middle: %d wrong\n", bad);

  int fd = open("/dev/zero", O_RDONLY);
  char buf[64];
  bad = 0;
  for (int i = 0; i < ROUNDS; i++) {
    memset(buf, 1, sizeof buf);
    bad += call_xor(fd, buf, sizeof buf) != sizeof buf || buf[0] || buf[63];
  }
  printf("hot read: %d wrong\n", bad);
  bad = 0;
  for (int i = 0; i < ROUNDS; i++)
    bad += call_xor(-1, buf, 1) != -77;
  for (int i = 0; i < 50; i++)
    bad += call_xor_middle(fd, buf, 5) != 5 || call_xor_middle(-1, buf, 5) != -77;
  printf("failing read, and its middle: %d wrong\n", bad);

  printf("registers: %s\n", check_registers() ? "changed" : "kept");
  printf("flags and red zone: %d wrong\n", check_flags());
  bad = check_signals();
  printf("signals: %d wrong, %s\n", bad, alarms >= 60 ? "all came" : "too few");
  printf("restarts: %d wrong\n", check_restart());

  pthread_t th[4];
  for (int i = 0; i < 4; i++)
    pthread_create(&th[i], NULL, racer, NULL);
  go = 1;
  for (int i = 0; i < 4; i++)
    pthread_join(th[i], NULL);
  printf("threads: %ld wrong\n", racers_bad);

  for (int i = 0; i < 3; i++) {
    pid_t p = fork();
    if (!p) {
      bad = 0;
      for (int k = 0; k < 100; k++)
        bad += call_mov() != getpid() || call_mov() == me || getppid() != me;
      _exit(bad ? 1 : 0);
    }
    int st;
    waitpid(p, &st, 0);
    printf("child %d: %d\n", i, st);
  }
  pid_t p = vfork();
  if (!p) {
    int wrong = 0;
    for (int k = 0; k < 100; k++)
      wrong += call_mov() == me;
    _exit(wrong ? 1 : 0);
  }
  int st;
  waitpid(p, &st, 0);
  printf("vfork child: %d, and the parent %s itself\n", st, call_mov() == me ? "is" : "is not");

  /* Its own text, made writable, is what the compiler wrote. */
  uintptr_t page = (uintptr_t)site_mov & ~4095ul;
  printf("mprotect: %d\n", mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC));
  static const unsigned char mov[7] = {0xb8, 39, 0, 0, 0, 0x0f, 5};
  printf("bytes: %s\n", memcmp(site_mov, mov, 7) ? "others" : "its own");
  site_mov[1] = SYS_getppid;
  __builtin___clear_cache(site_mov, site_mov + 7);
  printf("rewritten: %s\n", call_mov() == getppid() ? "getppid" : "not getppid");
  bad = 0;
  for (int i = 0; i < ROUNDS; i++)
    bad += call_mov() != getppid();
  printf("hot again: %d wrong\n", bad);
  return 0;
}
