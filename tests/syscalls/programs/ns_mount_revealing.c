/* proc and sysfs mounted in a user namespace of one's own show no more than what a more privileged one has left visible. */
#include "t.h"
#include <sys/mount.h>

/* A child in new namespaces, as an ordinary user, with a mask on /proc or /sys before that. */
#define INNER(name, before, ...) \
  CHILD( \
      name, R(unshare(CLONE_NEWNS)); mount(0, "/", 0, MS_REC | MS_PRIVATE, 0); mkdir("d", 0755); \
      mount("none", "/proc", "proc", 0, 0); mount("none", "/sys", "sysfs", 0, 0); before; \
      setresgid(1000, 1000, 1000); setresuid(1000, 1000, 1000); \
      R(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET)); CHILD("inner", __VA_ARGS__))

static int flags_of(const char *where) {
  struct {
    long v[15];
  } s;
  return syscall(SYS_statfs, where, &s) ? -1 : s.v[10] & 0xf; /* f_flags */
}

int main(void) {
  mkdir("d", 0755);
  INNER("nothing hidden", , {
    R(mount("x", "d", "proc", 0, 0));
    R(access("d/self/stat", F_OK));
    R(umount("d"));
    R(mount("x", "d", "sysfs", 0, 0));
    R(umount("d"));
    R(mount("x", "d", "proc", MS_NOATIME, 0));
    R(mount("x", "d", "proc", MS_RDONLY, 0));
  });
  INNER("a directory of proc", R(mount("x", "/proc/sys", "tmpfs", 0, 0)), {
    R(mount("x", "d", "proc", 0, 0));
    R(mount("x", "d", "proc", MS_RDONLY, 0));
    R(mount("x", "d", "sysfs", 0, 0));
  });
  INNER("a file of proc", R(mount("/dev/null", "/proc/version", 0, MS_BIND, 0)), {
    R(mount("x", "d", "proc", 0, 0));
    R(umount("/proc/version"));
    R(umount2("/proc", MNT_DETACH));
    R(syscall(SYS_fsopen, "proc", 0) < 0);
    int fs = syscall(SYS_fsopen, "proc", 0);
    R(syscall(SYS_fsconfig, fs, 6, 0, 0, 0));
    R(syscall(SYS_fsmount, fs, 0, 0));
  });
  INNER("made read-only in proc",
        R(mount("/proc/sys", "/proc/sys", 0, MS_BIND, 0));
        R(mount(0, "/proc/sys", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0)), {
          R(mount("x", "d", "proc", 0, 0));
        });
  INNER("proc read-only", R(mount(0, "/proc", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0)), {
    R(mount("x", "d", "proc", 0, 0));
    R(mount("x", "d", "proc", MS_RDONLY, 0));
    R(mount(0, "d", 0, MS_BIND | MS_REMOUNT, 0));
    N(flags_of("d") & 1);
  });
  INNER("covered and uncovered by oneself", , {
    R(mount("x", "/proc/sys", "tmpfs", 0, 0));
    R(mount("x", "d", "proc", 0, 0));
  });
  INNER("a part of proc only",
        mkdir("p", 0755); R(mount("/proc/sys", "p", 0, MS_BIND, 0)); R(umount2("/proc", MNT_DETACH)), {
          R(mount("x", "d", "proc", 0, 0));
        });
  INNER("sysfs", R(mount("x", "/sys/kernel", "tmpfs", 0, 0)), {
    R(mount("x", "d", "sysfs", 0, 0));
    R(mount("x", "d", "proc", 0, 0));
  });
  INNER("a mount point of sysfs", R(mount("x", "/sys/fs/cgroup", "tmpfs", 0, 0)), {
    R(mount("x", "d", "sysfs", 0, 0));
  });
  CHILD("in the first user namespace", R(unshare(CLONE_NEWNS)); mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
        R(mount("x", "/proc/sys", "tmpfs", 0, 0)); R(mount("x", "d", "proc", 0, 0)););
  return 0;
}
