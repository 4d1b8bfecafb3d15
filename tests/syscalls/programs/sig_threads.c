#include "t.h"

static atomic_int who;
static __thread int id;
static void h(int s) { who = id; }
static void *run(void *x) {
  id = (int)(long)x;
  sigset_t s;
  sigemptyset(&s);
  if (id != 2) sigaddset(&s, SIGUSR1), pthread_sigmask(SIG_BLOCK, &s, 0);
  for (int i = 0; i < 200 && who != 99; i++) ms(10);
  return 0;
}
int main(void) {
  signal(SIGUSR1, h);
  signal(SIGUSR2, h);
  sigset_t s;
  sigemptyset(&s);
  sigaddset(&s, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &s, 0);
  pthread_t t[3];
  for (long i = 0; i < 3; i++) pthread_create(&t[i], 0, run, (void *)(i + 1));
  ms(100);
  kill(getpid(), SIGUSR1);
  ms(100);
  N(who);
  pthread_kill(t[0], SIGUSR2);
  ms(100);
  N(who);
  pthread_kill(t[2], SIGUSR1);
  who = 99;
  for (int i = 0; i < 3; i++) pthread_join(t[i], 0);
  N(who);
  CHILD("thread exits the process", pthread_create(&t[0], 0, (void *(*)(void *))exit, (void *)9); pause());
  CHILD("fault in a thread", pthread_create(&t[0], 0, (void *(*)(void *))abort, 0); pause());
  CHILD("last thread", pthread_create(&t[0], 0, run, (void *)2); who = 99; pthread_exit(0));
  return 0;
}
