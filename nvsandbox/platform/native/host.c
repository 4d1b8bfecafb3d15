/*
 * Host calls Python has no name for: namespaces, mounts, capabilities, seccomp. Used while a
 * process is being set up, by the launcher, the gofer and the Sentry; and the gofer's listings, for
 * their speed.
 */
#define _GNU_SOURCE
#include "host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
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

static int64_t nanoseconds(const struct statx_timestamp *t) {
  return t->tv_sec * 1000000000 + t->tv_nsec;
}

/* Entry `name` of fd, or with AT_EMPTY_PATH fd itself. 0 when it is gone since. */
static int describe(int fd, const char *name, int flags, struct nv_entry *e) {
  struct statx st;
  if (statx(fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | flags, STATX_BASIC_STATS, &st) < 0)
    return 0;
  e->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
  e->rdev = makedev(st.stx_rdev_major, st.stx_rdev_minor);
  e->ino = st.stx_ino;
  e->size = st.stx_size;
  e->blocks = st.stx_blocks;
  e->atime = nanoseconds(&st.stx_atime);
  e->mtime = nanoseconds(&st.stx_mtime);
  e->ctime = nanoseconds(&st.stx_ctime);
  e->mode = st.stx_mode;
  e->nlink = st.stx_nlink;
  e->uid = st.stx_uid;
  e->gid = st.stx_gid;
  e->unused = 0;
  return 1;
}

int nv_openat2(int at, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  return ret(syscall(SYS_openat2, at, path, &how, sizeof how));
}

static int open_beneath(int at, const char *name, uint64_t flags, uint64_t resolve) {
  return nv_openat2(at, name, flags | O_NOFOLLOW, 0,
                    resolve | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH);
}

int nv_open_dir(int at, const char *name, struct nv_entry *e) {
  int fd = open_beneath(at, name, O_RDONLY | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
  if (fd >= 0 && !describe(fd, "", AT_EMPTY_PATH, e)) {
    close(fd);
    return -ESTALE;
  }
  return fd;
}

int nv_open_file(int at, const char *name, int flags, int proc_fd, struct nv_entry *e) {
  char own[16];
  int path = *name ? open_beneath(at, name, O_PATH, 0) : ret(fcntl(at, F_DUPFD_CLOEXEC, 0));
  if (path < 0)
    return path;
  int fd;
  if (!describe(path, "", AT_EMPTY_PATH, e))
    fd = -ESTALE;
  else if (!S_ISREG(e->mode)) /* opening a device or a pipe would already do something */
    fd = -EINVAL;
  else {
    snprintf(own, sizeof own, "%d", path);
    fd = ret(openat(proc_fd, own, flags | O_CLOEXEC | O_NOCTTY));
  }
  close(path);
  return fd;
}

int nv_list(int fd, struct nv_entry *records, unsigned max, uint8_t *text, unsigned size,
            unsigned *used) {
  enum { LINK_MAX = 4096 };
  unsigned n = 0, at = 0;
  used[1] = 0;
  int64_t before = -1; /* where the directory stands after the last entry that was taken */
  char buf[32768] __attribute__((aligned(8)));
  for (;;) {
    long got = syscall(SYS_getdents64, fd, buf, sizeof buf);
    if (got < 0)
      return -errno;
    if (got == 0) {
      used[1] = 1;
      break;
    }
    for (long pos = 0; pos < got;) {
      const struct dirent64 *d = (const struct dirent64 *)(buf + pos);
      size_t len = strlen(d->d_name);
      struct nv_entry *e = &records[n];
      if (n == max || at + len + LINK_MAX > size) { /* the rest is read again by the next call */
        if (before >= 0 && lseek(fd, before, SEEK_SET) < 0)
          return -errno;
        goto full;
      }
      before = d->d_off;
      pos += d->d_reclen;
      if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") || !describe(fd, d->d_name, 0, e))
        continue;
      e->name_len = (uint16_t)len;
      e->target_len = 0;
      memcpy(text + at, d->d_name, len);
      at += (unsigned)len;
      if (S_ISLNK(e->mode)) {
        ssize_t r = readlinkat(fd, d->d_name, (char *)text + at, LINK_MAX);
        if (r < 0) {
          at -= (unsigned)len;
          continue;
        }
        e->target_len = (uint16_t)r;
        at += (unsigned)r;
      }
      n++;
    }
  }
full:
  used[0] = at;
  return (int)n;
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
