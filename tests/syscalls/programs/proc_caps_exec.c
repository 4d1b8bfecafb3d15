/* Capabilities across exec: roots and others, inheritable, ambient, bounding, securebits, set-user-id, no_new_privs. */
#include "t.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
static const char *self;
static struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
static void show(void) {
  struct __user_cap_data_struct d[2];
  syscall(SYS_capget, &h, d);
  printf("  uid %d euid %d: chown e%d p%d i%d a%d, kill e%d p%d i%d a%d, secure %lx, nnp %d\n", getuid(), geteuid(), d[0].effective & 1, d[0].permitted & 1,
         d[0].inheritable & 1, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), d[0].effective >> CAP_KILL & 1,
         d[0].permitted >> CAP_KILL & 1, d[0].inheritable >> CAP_KILL & 1, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0),
         (long)prctl(PR_GET_SECUREBITS), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  fflush(stdout);
}
static void set(unsigned e, unsigned p, unsigned i) { /* bits of chown (0) and kill (5) */
  struct __user_cap_data_struct d[2] = {{e, p, i}};
  R(syscall(SYS_capset, &h, d));
}
#define BOTH (1 << CAP_CHOWN | 1 << CAP_KILL)
#define GO execl(self, "show", NULL)
int main(int c, char **v) {
  if (!strcmp(v[0], "show")) return show(), 0;
  self = realpath("/proc/self/exe", 0);
  CHILD("root keeps all it may have", show(); GO);
  CHILD("root, permitted lost", set(0, 0, 0); show(); GO);
  CHILD("root, bounding set cut", R(prctl(PR_CAPBSET_DROP, CAP_KILL)); show(); GO);
  CHILD("nobody", setresuid(65534, 65534, 65534); show(); GO);
  CHILD("nobody, inheritable", set(BOTH | 1 << CAP_SETUID, BOTH | 1 << CAP_SETUID, BOTH); prctl(PR_SET_KEEPCAPS, 1); setresuid(65534, 65534, 65534); show(); GO);
  CHILD("nobody, ambient", set(BOTH | 1 << CAP_SETUID, BOTH | 1 << CAP_SETUID, BOTH); prctl(PR_SET_KEEPCAPS, 1); setresuid(65534, 65534, 65534);
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)); show(); GO);
  CHILD("ambient follows", set(BOTH, BOTH, BOTH); R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)); set(BOTH, BOTH, 1 << CAP_CHOWN); show());
  CHILD("ambient refuses", set(BOTH, BOTH, 1); R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)); R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 63, 0, 0)); R(prctl(PR_CAP_AMBIENT, 9, 0, 0, 0));
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 1, 0)); R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)));
  CHILD("noroot", R(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT)); show(); GO);
  CHILD("noroot, inheritable", set(BOTH | 1 << CAP_SETPCAP, BOTH | 1 << CAP_SETPCAP, BOTH); R(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT)); R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)); show(); GO);
  CHILD("locked bits", R(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED)); R(prctl(PR_SET_SECUREBITS, 0)); R(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT)); R(prctl(PR_SET_SECUREBITS, 0x100));
        set(0, 0, 0); R(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED)));
  CHILD("keep caps lock", R(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS_LOCKED)); R(prctl(PR_SET_KEEPCAPS, 1)));
  CHILD("no ambient raise", R(prctl(PR_SET_SECUREBITS, SECBIT_NO_CAP_AMBIENT_RAISE)); set(BOTH | 1 << 8, BOTH | 1 << 8, BOTH); R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)));
  CHILD("capset rules", set(1, 0, 0); set(1, 1, 0); set(1, 1 | 1 << CAP_KILL, 0); set(1, 1, 1 << CAP_KILL); show());
  CHILD("capset errors", struct __user_cap_header_struct b = {0x12345678, 0}; struct __user_cap_data_struct d[2]; R(syscall(SYS_capget, &b, d)); printf("%x\n", b.version);
        R(syscall(SYS_capget, &b, 0)); b.pid = 1 << 29; R(syscall(SYS_capget, &b, d)); b.pid = -1; R(syscall(SYS_capget, &b, d)); b.pid = getppid(); syscall(SYS_capget, &h, d); R(syscall(SYS_capset, &b, d));
        R(syscall(SYS_capget, 8, d)); R(syscall(SYS_capget, &h, 8)); R(syscall(SYS_capset, &h, 8)));
  /* set-user-id to nobody and back to root */
  char cmd[4200];
  sprintf(cmd, "cp %s su && chown 65534 su && chmod 4755 su && cp %s sr && chmod 6755 sr && chmod 755 .", self, self);
  system(cmd);
  CHILD("set-user-id nobody", execl("su", "show", NULL));
  CHILD("set-user-id root", setresuid(1000, 1000, 1000); execl("sr", "show", NULL));
  CHILD("set-user-id root, noroot", prctl(PR_SET_SECUREBITS, SECBIT_NOROOT); setresuid(1000, 1000, 1000); execl("sr", "show", NULL));
  CHILD("set-user-id root, no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); setresuid(1000, 1000, 1000); execl("sr", "show", NULL));
  CHILD("ambient and set-user-id", set(BOTH | 1 << CAP_SETUID, BOTH | 1 << CAP_SETUID, BOTH); prctl(PR_SET_KEEPCAPS, 1); setresuid(1000, 1000, 1000);
        R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0)); execl("su", "show", NULL));
  return 0;
}
