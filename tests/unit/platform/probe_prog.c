/* Exercises what a platform must get right; each part prints one line. */
#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

extern char **environ;
static volatile long count;
static void *adder(void *p) {
  for (int i = 0; i < 1000; i++)
    __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
  getppid();
  return p;
}

static volatile int handled;
static void on_usr(int s, siginfo_t *si, void *uc) {
  handled += si->si_pid == getpid();
  __asm__ volatile("vpxor %%ymm7,%%ymm7,%%ymm7" ::: "xmm7");
}

static void *fault_at;
static int fault_code, fault_trap;
static void on_segv(int s, siginfo_t *si, void *uc) {
  ucontext_t *c = uc;
  fault_at = si->si_addr;
  fault_code = si->si_code;
  fault_trap = (int)c->uc_mcontext.gregs[REG_TRAPNO];
  c->uc_mcontext.gregs[REG_RIP] += 3; /* past the load below */
}

static volatile int stop;
static void on_term(int s) { stop = 1; }
static void *terminator(void *p) {
  usleep(100000);
  kill(getpid(), SIGTERM);
  return p;
}
static void *forever(void *p) {
  for (;;)
    __asm__ volatile("");
  return p;
}
static void *execs(void *p) {
  execl("/bin/echo", "echo", "exec from a thread", NULL);
  return p;
}

int main(int argc, char **argv) {
  pthread_t t[8];
  int st;
  pid_t pid;
  setbuf(stdout, NULL);
  for (int i = 0; i < 8; i++)
    pthread_create(&t[i], NULL, adder, NULL);
  for (int i = 0; i < 8; i++)
    pthread_join(t[i], NULL);
  printf("threads %ld\n", count);

  if (!(pid = fork()))
    _exit(7);
  waitpid(pid, &st, 0);
  printf("fork %d\n", WEXITSTATUS(st));
  char *a[] = {"true", NULL};
  posix_spawn(&pid, "/bin/true", NULL, NULL, a, environ);
  waitpid(pid, &st, 0);
  printf("spawn %d\n", st);

  struct sigaction sa = {.sa_sigaction = on_usr, .sa_flags = SA_SIGINFO};
  sigaction(SIGUSR1, &sa, NULL);
  uint64_t in[4] = {1, 2, 3, 4}, out[4] = {0};
  long me = getpid(), ret;
  __asm__ volatile("vmovdqu %2,%%ymm7\n syscall\n vmovdqu %%ymm7,%1"
                   : "=a"(ret), "=m"(out)
                   : "m"(in), "0"(62l), "D"(me), "S"((long)SIGUSR1)
                   : "rcx", "r11", "xmm7", "memory");
  printf("signal %d, avx kept %d, result %ld\n", handled, !memcmp(in, out, 32), ret);

  sa.sa_sigaction = on_segv;
  sigaction(SIGSEGV, &sa, NULL);
  __asm__ volatile("movq (%0),%%rax" ::"r"(0x1238l) : "rax");
  printf("fault %p code %d trap %d\n", fault_at, fault_code, fault_trap);

  signal(SIGTERM, on_term);
  pthread_create(&t[0], NULL, terminator, NULL);
  while (!stop)
    __asm__ volatile("");
  pthread_join(t[0], NULL);
  printf("kicked\n");

  if (!(pid = fork())) {
    for (int i = 0; i < 3; i++)
      pthread_create(&t[i], NULL, forever, NULL);
    usleep(20000);
    _exit(9);
  }
  waitpid(pid, &st, 0);
  printf("exit_group %d\n", WEXITSTATUS(st));
  printf("efault %ld\n", (long)read(-1, NULL, 1) + (long)pipe((int *)8));
  pthread_create(&t[0], NULL, execs, NULL);
  for (;;)
    pause();
}
