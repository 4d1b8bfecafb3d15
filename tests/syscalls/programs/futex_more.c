/* futex: bitsets, requeue, WAKE_OP, waitv, PI with time-outs and requeue, robust PI, errors. */
#include "t.h"
#include <linux/futex.h>
#include <sys/syscall.h>
static long fx(void *a, int op, int v, void *t, void *b, int v3) { return syscall(SYS_futex, a, op, v, t, b, v3); }
static int w1, w2, w3;
static volatile int woken;
static void *bits(void *p) {
  long r = fx(&w1, FUTEX_WAIT_BITSET_PRIVATE, 0, 0, 0, (int)(long)p);
  __sync_fetch_and_add(&woken, (int)(long)p);
  return (void *)r;
}
static void *plain(void *p) {
  long r = fx(&w1, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
  __sync_fetch_and_add(&woken, 1);
  return (void *)r;
}
static int pi;
static void *owner(void *p) {
  fx(&pi, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0);
  ms(120);
  return (void *)fx(&pi, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0);
}
int main(void) {
  pthread_t t[8];
  for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, bits, (void *)(1l << i));
  ms(60);
  R(fx(&w1, FUTEX_WAKE_BITSET_PRIVATE, 10, 0, 0, 6));
  ms(20);
  N(woken);
  R(fx(&w1, FUTEX_WAKE_BITSET_PRIVATE, 10, 0, 0, 6));
  R(fx(&w1, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
  ms(20);
  C(woken == 7 || woken == 14);
  R(fx(&w1, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0));
  for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
  R(fx(&w1, FUTEX_WAKE_BITSET_PRIVATE, 1, 0, 0, 0));
  R(fx(&w1, FUTEX_WAIT_BITSET_PRIVATE, 0, 0, 0, 0));
  /* requeue */
  woken = 0;
  for (int i = 0; i < 5; i++) pthread_create(&t[i], 0, plain, 0);
  ms(60);
  R(fx(&w1, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &w2, 1));
  R(fx(&w1, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &w2, 0));
  ms(20);
  N(woken);
  R(fx(&w2, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0));
  ms(20);
  N(woken);
  R(fx(&w1, FUTEX_REQUEUE_PRIVATE, 0, (void *)10, &w2, 0));
  R(fx(&w2, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0));
  for (int i = 0; i < 5; i++) pthread_join(t[i], 0);
  R(fx(&w1, FUTEX_CMP_REQUEUE_PRIVATE, -1, (void *)1, &w2, 0));
  R(fx(&w1, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)-1l, &w2, 0));
  /* WAKE_OP */
  w2 = 5;
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &w2, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)));
  N(w2);
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &w2, FUTEX_OP(FUTEX_OP_OR, 16, FUTEX_OP_CMP_GT, 0)));
  N(w2);
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &w2, FUTEX_OP(FUTEX_OP_ANDN, 8, FUTEX_OP_CMP_LT, 0)));
  N(w2);
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &w2, FUTEX_OP(FUTEX_OP_XOR, 1, FUTEX_OP_CMP_LE, 0)));
  N(w2);
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &w2, FUTEX_OP(FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT, 4, FUTEX_OP_CMP_GE, 0)));
  N(w2);
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, (void *)8, 0));
  R(fx(&w1, FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &w2, 7 << 28));
  /* waitv */
  struct futex_waitv v[3] = {{0, (uintptr_t)&w1, FUTEX_32 | FUTEX_PRIVATE_FLAG}, {0, (uintptr_t)&w3, FUTEX_32 | FUTEX_PRIVATE_FLAG}};
  struct timespec d;
  clock_gettime(CLOCK_MONOTONIC, &d);
  R(syscall(SYS_futex_waitv, v, 2, 0, &d, CLOCK_MONOTONIC));
  v[1].val = 9;
  R(syscall(SYS_futex_waitv, v, 2, 0, 0, 0));
  v[1].val = 0;
  R(syscall(SYS_futex_waitv, v, 0, 0, 0, 0));
  R(syscall(SYS_futex_waitv, v, 129, 0, 0, 0));
  R(syscall(SYS_futex_waitv, v, 2, 1, 0, 0));
  R(syscall(SYS_futex_waitv, 8, 2, 0, 0, 0));
  R(syscall(SYS_futex_waitv, v, 2, 0, &d, 99));
  v[1].flags = 0x40;
  R(syscall(SYS_futex_waitv, v, 2, 0, 0, 0));
  v[1].flags = FUTEX_32 | FUTEX_PRIVATE_FLAG;
  fflush(stdout);
  int *sh = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  v[1].uaddr = (uintptr_t)sh, v[1].flags = FUTEX_32;
  if (!fork()) {
    ms(60);
    *sh = 1;
    fx(sh, FUTEX_WAKE, 1, 0, 0, 0);
    _exit(0);
  }
  R(syscall(SYS_futex_waitv, v, 2, 0, 0, 0));
  wait(0);
  /* PI */
  pthread_create(&t[0], 0, owner, 0);
  ms(30);
  C(pi != 0);
  R(fx(&pi, FUTEX_TRYLOCK_PI_PRIVATE, 0, 0, 0, 0));
  clock_gettime(CLOCK_REALTIME, &d);
  R(fx(&pi, FUTEX_LOCK_PI_PRIVATE, 0, &d, 0, 0));
  R(fx(&pi, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0));
  R(fx(&pi, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0));
  C((pi & FUTEX_TID_MASK) == syscall(SYS_gettid));
  R(fx(&pi, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0));
  R(fx(&pi, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0));
  N(pi);
  pthread_join(t[0], 0);
  pi = 12345678;
  R(fx(&pi, FUTEX_LOCK_PI_PRIVATE, 0, 0, 0, 0));
  R(fx(&pi, FUTEX_UNLOCK_PI_PRIVATE, 0, 0, 0, 0));
  /* errors */
  R(fx((char *)&w1 + 1, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0));
  R(fx((void *)8, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0));
  R(fx((void *)8, FUTEX_WAKE, 1, 0, 0, 0));
  R(fx(&w1, FUTEX_WAIT_PRIVATE, 77, 0, 0, 0));
  struct timespec bad = {0, 1000000000};
  R(fx(&w1, FUTEX_WAIT_PRIVATE, w1, &bad, 0, 0));
  R(fx(&w1, FUTEX_WAIT_PRIVATE, w1, (void *)8, 0, 0));
  R(fx(&w1, 77, 0, 0, 0, 0));
  R(fx(&w1, FUTEX_FD, 0, 0, 0, 0));
  R(fx(&w1, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, 0, 0, 0));
  /* PI and robust mutexes of the library, shared memory seen as private and the other way round */
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a), pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT), pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED), pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_t *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  N(pthread_mutex_init(m, &a));
  CHILD("dies with it", N(pthread_mutex_lock(m)));
  N(pthread_mutex_lock(m));
  N(pthread_mutex_consistent(m));
  N(pthread_mutex_unlock(m));
  fflush(stdout);
  pid_t c = fork();
  if (!c) pthread_mutex_lock(m), ms(80), pthread_mutex_unlock(m), _exit(0);
  ms(30);
  N(pthread_mutex_trylock(m) == EBUSY);
  N(pthread_mutex_lock(m));
  N(pthread_mutex_unlock(m));
  waitpid(c, 0, 0);
  pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_PRIVATE);
  N(pthread_mutex_init(m, &a)); /* private, in shared memory */
  fflush(stdout);
  c = fork();
  if (!c) pthread_mutex_lock(m), _exit(0);
  waitpid(c, 0, 0);
  N(pthread_mutex_lock(m));
  return 0;
}
