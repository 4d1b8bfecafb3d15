/* Scheduling calls: policies, attributes, priorities, affinity, nice limits, as root and as nobody. */
#include "t.h"
#include <sched.h>
#include <sys/syscall.h>
struct attr { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t prio; uint64_t rt, dl, per; };
static int sa(struct attr *a, unsigned f) { return syscall(SYS_sched_setattr, 0, a, f); }
static int ga(struct attr *a, unsigned s, unsigned f) { return syscall(SYS_sched_getattr, 0, a, s, f); }
int main(void) {
  struct sched_param p = {0};
  int pol[] = {SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, SCHED_RR, 77};
  for (int i = 0; i < 6; i++) {
    printf("policy %d\n", pol[i]);
    R(sched_get_priority_min(pol[i]));
    R(sched_get_priority_max(pol[i]));
  }
  for (int i = 0; i < 3; i++) {
    R(sched_setscheduler(0, pol[i], &p));
    R(sched_getscheduler(0));
  }
  p.sched_priority = 1;
  R(sched_setscheduler(0, SCHED_OTHER, &p));
  p.sched_priority = 0;
  R(sched_setscheduler(0, SCHED_FIFO, &p));
  p.sched_priority = 100;
  R(sched_setscheduler(0, SCHED_FIFO, &p));
  R(sched_setscheduler(-1, SCHED_OTHER, &p));
  p.sched_priority = 0;
  R(sched_setscheduler(1 << 22, SCHED_OTHER, &p));
  R(sched_setscheduler(0, SCHED_OTHER, (void *)8));
  R(sched_setscheduler(0, SCHED_OTHER, 0));
  R(sched_setparam(0, &p));
  R(sched_getparam(0, &p));
  R(sched_getparam(0, 0));
  R(sched_getparam(-1, &p));
  R(sched_getscheduler(-1));
  CHILD("nobody and real time", setresuid(65534, 65534, 65534); struct rlimit z = {0, 0}; setrlimit(RLIMIT_RTPRIO, &z); p.sched_priority = 1; R(sched_setscheduler(0, SCHED_FIFO, &p)); p.sched_priority = 0; R(sched_setscheduler(0, SCHED_BATCH, &p)); R(sched_setscheduler(0, SCHED_IDLE, &p)); R(sched_setscheduler(getppid(), SCHED_BATCH, &p)));
  struct attr a = {sizeof a};
  R(ga(&a, sizeof a, 0));
  printf("%u %u %d %u\n", a.size, a.policy, a.nice, a.prio);
  R(ga(&a, 10, 0));
  R(ga(&a, sizeof a, 1));
  R(ga(0, sizeof a, 0));
  a = (struct attr){sizeof a, SCHED_OTHER, 0, 5};
  R(sa(&a, 0));
  R(getpriority(PRIO_PROCESS, 0));
  a.policy = 99;
  R(sa(&a, 0));
  a = (struct attr){sizeof a, SCHED_OTHER, 1 << 20};
  R(sa(&a, 0));
  R(sa(&a, 1));
  R(sa(0, 0));
  a = (struct attr){sizeof a, SCHED_OTHER};
  R(sa(&a, 0));
  /* nice */
  R(setpriority(PRIO_PROCESS, 0, 100));
  R(getpriority(PRIO_PROCESS, 0));
  R(setpriority(PRIO_PROCESS, 0, -100));
  R(getpriority(PRIO_PROCESS, 0));
  R(setpriority(PRIO_PROCESS, 0, 0));
  R(setpriority(9, 0, 0));
  R(getpriority(9, 0));
  R(getpriority(PRIO_PROCESS, 1 << 22));
  R(setpriority(PRIO_PGRP, 0, 1));
  R(getpriority(PRIO_PGRP, 0));
  setpriority(PRIO_PGRP, 0, 0);
  R(nice(3));
  CHILD("inherited", R(getpriority(PRIO_PROCESS, 0)));
  CHILD("nobody and nice", setresuid(65534, 65534, 65534); struct rlimit z = {0, 0}; setrlimit(RLIMIT_NICE, &z); R(setpriority(PRIO_PROCESS, 0, 2)); R(setpriority(PRIO_PROCESS, 0, 5)); R(nice(-1)); R(setpriority(PRIO_PROCESS, getppid(), 10)); R(setpriority(PRIO_USER, 65534, 7)));
  /* affinity */
  cpu_set_t s, o;
  R(sched_getaffinity(0, sizeof o, &o));
  R(syscall(SYS_sched_getaffinity, 0, 1, &o));
  R(syscall(SYS_sched_getaffinity, 0, 7, &o));
  R(sched_getaffinity(1 << 22, sizeof o, &o));
  int first = 0;
  while (!CPU_ISSET(first, &o)) first++;
  CPU_ZERO(&s);
  R(sched_setaffinity(0, sizeof s, &s));
  CPU_SET(first, &s);
  R(sched_setaffinity(0, sizeof s, &s));
  cpu_set_t g;
  sched_getaffinity(0, sizeof g, &g);
  N(CPU_COUNT(&g));
  CHILD("inherited", sched_getaffinity(0, sizeof g, &g); N(CPU_COUNT(&g)));
  R(sched_setaffinity(0, sizeof s, (void *)8));
  CHILD("not mine", setresuid(65534, 65534, 65534); R(sched_setaffinity(getppid(), sizeof s, &s)));
  R(sched_yield());
  struct timespec t;
  R(sched_rr_get_interval(-1, &t));
  R(sched_rr_get_interval(0, (void *)8));
  /* reset on fork, deadlines */
  struct sched_param p1 = {1}, p0 = {0}, got;
  R(sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p1));
  R(sched_getscheduler(0));
  CHILD("reset", R(sched_getscheduler(0)); sched_getparam(0, &got); N(got.sched_priority));
  R(sched_setparam(0, &p1));
  R(sched_getscheduler(0));
  R(sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &p0));
  setpriority(PRIO_PROCESS, 0, -5);
  CHILD("nice", R(getpriority(PRIO_PROCESS, 0)); R(sched_getscheduler(0)));
  setpriority(PRIO_PROCESS, 0, 0);
  CHILD("flag stays", setresuid(65534, 65534, 65534); R(sched_setscheduler(0, SCHED_BATCH, &p0)));
  struct attr { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t prio; uint64_t run, dead, period; } at = {48}, back;
  R(syscall(SYS_sched_getattr, 0, &back, 48, 0));
  N(back.flags & 1);
  at.flags = 0;
  R(syscall(SYS_sched_setattr, 0, &at, 0));
  R(sched_getscheduler(0));
  R(sched_setscheduler(0, 6, &p0));
  at.policy = 6, at.run = 100, at.dead = 3000000, at.period = 3000000;
  R(syscall(SYS_sched_setattr, 0, &at, 0));
  at.run = 4000000;
  R(syscall(SYS_sched_setattr, 0, &at, 0));
  at.run = 1000000, at.period = 2000000;
  R(syscall(SYS_sched_setattr, 0, &at, 0));
  at.period = 0;
  CHILD("not root", setresuid(65534, 65534, 65534); R(syscall(SYS_sched_setattr, 0, &at, 0)));
  /* classes of I/O: none, real-time, best effort, idle */
  R(syscall(SYS_ioprio_set, 1, 0, 1));
  R(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 7));
  R(syscall(SYS_ioprio_get, 1, 0) == (2 << 13 | 7));
  R(syscall(SYS_ioprio_set, 1, 0, 3 << 13 | 7));
  R(syscall(SYS_ioprio_set, 1, 0, 4 << 13));
  R(syscall(SYS_ioprio_set, 4, 0, 2 << 13));
  R(syscall(SYS_ioprio_set, 1, 1 << 22, 2 << 13));
  R(syscall(SYS_ioprio_set, 1, 0, 0));
  CHILD("nobody and I/O", setresuid(65534, 65534, 65534); R(syscall(SYS_ioprio_set, 1, 0, 1 << 13)); R(syscall(SYS_ioprio_set, 1, getppid(), 2 << 13)); R(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 3)));
  return 0;
}
