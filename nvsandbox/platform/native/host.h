/* Setting a host process up. All return 0 or more, or -errno. */
#ifndef NV_HOST_H
#define NV_HOST_H

#include <stdint.h>

int nv_unshare(unsigned flags);
int nv_setns(int fd, int type);
int nv_mount(const char *src, const char *dst, const char *type, uint64_t flags, const char *data);
int nv_umount(const char *dst, int flags);
int nv_pivot_root(const char *a, const char *b);
int nv_prctl(int op, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* Drops every capability not in keep, from the bounding set too. */
int nv_set_caps(uint64_t keep);
int nv_set_ids(unsigned uid, unsigned gid);
/* prog: an array of struct sock_filter. */
int nv_set_filter(const void *prog, unsigned count);
/* One entry of a directory and its attributes (statx(2)); times in nanoseconds. */
struct nv_entry {
  uint64_t dev, ino, rdev, size, blocks;
  int64_t atime, mtime, ctime;
  uint32_t mode, nlink, uid, gid;
  uint16_t name_len, target_len; /* of its name, and of a symbolic link's target, in the text */
  uint32_t unused;
};
/*
 * The next entries of directory fd but . and .., as many as fit into the records and, a name and
 * a link's target after the other, into the text, of which used[0] bytes. How many; used[1]: these
 * are the last.
 */
int nv_list(int fd, struct nv_entry *records, unsigned max, uint8_t *text, unsigned size,
            unsigned *used);
/* openat2(2), always O_CLOEXEC. */
int nv_openat2(int at, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
/* Opens directory `name` of at, not by a link, and describes it. */
int nv_open_dir(int at, const char *name, struct nv_entry *e);
/* Opens regular file `name` of at ("": at itself), and nothing else, by way of proc_fd
 * (/proc/self/fd), and describes it. */
int nv_open_file(int at, const char *name, int flags, int proc_fd, struct nv_entry *e);
/* Lets go of the pages of all programs' and libraries' text and constants that this process has
 * touched so far, starting up; those that it needs come back from the page cache. */
void nv_forget_text(void);

#endif
