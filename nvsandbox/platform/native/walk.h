/* What the gofer does with trees of files, and how the Sentry reads its listings (listing.c).
 * Unless said otherwise all return 0 or more, or -errno. */
#ifndef NV_WALK_H
#define NV_WALK_H

#include <stdint.h>

int nv_openat2(int at, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
/* As target_len: nobody has looked at the entry, only ino and the kind in mode are known. */
enum { NV_UNSEEN = 0xffff };
/* One entry of a directory and its attributes (statx(2)); times in nanoseconds. */
struct nv_entry {
  uint64_t dev, ino, rdev, size, blocks;
  int64_t atime, mtime, ctime;
  uint32_t mode, nlink, uid, gid;
  uint16_t name_len, target_len; /* of its name, and of a symbolic link's target; NV_UNSEEN */
  uint32_t text;                 /* where in the text the name is, which the target follows */
};
/*
 * The next entries of directory fd but . and .., as many as fit into the records and, a name and
 * a link's target after the other, into the text, of which used[0] bytes. How many; used[1]: these
 * are the last.
 */
int nv_list(int fd, struct nv_entry *records, unsigned max, uint8_t *text, unsigned size,
            unsigned *used);
/* Opens regular file `name` of at ("": at itself), and nothing else, by way of proc_fd
 * (/proc/self/fd), and describes it. */
int nv_open_file(int at, const char *name, int flags, int proc_fd, struct nv_entry *e);

/* A directory of a walk, and how many of the records are its entries. */
struct nv_dir {
  struct nv_entry own; /* its name comes before those of its entries in the text */
  uint32_t index;      /* the how manieth directory of the walk */
  uint32_t above;      /* 1 + the index of the one it is in; 0: the one that the walk began at */
  uint32_t count;
  uint32_t more; /* the next batch begins with further entries of it */
};
/* Few enough that who takes them in never waits long, many enough for a message's cost. */
enum { NV_WALK_DIRS = 16, NV_WALK_ENTRIES = 512, NV_WALK_TEXT = 40960, NV_WALK_FILES = 128 };
/* What a walk has come to since the last one. */
struct nv_batch {
  uint32_t ndirs, nentries, ntext, nfiles;
  struct nv_dir dir[NV_WALK_DIRS];
  int32_t dir_fd[NV_WALK_DIRS]; /* -1: told before, with a batch that said `more` */
  struct nv_entry entry[NV_WALK_ENTRIES];
  int32_t file_fd[NV_WALK_FILES];     /* regular files of theirs, opened to be read, */
  uint32_t file_entry[NV_WALK_FILES]; /* and which of the entries they are, ascending */
  uint8_t text[NV_WALK_TEXT];
};
/*
 * Begins a walk, which forgets the last one: beneath `at`, at most `most` directories, no further
 * one once there were `entries` entries or `fds` files; deep: what is below comes after each
 * directory; brief: only directories among the entries are looked at; files: so many of each
 * directory are opened.
 */
void nv_walk_begin(int at, unsigned most, int deep, int brief, unsigned files, unsigned entries,
                   unsigned fds, int proc_fd);
/* A directory of `at` to go to after those added before. */
int nv_walk_add(const char *name);
/* The next batch, small at first as somebody waits for it, and the descriptors in it the caller's.
 * 1: there is more, 0: this was the last. -errno: the walk ends with a directory that couldn't be
 * read; one beside or below the first that can't be opened is left out. */
int nv_walk_next(struct nv_batch *b);

#endif
