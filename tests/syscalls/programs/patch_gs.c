/* A program that uses gs for itself, before and after its system calls have become hot. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t mine[4] = {0x1122334455667788ull, 42, 43, 44};
static uint64_t theirs[4] = {7, 8, 9, 10};

static uint64_t gs(unsigned off) {
  uint64_t v;
  __asm__ volatile("mov %%gs:(%1),%0" : "=r"(v) : "r"((uint64_t)off) : "memory");
  return v;
}

static int hot(void) {
  int bad = 0;
  pid_t me = getpid();
  char c;
  for (int i = 0; i < 300; i++) {
    bad += syscall(SYS_getpid) != me;
    bad += read(-1, &c, 1) != -1;
    bad += getppid() <= 0;
  }
  return bad;
}

static void *thread(void *arg) {
  (void)arg;
  long r = syscall(SYS_arch_prctl, ARCH_SET_GS, theirs);
  int bad = hot();
  return (void *)(r == 0 && gs(8) == 8 && gs(24) == 10 ? (intptr_t)bad : -1);
}

static uint64_t got(void) {
  uint64_t v = 99;
  return syscall(SYS_arch_prctl, ARCH_GET_GS, &v) ? 98 : v;
}

int main(void) {
  printf("get: %lu %ld\n", got(), syscall(SYS_arch_prctl, ARCH_GET_GS, 8));
  printf("hot: %d wrong\n", hot());
  printf("set: %ld\n", syscall(SYS_arch_prctl, ARCH_SET_GS, mine));
  printf("gs: %llx %llu\n", (unsigned long long)gs(0), (unsigned long long)gs(8));
  printf("get: %d\n", got() == (uint64_t)mine);
  printf("hot: %d wrong\n", hot());
  printf("gs: %llx %llu\n", (unsigned long long)gs(0), (unsigned long long)gs(24));
  pthread_t th;
  void *r;
  pthread_create(&th, NULL, thread, NULL);
  pthread_join(th, &r);
  printf("thread: %ld\n", (long)(intptr_t)r);
  printf("gs: %llx\n", (unsigned long long)gs(0));
  fflush(stdout);
  int wrong = 0;
  for (int i = 0; i < 30; i++) { /* a child may run before the kernel has done all for it */
    pid_t p = fork();
    if (!p) {
      int bad = i ? 0 : hot();
      _exit(bad == 0 && got() == (uint64_t)mine && gs(8) == 42 ? 0 : 1);
    }
    int st;
    waitpid(p, &st, 0);
    wrong += st != 0;
  }
  printf("children: %d wrong\n", wrong);
  printf("bad address: %ld\n", syscall(SYS_arch_prctl, ARCH_SET_GS, 1ul << 63));
  printf("gs: %llx\n", (unsigned long long)gs(0));
  return 0;
}
