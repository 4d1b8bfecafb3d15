/* The gofer's file trees: objects opened beneath a directory, listings, and walks, which are here
 * for their speed: per entry a walk costs little more than statx(2). */
#define _GNU_SOURCE
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int ret(long r) { return r < 0 ? -errno : (int)r; }

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
  e->name_len = e->target_len = 0;
  e->text = 0;
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

/* Opens directory `name` of at, not by a link, and describes it. */
static int open_dir(int at, const char *name, struct nv_entry *e) {
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

/* Where entries go to; each array's length, and how much of it is used. */
struct sink {
  struct nv_entry *records;
  uint8_t *text;
  unsigned max, size, n, at;
  int brief;
  uint64_t dev; /* brief: what is not looked at is taken to be on the directory's own */
};

enum { TARGET_MAX = 4096 };

static int full(const struct sink *s, size_t len) {
  return s->n == s->max || s->at + len + TARGET_MAX > s->size;
}

/* A kind that needs no look: no directory, and none of which nothing is known. */
static int plain(unsigned char type) {
  return type == DT_REG || type == DT_LNK || type == DT_CHR || type == DT_BLK || type == DT_FIFO ||
         type == DT_SOCK;
}

/* Takes in an entry of directory fd; nothing when it is gone since. */
static void take(struct sink *s, int fd, const struct dirent64 *d, size_t len) {
  struct nv_entry *e = &s->records[s->n];
  const char *name = d->d_name;
  if (s->brief && plain(d->d_type)) {
    *e = (struct nv_entry){.dev = s->dev,
                           .ino = d->d_ino,
                           .mode = DTTOIF((uint32_t)d->d_type),
                           .name_len = (uint16_t)len,
                           .target_len = NV_UNSEEN,
                           .text = s->at};
    memcpy(s->text + s->at, name, len);
    s->at += (unsigned)len;
    s->n++;
    return;
  }
  if (!describe(fd, name, 0, e))
    return;
  e->name_len = (uint16_t)len;
  e->target_len = 0;
  e->text = s->at;
  memcpy(s->text + s->at, name, len);
  if (S_ISLNK(e->mode)) {
    ssize_t r = readlinkat(fd, name, (char *)s->text + s->at + len, TARGET_MAX);
    if (r < 0)
      return;
    e->target_len = (uint16_t)r;
  }
  s->at += (unsigned)len + e->target_len;
  s->n++;
}

/* Takes in what follows in directory fd, which stands at *pos; so it does afterwards. 1: that was
 * all. */
static int fill(struct sink *s, int fd, int64_t *pos) {
  char buf[32768] __attribute__((aligned(8)));
  while (!full(s, NAME_MAX)) {
    long got = syscall(SYS_getdents64, fd, buf, sizeof buf);
    if (got <= 0)
      return got < 0 ? -errno : 1;
    for (long i = 0; i < got;) {
      const struct dirent64 *d = (const struct dirent64 *)(buf + i);
      size_t len = strlen(d->d_name);
      if (full(s, len)) /* the rest is read again by the next call */
        return lseek(fd, *pos, SEEK_SET) < 0 ? -errno : 0;
      *pos = d->d_off;
      i += d->d_reclen;
      if (strcmp(d->d_name, ".") && strcmp(d->d_name, ".."))
        take(s, fd, d, len);
    }
  }
  return 0;
}

int nv_list(int fd, struct nv_entry *records, unsigned max, uint8_t *text, unsigned size,
            unsigned *used) {
  struct sink s = {records, text, max, size, 0, 0, 0, 0};
  int64_t pos = lseek(fd, 0, SEEK_CUR);
  int r = pos < 0 ? -errno : fill(&s, fd, &pos);
  used[0] = s.at;
  used[1] = r == 1;
  return r < 0 ? r : (int)s.n;
}

/* The walk under way. */
enum { TODO_MAX = 4096, MOST_MAX = 1024 };
static struct {
  int at, deep, brief, proc_fd;
  unsigned most, files, entries, fds; /* what is still to come at most; files: of each directory */
  unsigned index, size;               /* directories so far; those of the next batch */
  int err, listing;                   /* listing: the directory begun last has more entries */
  int64_t pos;
  unsigned dir_files, ntodo, own_todo; /* own_todo: from here on they are of that directory */
  struct nv_dir dir;
  char name[NAME_MAX + 1];
  int fd[MOST_MAX];
  struct {
    uint32_t above;
    char name[NAME_MAX + 1];
  } todo[TODO_MAX]; /* the next one last */
} W;

static void turn_round(unsigned from) {
  for (unsigned a = from, b = W.ntodo; a + 1 < b; a++) {
    __typeof__(W.todo[0]) t = W.todo[--b];
    W.todo[b] = W.todo[a];
    W.todo[a] = t;
  }
}

/* What doesn't fit is not gone to. */
static void add(uint32_t above, const void *name, size_t len) {
  if (W.ntodo == TODO_MAX || len > NAME_MAX)
    return;
  W.todo[W.ntodo].above = above;
  memcpy(W.todo[W.ntodo].name, name, len);
  W.todo[W.ntodo++].name[len] = 0;
}

void nv_walk_begin(int at, unsigned most, int deep, int brief, unsigned files, unsigned entries,
                   unsigned fds, int proc_fd) {
  W.at = at;
  W.most = most < MOST_MAX ? most : MOST_MAX;
  W.deep = deep;
  W.brief = brief;
  W.files = files;
  W.entries = entries;
  W.fds = fds;
  W.proc_fd = proc_fd;
  W.index = W.ntodo = 0;
  W.size = 1;
  W.err = W.listing = 0;
}

int nv_walk_add(const char *name) {
  add(0, name, strlen(name));
  return 0;
}

/* Opens the next directory. 1: done, 0: there is none left. */
static int next_dir(void) {
  while (W.ntodo && W.index < W.most && W.entries && (W.fds || !W.files)) {
    W.ntodo--;
    W.dir.above = W.todo[W.ntodo].above;
    memcpy(W.name, W.todo[W.ntodo].name, sizeof W.name);
    int fd = open_dir(W.dir.above ? W.fd[W.dir.above - 1] : W.at, W.name, &W.dir.own);
    if (fd >= 0) {
      W.fd[W.index] = fd;
      W.dir.index = W.index++;
      W.dir_files = W.files;
      W.own_todo = W.ntodo;
      W.pos = 0;
      return 1;
    }
    if (!W.index)
      return fd;
  }
  return 0;
}

/* Opens file `at` of the batch if it still is the one that was listed. */
static void open_listed(struct nv_batch *b, unsigned at) {
  const struct nv_entry *e = &b->entry[at];
  struct nv_entry found;
  char name[NAME_MAX + 1];
  memcpy(name, b->text + e->text, e->name_len);
  name[e->name_len] = 0;
  int fd = nv_open_file(W.fd[W.dir.index], name, O_RDONLY, W.proc_fd, &found);
  if (fd < 0)
    return;
  if (found.dev != e->dev || found.ino != e->ino) {
    close(fd);
    return;
  }
  b->file_fd[b->nfiles] = fd;
  b->file_entry[b->nfiles++] = at;
  W.dir_files--;
  W.fds--;
}

/* The entries from `from` on, just listed: opens files, and remembers directories. */
static void look(struct nv_batch *b, unsigned from) {
  for (unsigned i = from; i < b->nentries; i++) {
    const struct nv_entry *e = &b->entry[i];
    if (S_ISDIR(e->mode) && W.deep)
      add(W.dir.index + 1, b->text + e->text, e->name_len);
    else if (S_ISREG(e->mode) && e->target_len != NV_UNSEEN && W.dir_files && W.fds &&
             b->nfiles < NV_WALK_FILES)
      open_listed(b, i);
  }
  unsigned n = b->nentries - from;
  W.entries -= n < W.entries ? n : W.entries;
}

int nv_walk_next(struct nv_batch *b) {
  struct sink s = {b->entry, b->text, NV_WALK_ENTRIES, NV_WALK_TEXT, 0, 0, W.brief, 0};
  b->ndirs = b->nentries = b->ntext = b->nfiles = 0;
  if (W.err)
    return W.err;
  if (!W.index)
    turn_round(0);
  unsigned size = W.size;
  W.size = 2 * size < NV_WALK_DIRS ? 2 * size : NV_WALK_DIRS;
  while (b->ndirs < size && b->nfiles < NV_WALK_FILES && s.n < NV_WALK_ENTRIES / 2 &&
         !full(&s, 2 * NAME_MAX)) {
    int go_on = W.listing;
    if (!go_on) {
      int r = next_dir();
      if (r <= 0)
        return r;
    }
    struct nv_dir *d = &b->dir[b->ndirs];
    *d = W.dir;
    size_t len = strlen(W.name);
    memcpy(b->text + s.at, W.name, len);
    d->own.name_len = (uint16_t)len;
    d->own.target_len = 0;
    d->own.text = s.at;
    s.at += (unsigned)len;
    b->dir_fd[b->ndirs++] = go_on ? -1 : W.fd[d->index];
    unsigned from = s.n;
    s.dev = d->own.dev;
    int r = fill(&s, W.fd[d->index], &W.pos);
    W.listing = r != 1;
    d->more = r != 1;
    d->count = s.n - from;
    b->nentries = s.n;
    b->ntext = s.at;
    if (r < 0) {
      W.err = r;
      return 1;
    }
    look(b, from);
    if (W.listing)
      return 1;
    turn_round(W.own_todo);
  }
  return 1;
}
