#include "t.h"

#include <linux/capability.h>
#include <sys/prctl.h>
static struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
static struct __user_cap_data_struct d[2];
static long get(void) { return syscall(SYS_capget, &h, d); }
static long set(void) { return syscall(SYS_capset, &h, d); }
static int eff(int c) { return get(), d[c / 32].effective >> (c % 32) & 1; }
int main(void) {
  R(get());
  N(eff(CAP_CHOWN));
  N(eff(CAP_SETUID));
  CHILD("drop one", get(); d[0].effective &= ~(1u << CAP_CHOWN); R(set()); put("f", ""); R(chown("f", 5, 5)); get();
        d[0].effective |= 1u << CAP_CHOWN; R(set()); R(chown("f", 5, 5)));
  CHILD("drop permitted", get(); d[0].effective &= ~(1u << CAP_CHOWN); d[0].permitted &= ~(1u << CAP_CHOWN); R(set()); get();
        d[0].permitted |= 1u << CAP_CHOWN; R(set()));
  CHILD("setuid", R(setuid(1000)); N(eff(CAP_CHOWN)); get(); N(d[0].permitted));
  CHILD("keepcaps", R(prctl(PR_SET_KEEPCAPS, 1)); R(setuid(1000)); get(); C(d[0].permitted != 0); N(d[0].effective));
  CHILD("seteuid", R(seteuid(1000)); N(eff(CAP_CHOWN)); R(seteuid(0)); N(eff(CAP_CHOWN)));
  CHILD("bounding", R(prctl(PR_CAPBSET_READ, CAP_KILL)); R(prctl(PR_CAPBSET_DROP, CAP_KILL)); R(prctl(PR_CAPBSET_READ, CAP_KILL));
        R(prctl(PR_CAPBSET_READ, 99)));
  CHILD("ambient", R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)); get(); d[0].inheritable |= 1 << CAP_KILL; R(set());
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0)); R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0)); R(prctl(PR_CAP_AMBIENT, 77, 0, 0, 0)));
  h.version = 0;
  R(syscall(SYS_capget, &h, 0));
  C(h.version == _LINUX_CAPABILITY_VERSION_3);
  h.version = 0;
  R(syscall(SYS_capget, &h, d));
  h.version = _LINUX_CAPABILITY_VERSION_3, h.pid = 999999;
  R(syscall(SYS_capget, &h, d));
  h.pid = 1;
  R(syscall(SYS_capset, &h, d));
  R(syscall(SYS_capget, 8, d));
  return 0;
}
