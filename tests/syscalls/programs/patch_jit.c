/* Code made at run time, as translators make it, with system calls that become hot and are rewritten: in memory that is writable,
 * in memory that takes turns, by way of a second mapping, through the file that it is mapped from, and under a running thread. */
#include "t.h"

static const unsigned char code[] = {0xb8, SYS_getpid, 0, 0, 0, 0x0f, 5, 0xc3}; /* mov $nr,%eax; syscall; ret */
enum { AT = 3, NR = AT + 1, ROUNDS = 100 };                                     /* the number is one aligned word */

static pid_t me, parent;
typedef long (*call)(void);

static long run(char *p, long want) {
  long wrong = 0;
  for (int i = 0; i < ROUNDS; i++) wrong += ((call)(p + AT))() != want;
  return wrong;
}

static void writable(void) {
  char *p = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(p + AT, code, sizeof code);
  N(run(p, me));
  p[NR] = SYS_getppid;
  N(run(p, parent));
  munmap(p, 4096);
}

static void in_turns(void) {
  char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(p + AT, code, sizeof code);
  for (int i = 0; i < 6; i++) {
    mprotect(p, 4096, PROT_READ | PROT_WRITE);
    p[NR] = i % 2 ? SYS_getppid : SYS_getpid;
    mprotect(p, 4096, PROT_READ | PROT_EXEC);
    N(run(p, i % 2 ? parent : me));
  }
  munmap(p, 4096);
}

static void mapped_twice(int flags) {
  int fd = memfd_create("code", 0);
  ftruncate(fd, 4096);
  char *w = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  memcpy(w + AT, code, sizeof code);
  char *p = mmap(0, 4096, PROT_READ | PROT_EXEC, flags, fd, 0);
  for (int i = 0; i < 4; i++) {
    w[NR] = i % 2 ? SYS_getppid : SYS_getpid;
    N(run(p, i % 2 ? parent : me));
  }
  munmap(p, 4096), munmap(w, 4096);
  close(fd);
}

static void by_file(int flags) {
  int fd = open("code", O_RDWR | O_CREAT | O_TRUNC, 0755);
  ftruncate(fd, 8192);
  pwrite(fd, code, sizeof code, AT);
  char *p = mmap(0, 4096, PROT_READ | PROT_EXEC, flags, fd, 0);
  for (int i = 0; i < 4; i++) {
    unsigned char nr = i % 2 ? SYS_getppid : SYS_getpid;
    pwrite(fd, &nr, 1, NR);
    N(run(p, i % 2 ? parent : me));
  }
  munmap(p, 4096);
  close(fd);
  unlink("code");
}

static volatile int stop;
static long odd;
static void *racer(void *p) {
  while (!stop) {
    long r = ((call)((char *)p + AT))();
    odd += r != me && r != parent;
  }
  return 0;
}

static void under_a_thread(void) {
  char *p = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(p + AT, code, sizeof code);
  pthread_t t;
  pthread_create(&t, 0, racer, p);
  for (int i = 0; i < 2000; i++) {
    *(volatile uint32_t *)(p + NR) = i % 2 ? SYS_getppid : SYS_getpid;
    long r = ((call)(p + AT))();
    odd += r != (i % 2 ? parent : me);
  }
  stop = 1;
  pthread_join(t, 0);
  N(odd);
}

int main(void) {
  me = getpid(), parent = getppid();
  writable();
  in_turns();
  mapped_twice(MAP_SHARED);
  mapped_twice(MAP_PRIVATE);
  by_file(MAP_SHARED);
  by_file(MAP_PRIVATE);
  under_a_thread();
  return 0;
}
