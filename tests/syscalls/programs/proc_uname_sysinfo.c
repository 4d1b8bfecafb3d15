#include "t.h"

#include <sys/sysinfo.h>
#include <sys/utsname.h>
int main(void) {
  struct utsname u;
  R(uname(&u));
  printf("%s %s\n", u.sysname, u.machine);
  R(uname((void *)8));
  struct sysinfo s;
  R(sysinfo(&s));
  C(s.totalram > 0 && s.freeram <= s.totalram);
  C(s.procs > 0);
  N(s.mem_unit);
  C(s.uptime >= 0);
  R(sysinfo((void *)8));
  R(sethostname("changed", -1));
  R(sethostname("x", 65));
  R(sethostname((void *)8, 3));
  char h[70];
  C(gethostname(h, 70) == 0 && strcmp(h, u.nodename) == 0);
  C(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
  R(sysconf(_SC_PAGESIZE));
  R(syscall(9999));
  R(syscall(-1));
  N(getpagesize());
  unsigned cpu = 99, node = 99;
  R(getcpu(&cpu, &node));
  C(cpu < 64 && node == 0);
  char log[10];
  R(syscall(SYS_syslog, 100, log, 0));
  R(syscall(SYS_syslog, 2, 0, 0));
  R(syscall(SYS_syslog, 3, 0, 5));
  R(syscall(SYS_syslog, 3, log, -1));
  R(syscall(SYS_syslog, 8, log, -1));
  R(syscall(SYS_syslog, 8, log, 9));
  CHILD("nobody", setresuid(65534, 65534, 65534); R(syscall(SYS_syslog, 2, log, 0)));
  return 0;
}
