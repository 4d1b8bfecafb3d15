#include "t.h"

static pthread_mutex_t *m;
static void *dies(void *x) {
  pthread_mutex_lock(m);
  return 0;
}
static void *locks(void *x) {
  pthread_mutex_lock(m);
  int *p = x;
  (*p)++;
  ms(20);
  pthread_mutex_unlock(m);
  return 0;
}
int main(void) {
  m = mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(m, &a);
  pthread_t t[5];
  pthread_create(t, 0, dies, 0);
  pthread_join(*t, 0);
  C(pthread_mutex_lock(m) == EOWNERDEAD);
  R(pthread_mutex_consistent(m));
  R(pthread_mutex_unlock(m));
  CHILD("holder killed", pthread_mutex_lock(m); kill(getpid(), 9));
  C(pthread_mutex_lock(m) == EOWNERDEAD);
  R(pthread_mutex_unlock(m));
  C(pthread_mutex_lock(m) == ENOTRECOVERABLE);
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
  pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(m, &a);
  R(pthread_mutex_lock(m));
  C(pthread_mutex_lock(m) == EDEADLK);
  int n = 0;
  for (int i = 0; i < 5; i++) pthread_create(&t[i], 0, locks, &n);
  ms(100);
  N(n);
  R(pthread_mutex_unlock(m));
  for (int i = 0; i < 5; i++) pthread_join(t[i], 0);
  N(n);
  C(pthread_mutex_unlock(m) == EPERM);
  R(pthread_mutex_trylock(m));
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return 0;
}
