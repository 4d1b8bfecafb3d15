/* Setting a host process up, and what else Python has no name for. All return 0 or more, or -errno.
 */
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
int nv_renameat2(int from, const char *name, int to, const char *new_name, unsigned flags);
/* Of what fd is, a link too. */
int nv_chown(int fd, unsigned uid, unsigned gid);
int nv_syncfs(int fd);
/* out: type, bsize, blocks, bfree, bavail, files, ffree, namelen. */
int nv_statfs(int fd, uint64_t out[8]);
/* Lets go of the pages of all programs' and libraries' text and constants that this process has
 * touched so far, starting up; those that it needs come back from the page cache. */
void nv_forget_text(void);

#endif
