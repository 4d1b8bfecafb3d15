/* Hundreds of threads that end at once: by exit, by a signal from outside, in a storm of signals. */
#include "t.h"
static void h(int s) {}
static void *idle(void *p) {
  for (;;) pause();
}
static void *busy(void *p) {
  for (;;) p ? usleep(100) : (void)getppid();
}
static void make(int n, void *(*f)(void *)) {
  pthread_attr_t a;
  pthread_t t;
  pthread_attr_init(&a);
  pthread_attr_setstacksize(&a, 65536);
  for (long i = 0; i < n; i++)
    if (pthread_create(&t, &a, f, (void *)(i % 2))) _exit(9);
}
int main(void) {
  int st;
  for (int r = 0; r < 3; r++) {
    CHILD("exit", make(200, idle));
    CHILD("killed", make(200, idle); kill(getpid(), SIGKILL));
    fflush(stdout);
    int p[2];
    pipe(p);
    pid_t c = fork();
    if (!c) {
      signal(SIGUSR1, h);
      make(70, busy);
      write(p[1], "r", 1);
      for (;;) kill(getpid(), SIGUSR1);
    }
    char b;
    read(p[0], &b, 1);
    ms(20 + 7 * r);
    kill(c, SIGKILL);
    waitpid(c, &st, 0);
    status_("in a storm", st);
  }
  return 0;
}
