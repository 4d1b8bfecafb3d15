#include "t.h"

static volatile int n, v, p;
static void h(int s) { s == SIGALRM ? n++ : s == SIGVTALRM ? v++ : p++; }
int main(void) {
  signal(SIGALRM, h);
  signal(SIGVTALRM, h);
  signal(SIGPROF, h);
  struct itimerval t = {{0, 10000}, {0, 10000}}, o;
  R(setitimer(ITIMER_REAL, &t, 0));
  while (n < 5) pause();
  R(getitimer(ITIMER_REAL, &o));
  C(o.it_value.tv_usec <= 10000);
  N(o.it_interval.tv_usec);
  memset(&t, 0, sizeof t);
  R(setitimer(ITIMER_REAL, &t, &o));
  R(getitimer(ITIMER_REAL, &o));
  N(o.it_value.tv_usec);
  R(setitimer(7, &t, 0));
  t.it_value.tv_usec = 1000000;
  R(setitimer(ITIMER_REAL, &t, 0));
  R(getitimer(ITIMER_REAL, (void *)8));
  R(setitimer(ITIMER_REAL, (void *)8, 0));
  R(alarm(10));
  R(alarm(20));
  R(alarm(0));
  t.it_value.tv_usec = 20000;
  R(setitimer(ITIMER_VIRTUAL, &t, 0));
  while (!v) {
  }
  R(setitimer(ITIMER_PROF, &t, 0));
  while (!p) {
  }
  alarm(3);
  CHILD("not inherited", R(alarm(0)));
  R(alarm(0));
  signal(SIGALRM, SIG_DFL);
  CHILD("kept by exec", alarm(1); execl("/bin/sleep", "sleep", "5", NULL));
  return 0;
}
