/* FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI: a condition variable over a PI mutex, and their
 * errors. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint32_t cond, lock, other, waiting;

#define FX(op, a, v, t, b, w)                                                                      \
  ({                                                                                               \
    long r_ = syscall(SYS_futex, a, op, v, t, b, w);                                               \
    r_ < 0 ? -errno : r_;                                                                          \
  })

static uint32_t tid(void) { return (uint32_t)syscall(SYS_gettid); }

static void take(void) {
  uint32_t free = 0;
  if (!__atomic_compare_exchange_n(&lock, &free, tid(), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    FX(FUTEX_LOCK_PI, &lock, 0, NULL, NULL, 0);
}

static void give(void) {
  uint32_t mine = tid();
  if (!__atomic_compare_exchange_n(&lock, &mine, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    FX(FUTEX_UNLOCK_PI, &lock, 0, NULL, NULL, 0);
}

static int owners, total;

static void *waiter(void *arg) {
  take();
  uint32_t seen = cond;
  __atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
  give();
  long r = FX(FUTEX_WAIT_REQUEUE_PI, &cond, seen, NULL, &lock, 0);
  if (r == 0) {
    owners += (lock & FUTEX_TID_MASK) == tid();
    total++;
    give();
  }
  return (void *)r;
}

static void settle(unsigned n) {
  while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) < n)
    usleep(1000);
  usleep(100000);
}

int main(void) {
  pthread_t t[4];
  void *r[4];
  struct timespec past = {1, 0};
  printf("same word %ld\n", FX(FUTEX_WAIT_REQUEUE_PI, &cond, 0, NULL, &cond, 0));
  printf("other value %ld\n", FX(FUTEX_WAIT_REQUEUE_PI, &cond, 5, NULL, &lock, 0));
  printf("late %ld\n", FX(FUTEX_WAIT_REQUEUE_PI, &cond, 0, &past, &lock, 0));
  printf("wake 2 %ld\n", FX(FUTEX_CMP_REQUEUE_PI, &cond, 2, (void *)1, &lock, 0));
  printf("value %ld\n", FX(FUTEX_CMP_REQUEUE_PI, &cond, 1, (void *)1, &lock, 7));
  printf("nobody %ld\n", FX(FUTEX_CMP_REQUEUE_PI, &cond, 1, (void *)1, &lock, 0));

  for (int held = 0; held < 2; held++) {
    waiting = 0;
    for (int i = 0; i < 4; i++)
      pthread_create(&t[i], NULL, waiter, NULL);
    settle(4);
    printf("wake %ld, requeue %ld\n", FX(FUTEX_WAKE, &cond, 1, NULL, NULL, 0),
           FX(FUTEX_REQUEUE, &cond, 1, (void *)1, &other, 0));
    printf("wrong lock %ld\n", FX(FUTEX_CMP_REQUEUE_PI, &cond, 1, (void *)9, &other, cond));
    if (held)
      take();
    cond++;
    printf("moved %ld\n", FX(FUTEX_CMP_REQUEUE_PI, &cond, 1, (void *)9, &lock, cond));
    if (held) {
      usleep(50000);
      printf("before %d, waiters %d\n", total, (lock & FUTEX_WAITERS) != 0);
      give();
    }
    for (int i = 0; i < 4; i++)
      pthread_join(t[i], &r[i]);
    printf("results %ld %ld %ld %ld, owners %d of %d, lock %x\n", (long)r[0], (long)r[1],
           (long)r[2], (long)r[3], owners, total, lock & FUTEX_TID_MASK);
    total = owners = 0;
    lock = 0;
  }
  return 0;
}
