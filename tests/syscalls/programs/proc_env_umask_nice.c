#include "t.h"

int main(void) {
  setenv("NV_A", "1", 1);
  umask(027);
  nice(3);
  signal(SIGUSR1, SIG_IGN);
  chdir("/");
  CHILD("kept by exec", execl("/bin/sh", "sh", "-c", "echo $NV_A; umask; nice; pwd; grep SigIgn /proc/self/status", NULL));
  return 0;
}
