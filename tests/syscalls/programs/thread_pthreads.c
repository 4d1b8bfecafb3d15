#include "t.h"

#include <semaphore.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t bar;
static pthread_key_t key;
static sem_t sem;
static int turn, sum, dtors;
static void dtor(void *p) { __sync_fetch_and_add(&dtors, 1); }
static void *run(void *x) {
  long id = (long)x;
  pthread_setspecific(key, x + 1);
  pthread_barrier_wait(&bar);
  for (int r = 0; r < 20; r++) {
    pthread_mutex_lock(&m);
    while (turn != id) pthread_cond_wait(&c, &m);
    sum = sum * 3 % 1000003 + id;
    turn = (turn + 1) % 4;
    pthread_cond_broadcast(&c);
    pthread_mutex_unlock(&m);
    pthread_rwlock_rdlock(&rw);
    pthread_rwlock_unlock(&rw);
  }
  sem_post(&sem);
  return x;
}
static void *sleeper(void *x) {
  sleep(100);
  return 0;
}
int main(void) {
  pthread_t t[4];
  void *r;
  pthread_key_create(&key, dtor);
  pthread_barrier_init(&bar, 0, 4);
  sem_init(&sem, 0, 0);
  for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, run, (void *)i);
  for (int i = 0; i < 4; i++) sem_wait(&sem);
  for (int i = 0; i < 4; i++) pthread_join(t[i], &r), N((long)r);
  N(sum);
  N(dtors);
  pthread_create(t, 0, sleeper, 0);
  ms(50);
  R(pthread_cancel(*t));
  pthread_join(*t, &r);
  C(r == PTHREAD_CANCELED);
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  pthread_mutex_lock(&m);
  C(pthread_cond_timedwait(&c, &m, &ts) == ETIMEDOUT);
  char n[20];
  R(pthread_setname_np(pthread_self(), "named"));
  R(pthread_getname_np(pthread_self(), n, 20));
  puts(n);
  int k = 0;
  for (int i = 0; i < 200; i++) {
    pthread_create(t, 0, (void *(*)(void *))pthread_exit, 0);
    k += pthread_join(*t, 0) == 0;
  }
  N(k);
  return 0;
}
