/*
 * Host calls Python has no name for: namespaces, mounts, capabilities, seccomp, used while a
 * process is being set up, by the launcher, the gofer and the Sentry; and a few of the gofer's.
 */
#define _GNU_SOURCE
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static int ret(long r) { return r < 0 ? -errno : (int)r; }

int nv_unshare(unsigned flags) { return ret(unshare((int)flags)); }
int nv_setns(int fd, int type) { return ret(setns(fd, type)); }

int nv_mount(const char *src, const char *dst, const char *type, uint64_t flags, const char *data) {
  return ret(mount(src, dst, type, flags, data));
}

int nv_umount(const char *dst, int flags) { return ret(umount2(dst, flags)); }
int nv_pivot_root(const char *a, const char *b) { return ret(syscall(SYS_pivot_root, a, b)); }

int nv_prctl(int op, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return ret(prctl(op, a, b, c, d));
}

int nv_set_caps(uint64_t keep) {
  struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2];
  for (int cap = 0; cap < 64; cap++)
    if (!(keep >> cap & 1) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
      prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
  for (int i = 0; i < 2; i++) {
    d[i].effective = d[i].permitted = (uint32_t)(keep >> (32 * i));
    d[i].inheritable = 0;
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  return ret(syscall(SYS_capset, &h, d));
}

int nv_set_ids(unsigned uid, unsigned gid) {
  if (setgroups(0, NULL) && errno != EPERM)
    return -errno;
  if (setresgid(gid, gid, gid))
    return -errno;
  if (setresuid(uid, uid, uid))
    return -errno;
  return 0;
}

int nv_set_filter(const void *prog, unsigned count) {
  struct sock_fprog p = {(unsigned short)count, (struct sock_filter *)(uintptr_t)prog};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    return -errno;
  return ret(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p));
}

int nv_renameat2(int from, const char *name, int to, const char *new_name, unsigned flags) {
  return ret(syscall(SYS_renameat2, from, name, to, new_name, flags));
}

int nv_chown(int fd, unsigned uid, unsigned gid) {
  return ret(fchownat(fd, "", uid, gid, AT_EMPTY_PATH));
}

int nv_syncfs(int fd) { return ret(syncfs(fd)); }

int nv_statfs(int fd, uint64_t out[8]) {
  struct statfs f;
  if (fstatfs(fd, &f) < 0)
    return -errno;
  const uint64_t values[] = {(uint32_t)f.f_type, (uint64_t)f.f_bsize,  f.f_blocks,
                             f.f_bfree,          f.f_bavail,           f.f_files,
                             f.f_ffree,          (uint64_t)f.f_namelen};
  memcpy(out, values, sizeof values);
  return 0;
}

static int forget(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  (void)data;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *h = &info->dlpi_phdr[i];
    if (h->p_type != PT_LOAD || h->p_flags & PF_W)
      continue;
    uintptr_t from = (info->dlpi_addr + h->p_vaddr) & ~4095ul;
    uintptr_t to = (info->dlpi_addr + h->p_vaddr + h->p_filesz) & ~4095ul;
    if (to > from)
      madvise((void *)from, to - from, MADV_DONTNEED);
  }
  return 0;
}

void nv_forget_text(void) { dl_iterate_phdr(forget, NULL); }
