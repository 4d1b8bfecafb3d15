#include "t.h"

int main(void) {
  setenv("NV_A", "1", 1);
  umask(027);
  char base[20];
  snprintf(base, sizeof base, "%d", getpriority(PRIO_PROCESS, 0));
  nice(3);
  signal(SIGUSR1, SIG_IGN);
  chdir("/");
  CHILD("kept by exec", execl("/bin/sh", "sh", "-c", "echo $NV_A; umask; echo $(($(nice) - $1)); pwd; "
        "echo $((0x$(sed -n 's/^SigIgn:[^0-9]*//p' /proc/self/status) >> 9 & 1))", "sh", base, NULL));
  return 0;
}
