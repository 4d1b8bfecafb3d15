/* A thread that is interrupted at every possible instruction of a hot call by its neighbour's
 * signals, and one that single-steps itself through it: no signal is lost, none shows an address
 * that is not the program's. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

extern char hot_start[], hot_end[];
void hot_loop(volatile int *stop, volatile long *count);
__asm__(".text\n.globl hot_loop, hot_start, hot_end\n"
        "hot_loop:\n hot_start:\n"
        "  push %rbx\n push %rbp\n mov %rdi,%rbx\n mov %rsi,%rbp\n"
        "1: mov $39,%eax\n syscall\n"
        "   mov $102,%eax\n syscall\n"
        "   mov $110,%eax\n syscall\n"
        "   incq (%rbp)\n"
        "   cmpl $0,(%rbx)\n je 1b\n"
        "  pop %rbp\n pop %rbx\n ret\n hot_end:\n");

static volatile int stop;
static volatile long count;
static volatile sig_atomic_t got, strange;
static void on_usr(int s, siginfo_t *si, void *ucv) {
  ucontext_t *uc = ucv;
  (void)s, (void)si;
  uintptr_t ip = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
  if (ip < (uintptr_t)hot_start || ip >= (uintptr_t)hot_end)
    strange++;
  got++;
}

static void *worker(void *arg) {
  (void)arg;
  hot_loop(&stop, &count);
  return NULL;
}

static volatile sig_atomic_t steps, odd;
static volatile uintptr_t last;
static void on_trap(int s, siginfo_t *si, void *ucv) {
  ucontext_t *uc = ucv;
  (void)s, (void)si;
  uintptr_t ip = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
  if (ip >= (uintptr_t)hot_start && ip < (uintptr_t)hot_end)
    steps++;
  if (steps > 40)
    stop = 1;
  last = ip;
}

int main(void) {
  struct sigaction sa;
  memset(&sa, 0, sizeof sa);
  sa.sa_sigaction = on_usr;
  sa.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &sa, NULL);
  pthread_t th;
  pthread_create(&th, NULL, worker, NULL);
  while (count < 2000)
    usleep(100);
  for (int i = 1; i <= 3000; i++) {
    pthread_kill(th, SIGUSR1);
    time_t began = time(NULL);
    while (got < i && time(NULL) - began < 10) {
    }
    if (got < i) {
      printf("signal %d lost\n", i);
      return 1;
    }
  }
  stop = 1;
  pthread_join(th, NULL);
  printf("signals: %d, %d at strange places\n", (int)got, (int)strange);

  stop = 0;
  sa.sa_sigaction = on_trap;
  sigaction(SIGTRAP, &sa, NULL);
  __asm__ volatile("pushfq\n orl $0x100,(%%rsp)\n popfq" ::: "memory", "cc");
  hot_loop(&stop, &count);
  __asm__ volatile("pushfq\n andl $~0x100,(%%rsp)\n popfq" ::: "memory", "cc");
  printf("stepped: %s\n", steps > 40 ? "yes" : "no");
  return 0;
}
