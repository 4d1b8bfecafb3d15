/* prctl, arch_prctl, personality, rseq, membarrier, getcpu: the matrix of what is taken and what is refused. */
#include "t.h"
#include <asm/prctl.h>
#include <linux/membarrier.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
int main(void) {
  char n[20] = "";
  int v = -1;
  R(prctl(PR_SET_NAME, "abcdefghijklmnopqrstuvwxyz"));
  R(prctl(PR_GET_NAME, n));
  puts(n);
  R(prctl(PR_SET_NAME, 8));
  R(prctl(PR_GET_NAME, 8));
  R(prctl(PR_SET_PDEATHSIG, SIGUSR1));
  R(prctl(PR_GET_PDEATHSIG, &v));
  N(v);
  R(prctl(PR_SET_PDEATHSIG, 65));
  R(prctl(PR_GET_PDEATHSIG, 8));
  CHILD("pdeathsig after fork", prctl(PR_GET_PDEATHSIG, &v); N(v));
  R(prctl(PR_SET_PDEATHSIG, 0));
  R(prctl(PR_GET_DUMPABLE));
  R(prctl(PR_SET_DUMPABLE, 0));
  R(prctl(PR_GET_DUMPABLE));
  R(prctl(PR_SET_DUMPABLE, 3));
  R(prctl(PR_SET_DUMPABLE, 1));
  R(prctl(PR_GET_TIMERSLACK));
  R(prctl(PR_SET_TIMERSLACK, 12345));
  R(prctl(PR_GET_TIMERSLACK));
  R(prctl(PR_SET_TIMERSLACK, 0));
  R(prctl(PR_GET_TIMERSLACK));
  R(prctl(PR_SET_CHILD_SUBREAPER, 1));
  R(prctl(PR_GET_CHILD_SUBREAPER, &v));
  N(v);
  CHILD("subreaper isn't inherited", prctl(PR_GET_CHILD_SUBREAPER, &v); N(v));
  CHILD("an orphan comes to its subreaper", prctl(PR_SET_CHILD_SUBREAPER, 1); pid_t m = fork(); if (!m) { pid_t g = fork(); if (!g) { ms(50); _exit(7); } _exit(0); } waitpid(m, 0, 0); int st; C(wait(&st) > 0); status_("orphan", st));
  R(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
  R(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
  R(prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0));
  R(prctl(PR_CAPBSET_READ, 0));
  R(prctl(PR_CAPBSET_READ, 64));
  R(prctl(PR_CAPBSET_DROP, 64));
  R(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
  R(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
  R(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
  R(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
  R(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
  R(prctl(PR_GET_TSC, &v));
  N(v);
  R(prctl(PR_SET_TSC, 7));
  R(prctl(PR_GET_TID_ADDRESS, 8));
  R(prctl(PR_GET_ENDIAN, &v));
  R(prctl(PR_GET_FPEMU, &v));
  R(prctl(PR_GET_UNALIGN, &v));
  R(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
  R(prctl(PR_MCE_KILL, 9, 0, 0, 0));
  R(prctl(PR_TASK_PERF_EVENTS_DISABLE));
  R(prctl(PR_GET_TIMING));
  R(prctl(PR_SET_TIMING, 0));
  R(prctl(PR_SET_TIMING, 1));
  R(prctl(99999));
  R(prctl(-1));
  R(prctl(0));
  /* arch_prctl */
  unsigned long fs = 0, gs = 1;
  R(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
  C(fs == (unsigned long)pthread_self());
  R(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x123000));
  R(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
  R(syscall(SYS_arch_prctl, ARCH_SET_FS, -1l));
  R(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x800000000000));
  R(syscall(SYS_arch_prctl, ARCH_GET_FS, 8));
  R(syscall(SYS_arch_prctl, 0x9999, 0));
  R(syscall(SYS_arch_prctl, ARCH_GET_CPUID, 0));
  /* personality */
  R(personality(0xffffffff));
  R(personality(ADDR_NO_RANDOMIZE));
  R(personality(0xffffffff));
  CHILD("inherited", R(personality(0xffffffff)));
  R(personality(0));
  /* membarrier, rseq, getcpu */
  C(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) > 0);
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 1, 0));
  R(syscall(SYS_membarrier, 1 << 20, 0, 0));
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
  static char area[64] __attribute__((aligned(32)));
  R(syscall(SYS_rseq, area, 32, 1, 0x53053053));
  R(syscall(SYS_rseq, area, 32, 2, 0x53053053));
  unsigned cpu = 999, node = 999;
  R(syscall(SYS_getcpu, &cpu, &node, 0));
  C(cpu < 999 && node < 999);
  R(syscall(SYS_getcpu, 0, 0, 0));
  R(syscall(SYS_getcpu, 8, 0, 0));
  return 0;
}
