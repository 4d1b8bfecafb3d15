#include "t.h"

#include <linux/futex.h>
static long fx(void *a, int op, unsigned v, void *t, void *b, unsigned v3) { return syscall(SYS_futex, a, op, v, t, b, v3); }
static unsigned w, w2;
static void *waiter(void *x) {
  long r = fx(&w, FUTEX_WAIT | (long)x, 1, 0, 0, 0);
  return (void *)(r == -1 ? errno : r);
}
static void *bits(void *x) { return (void *)fx(&w, FUTEX_WAIT_BITSET, 1, 0, 0, (unsigned)(long)x); }
int main(void) {
  struct timespec t = {0, 10000000};
  w = 1;
  R(fx(&w, FUTEX_WAIT, 2, 0, 0, 0));
  R(fx(&w, FUTEX_WAIT, 1, &t, 0, 0));
  R(fx(&w, FUTEX_WAKE, 1, 0, 0, 0));
  t.tv_nsec = 1000000000;
  R(fx(&w, FUTEX_WAIT, 1, &t, 0, 0));
  t.tv_nsec = 0;
  t.tv_sec = -1;
  R(fx(&w, FUTEX_WAIT, 1, &t, 0, 0));
  R(fx((char *)&w + 1, FUTEX_WAIT, 1, 0, 0, 0));
  R(fx((void *)8, FUTEX_WAIT, 1, 0, 0, 0));
  R(fx(&w, FUTEX_WAIT, 1, (void *)8, 0, 0));
  R(fx((char *)&w + 1, FUTEX_WAKE, 1, 0, 0, 0));
  R(fx(&w, 99, 1, 0, 0, 0));
  R(fx(&w, FUTEX_WAIT_BITSET, 1, 0, 0, 0));
  R(fx(&w, FUTEX_WAKE_BITSET, 1, 0, 0, 0));
  R(fx(&w, FUTEX_LOCK_PI | FUTEX_CLOCK_REALTIME, 0, 0, 0, 0) < 1);
  pthread_t th[6];
  void *r;
  for (int i = 0; i < 3; i++) pthread_create(&th[i], 0, waiter, 0);
  ms(100);
  R(fx(&w, FUTEX_WAKE, 1, 0, 0, 0));
  R(fx(&w, FUTEX_WAKE, INT_MAX, 0, 0, 0));
  for (int i = 0; i < 3; i++) pthread_join(th[i], &r), N((long)r);
  pthread_create(&th[0], 0, bits, (void *)1);
  pthread_create(&th[1], 0, bits, (void *)6);
  ms(100);
  R(fx(&w, FUTEX_WAKE_BITSET, 10, 0, 0, 8));
  R(fx(&w, FUTEX_WAKE_BITSET, 10, 0, 0, 2));
  R(fx(&w, FUTEX_WAKE_BITSET, 10, 0, 0, 1));
  for (int i = 0; i < 2; i++) pthread_join(th[i], &r), N((long)r);
  for (int i = 0; i < 4; i++) pthread_create(&th[i], 0, waiter, (void *)FUTEX_PRIVATE_FLAG);
  ms(100);
  R(fx(&w, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &w2, 7));
  R(fx(&w, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)2, &w2, 1));
  R(fx(&w2, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0));
  R(fx(&w, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0));
  for (int i = 0; i < 4; i++) pthread_join(th[i], 0);
  w = 1;
  w2 = 5;
  for (int i = 0; i < 2; i++) pthread_create(&th[i], 0, waiter, 0);
  ms(100);
  R(fx(&w, FUTEX_WAKE_OP, 5, (void *)5, &w2, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)));
  N(w2);
  for (int i = 0; i < 2; i++) pthread_join(th[i], 0);
  R(fx(&w, FUTEX_WAKE_OP, 5, (void *)5, &w2, FUTEX_OP(15, 3, FUTEX_OP_CMP_EQ, 5)));
  return 0;
}
