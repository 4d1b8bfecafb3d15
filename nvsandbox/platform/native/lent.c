/*
 * Reads that Python need not see. A description that is read again and again is lent to this file,
 * position and descriptor, until Python looks at it the next time (vfs/lent.py). Whatever is not
 * plain is left to Python, which finds everything as if nobody had looked before.
 */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_LENT 512 /* descriptors held for it */
#define ROOM (NV_WIN_LEN - NV_IN_MAXBUF)
#define MAX_RW 0x7ffff000

struct nv_file {
  int64_t offset;
  int fd; /* of its own; -1: not lent */
  uint32_t refs;
  uint32_t since; /* generation in which it was lent */
  uint8_t null;   /* the null device: NV_LENT_READ, NV_LENT_WRITE as it was opened */
  int cached;     /* a memory file: what is there can be read at once */
};

struct nv_files {
  uint32_t refs;
  struct nv_file *file[NV_LENT_FDS];
};

static uint32_t generation, nlent;

struct nv_file *nv_file_new(void) {
  struct nv_file *f = calloc(1, sizeof *f);
  if (!f)
    return NULL;
  f->refs = 1;
  f->fd = -1;
  return f;
}

void nv_file_put(struct nv_file *f) {
  if (f && !--f->refs) {
    nv_file_back(f);
    free(f);
  }
}

int nv_file_lend(struct nv_file *f, int fd, int64_t offset) {
  nv_file_back(f);
  if (nlent >= MAX_LENT)
    return -EMFILE;
  f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (f->fd < 0)
    return -errno;
  nlent++;
  f->offset = offset;
  f->since = generation;
  f->cached = 0;
  return 0;
}

void nv_file_null(struct nv_file *f, uint32_t how) { f->null = (uint8_t)how; }

int64_t nv_file_back(struct nv_file *f) {
  if (f->fd >= 0) {
    close(f->fd);
    f->fd = -1;
    nlent--;
  }
  return f->offset;
}

void nv_files_stop(void) { generation++; }

struct nv_files *nv_files_new(void) {
  struct nv_files *fs = calloc(1, sizeof *fs);
  if (fs)
    fs->refs = 1;
  return fs;
}

void nv_files_set(struct nv_files *fs, uint32_t fd, struct nv_file *f) {
  if (fd >= NV_LENT_FDS || fs->file[fd] == f)
    return;
  nv_file_put(fs->file[fd]);
  fs->file[fd] = f;
  if (f)
    f->refs++;
}

void nv_files_clear(struct nv_files *fs) {
  for (uint32_t i = 0; i < NV_LENT_FDS; i++)
    nv_files_set(fs, i, NULL);
}

void nv_files_put(struct nv_files *fs) {
  if (fs && !--fs->refs) {
    nv_files_clear(fs);
    free(fs);
  }
}

void nv_lend(struct nv_task *t, struct nv_files *fs, uint32_t calls) {
  if (t->files != fs) {
    nv_files_put(t->files);
    t->files = fs;
    t->calls = 0;
    if (fs)
      fs->refs++;
  }
  t->calls = fs && calls ? t->calls | calls : 0;
}

void nv_lent_free(struct nv_task *t) {
  nv_lend(t, NULL, 0);
  nv_file_put(t->again);
}

/* Bytes read, or -1: Python's business. */
static int64_t read_at(struct nv_task *t, struct nv_file *f, int64_t offset) {
  uint64_t addr = (uint64_t)t->ev[NV_E_ARG0 + 1], size = (uint64_t)t->ev[NV_E_ARG0 + 2];
  if (!size || size > ROOM || offset > INT64_MAX - (int64_t)size)
    return -1;
  int64_t n = nv_read_window(t, f->fd, (uint32_t)size, offset, &f->cached);
  if (n > 0 && nv_op(t, NV_OP_COPYOUT, 0, 0, addr, NV_IN_MAXBUF, (uint64_t)n, 0, 0, 0))
    return -1;
  return n;
}

static int64_t seek(struct nv_file *f, int64_t offset, int64_t whence) {
  if (whence == SEEK_CUR) {
    if (__builtin_add_overflow(offset, f->offset, &offset))
      return -1;
  } else if (whence != SEEK_SET) {
    return -1;
  }
  if (offset >= 0)
    f->offset = offset;
  return offset < 0 ? -1 : offset;
}

static int64_t on_null(const struct nv_task *t, uint32_t call) {
  int64_t size = t->ev[NV_E_ARG0 + 2];
  if (size < 0)
    return -1;
  if (call == NV_LENT_WRITE)
    return size < MAX_RW ? size : MAX_RW;
  return call == NV_LENT_READ ? 0 : -1;
}

/* The event after an answer of ours: whether that failed, and the call is the event again. */
static int failed(struct nv_task *t) {
  struct nv_file *f = t->again;
  t->again = NULL;
  int again = t->ev[NV_E_KIND] == NV_EV_CMDFAIL;
  if (again) {
    f->offset -= t->again_read;
    t->regs[NV_RAX] = (uint64_t)t->ev[NV_E_NR];
    t->ev[NV_E_KIND] = NV_EV_SYSCALL;
    nv_decode(t);
    nv_stats.calls[t->ev[NV_E_NR]]--; /* it is counted already */
  }
  nv_file_put(f);
  return again;
}

int nv_lent(struct nv_task *t) {
  static const struct {
    uint8_t nr;
    uint8_t call;
  } calls[] = {{0, NV_LENT_READ}, {17, NV_LENT_PREAD}, {1, NV_LENT_WRITE}, {8, NV_LENT_LSEEK}};
  if (t->again && failed(t))
    return 0;
  if (!t->calls || t->ev[NV_E_KIND] != NV_EV_SYSCALL)
    return 0;
  uint64_t fd = (uint64_t)t->ev[NV_E_ARG0];
  uint32_t call = 0;
  for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
    if (t->ev[NV_E_NR] == calls[i].nr)
      call = calls[i].call & t->calls;
  if (!call || fd >= NV_LENT_FDS)
    return 0;
  struct nv_file *f = t->files->file[fd];
  if (!f)
    return 0;
  int64_t r = -1;
  if (f->null) {
    r = on_null(t, call & f->null);
  } else if (f->fd >= 0 && f->since == generation) {
    if (call == NV_LENT_READ) {
      r = read_at(t, f, f->offset);
      f->offset += r > 0 ? r : 0;
    } else if (call == NV_LENT_PREAD) {
      r = t->ev[NV_E_ARG0 + 3] < 0 ? -1 : read_at(t, f, t->ev[NV_E_ARG0 + 3]);
    } else if (call == NV_LENT_LSEEK) {
      r = seek(f, t->ev[NV_E_ARG0 + 1], t->ev[NV_E_ARG0 + 2]);
    }
  }
  if (r < 0)
    return 0;
  if (t->nops) { /* the copy may fail, and then it is Python's after all */
    t->again = f;
    f->refs++;
    t->again_read = call == NV_LENT_READ ? r : 0;
  }
  nv_reply(t, r);
  return 1;
}
