#include "t.h"

int main(void) {
  cpu_set_t s;
  C(sched_getaffinity(0, sizeof s, &s) == 0 && CPU_COUNT(&s) >= 1);
  R(sched_getaffinity(0, 1, &s));
  R(sched_getaffinity(999999, sizeof s, &s));
  CPU_ZERO(&s);
  R(sched_setaffinity(0, sizeof s, &s));
  CPU_SET(0, &s);
  R(sched_setaffinity(0, sizeof s, &s));
  CPU_ZERO(&s);
  sched_getaffinity(0, sizeof s, &s);
  N(CPU_COUNT(&s));
  R(sched_yield());
  R(sched_getscheduler(0));
  R(sched_getscheduler(-1));
  R(sched_getscheduler(999999));
  struct sched_param p = {7};
  R(sched_getparam(0, &p));
  N(p.sched_priority);
  p.sched_priority = 0;
  R(sched_setscheduler(0, SCHED_BATCH, &p));
  R(sched_getscheduler(0));
  R(sched_setscheduler(0, SCHED_OTHER, &p));
  p.sched_priority = 5;
  R(sched_setscheduler(0, SCHED_OTHER, &p));
  R(sched_setscheduler(0, 77, &p));
  R(sched_get_priority_max(SCHED_FIFO));
  R(sched_get_priority_min(SCHED_RR));
  R(sched_get_priority_max(SCHED_OTHER));
  R(sched_get_priority_max(99));
  R(getpriority(PRIO_PROCESS, 0));
  R(setpriority(PRIO_PROCESS, 0, 5));
  R(getpriority(PRIO_PROCESS, 0));
  R(setpriority(PRIO_PROCESS, 0, 100));
  R(getpriority(PRIO_PROCESS, 0));
  R(nice(-1));
  R(getpriority(7, 0));
  R(getpriority(PRIO_PROCESS, 999999));
  CHILD("not root", setuid(1000); R(nice(-5)); R(nice(1) >= 0); R(setpriority(PRIO_PROCESS, 0, 0)));
  R(syscall(SYS_ioprio_get, 1, 0) >= 0);
  R(syscall(SYS_ioprio_set, 1, 0, 5 << 13));
  R(syscall(SYS_ioprio_set, 1, 0, (2 << 13) | 3));
  R(syscall(SYS_ioprio_get, 1, 0));
  return 0;
}
