/* setuid, setreuid, setresuid, setfsuid, setgroups as root and as nobody; what happens to capabilities. */
#include "t.h"
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <grp.h>
static void ids(void) {
  uid_t r, e, s;
  gid_t a, b, c;
  getresuid(&r, &e, &s), getresgid(&a, &b, &c);
  printf("uid %d %d %d fs %d, gid %d %d %d fs %d\n", r, e, s, setfsuid(-1), a, b, c, setfsgid(-1));
}
static void caps(void) {
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2];
  syscall(SYS_capget, &h, d);
  printf("setuid: effective %d permitted %d inheritable %d, ambient %d\n", d[0].effective >> CAP_SETUID & 1, d[0].permitted >> CAP_SETUID & 1,
         d[0].inheritable >> CAP_SETUID & 1, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_SETUID, 0, 0));
}
int main(void) {
  setgroups(0, 0);
  ids();
  CHILD("setuid", R(setuid(1000)); ids(); caps(); R(setuid(0)); R(setuid(1000)));
  CHILD("seteuid", R(seteuid(1000)); ids(); caps(); R(seteuid(0)); ids(); caps());
  CHILD("setreuid", R(setreuid(1000, 1001)); ids(); caps(); R(setreuid(1001, 1000)); ids(); R(setreuid(0, 0)); R(setreuid(-1, 1001)); ids());
  CHILD("setresuid", R(setresuid(1, 2, 3)); ids(); R(setresuid(2, 3, 1)); ids(); R(setresuid(4, -1, -1)); R(setresuid(-1, -1, 2)); ids(); R(setuid(3)); ids());
  CHILD("setfsuid", N(setfsuid(1000)); ids(); caps(); N(setfsuid(0)); setresuid(1, 2, 3); N(setfsuid(1)); ids(); N(setfsuid(9)); ids());
  CHILD("setgid", R(setgid(1000)); ids(); R(setgid(0)); R(setregid(5, 6)); R(setresgid(1, 2, 3)); ids());
  CHILD("setgid, unprivileged", setresgid(1, 2, 3); setresuid(7, 7, 7); R(setgid(9)); R(setgid(3)); ids(); R(setregid(2, 1)); R(setresgid(3, 3, 3)); ids(); R(setresgid(1, -1, -1)));
  CHILD("setgroups", gid_t g[3] = {30, 10, 20}; R(setgroups(3, g)); gid_t o[5]; R(getgroups(5, o)); printf("%d %d %d\n", o[0], o[1], o[2]); R(getgroups(0, 0)); R(getgroups(2, o));
        R(setgroups(-1, g)); R(setgroups(65537, g)); R(setgroups(1, (void *)8)); R(getgroups(-1, o)); R(getgroups(5, (void *)8)); setuid(1); R(setgroups(0, 0)));
  CHILD("-1 is no id", R(setuid(-1)); R(setgid(-1)); R(setresuid(-1, -1, -1)); ids());
  CHILD("keepcaps", R(prctl(PR_SET_KEEPCAPS, 1)); setresuid(1000, 1000, 1000); caps(); N(prctl(PR_GET_KEEPCAPS)); R(prctl(PR_SET_KEEPCAPS, 2)));
  CHILD("no setuid fixup", R(prctl(PR_SET_SECUREBITS, 4)); setresuid(1000, 1000, 1000); caps(); R(setresuid(0, 0, 0)));
  CHILD("dumpable", N(prctl(PR_GET_DUMPABLE)); setresuid(1000, 1000, 1000); N(prctl(PR_GET_DUMPABLE)); R(prctl(PR_SET_DUMPABLE, 1)); N(prctl(PR_GET_DUMPABLE)); R(prctl(PR_SET_DUMPABLE, 2)));
  CHILD("pdeathsig goes", prctl(PR_SET_PDEATHSIG, 9); setresuid(1000, 1000, 1000); int s; prctl(PR_GET_PDEATHSIG, &s); N(s));
  return 0;
}
