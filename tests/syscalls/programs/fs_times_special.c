/* utimensat's special values, who may set times, what changes which time; statx masks and flags. */
#include "t.h"
#include <linux/stat.h>
static void show(const char *w) {
  struct stat s;
  stat("f", &s);
  printf("%s: %ld.%09ld %ld.%09ld\n", w, s.st_atim.tv_sec < 2000000000 && s.st_atim.tv_sec > 1000000000 ? 1 : (long)s.st_atim.tv_sec, s.st_atim.tv_sec > 1000000000 ? 0 : s.st_atim.tv_nsec,
         s.st_mtim.tv_sec > 1000000000 ? 1 : (long)s.st_mtim.tv_sec, s.st_mtim.tv_sec > 1000000000 ? 0 : s.st_mtim.tv_nsec);
}
static int ut(long a, long an, long m, long mn) {
  struct timespec t[2] = {{a, an}, {m, mn}};
  return utimensat(AT_FDCWD, "f", t, 0);
}
static int sx(int d, const char *p, int f, unsigned m, struct statx *s) { return syscall(SYS_statx, d, p, f, m, s); }
int main(void) {
  put("f", "hello");
  chmod("f", 0666);
  symlink("f", "s");
  R(ut(100, 5, 200, 6));
  show("set");
  R(ut(0, UTIME_OMIT, 300, 1));
  show("omit atime");
  R(ut(7, 7, 0, UTIME_OMIT));
  show("omit mtime");
  R(ut(0, UTIME_OMIT, 0, UTIME_OMIT));
  show("omit both");
  R(ut(0, UTIME_NOW, 8, 8));
  show("now and 8");
  R(ut(0, UTIME_NOW, 0, UTIME_NOW));
  show("now");
  R(ut(-5, 0, -6, 999999999));
  show("negative");
  R(ut(1, 1000000000, 1, 0));
  R(ut(1, -1, 1, 0));
  R(utimensat(AT_FDCWD, "none", 0, 0));
  R(utimensat(AT_FDCWD, "f", (void *)8, 0));
  R(utimensat(AT_FDCWD, "f", 0, 0x1));
  R(utimensat(AT_FDCWD, 0, 0, 0));
  int fd = open("f", O_RDONLY);
  struct timespec t[2] = {{11, 0}, {12, 0}};
  R(futimens(fd, t));
  show("by descriptor");
  R(utimensat(fd, "", t, AT_EMPTY_PATH));
  R(utimensat(AT_FDCWD, "s", t, AT_SYMLINK_NOFOLLOW));
  struct stat l;
  lstat("s", &l);
  N(l.st_mtime);
  struct timeval tv[2] = {{21, 5}, {22, 6}};
  R(utimes("f", tv));
  show("utimes");
  tv[0].tv_usec = 1000000;
  R(utimes("f", tv));
  CHILD("other user", setresuid(65534, 65534, 65534); R(ut(1, 1, 1, 1)); R(ut(0, UTIME_NOW, 0, UTIME_NOW)); R(ut(0, UTIME_NOW, 0, UTIME_OMIT)); R(ut(0, UTIME_OMIT, 0, UTIME_OMIT)); R(utimes("f", 0)));
  chmod("f", 0444);
  CHILD("other user, read only", setresuid(65534, 65534, 65534); R(utimes("f", 0)));
  /* what moves which time */
  struct stat a, b;
#define MOVES(w, expr) \
  do { \
    ut(5, 0, 5, 0); \
    stat("f", &a); \
    ms(15); \
    expr; \
    stat("f", &b); \
    printf("%s: mtime %d ctime %d\n", w, a.st_mtim.tv_sec != b.st_mtim.tv_sec, memcmp(&a.st_ctim, &b.st_ctim, sizeof a.st_ctim) != 0); \
  } while (0)
  int w = open("f", O_RDWR);
  char c;
  MOVES("nothing", );
  MOVES("read", read(w, &c, 1));
  MOVES("write", write(w, "x", 1));
  MOVES("write of nothing", write(w, "x", 0));
  MOVES("chmod", chmod("f", 0644));
  MOVES("chown", chown("f", 0, 0));
  MOVES("link", link("f", "l"));
  MOVES("unlink", unlink("l"));
  MOVES("rename", (rename("f", "f2"), rename("f2", "f")));
  MOVES("truncate to the same", truncate("f", 5));
  MOVES("ftruncate", ftruncate(w, 4));
  MOVES("open with O_TRUNC", close(open("f", O_WRONLY | O_TRUNC)));
  struct stat da, db;
  stat(".", &da), ms(15), put("new", ""), stat(".", &db);
  C(da.st_mtim.tv_nsec != db.st_mtim.tv_nsec);
  stat(".", &da), ms(15), unlink("new"), stat(".", &db);
  C(da.st_mtim.tv_nsec != db.st_mtim.tv_nsec);
  /* statx */
  struct statx x;
  R(sx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
  C((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
  N(x.stx_size);
  N(x.stx_mode);
  N(x.stx_nlink);
  R(sx(AT_FDCWD, "f", 0, 0, &x));
  R(sx(AT_FDCWD, "f", 0, 0x80000000, &x));
  R(sx(AT_FDCWD, "f", 0x10000, STATX_ALL, &x));
  R(sx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_ALL, &x));
  R(sx(AT_FDCWD, "s", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x));
  C(S_ISLNK(x.stx_mode));
  R(sx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &x));
  R(sx(fd, "", 0, STATX_SIZE, &x));
  R(sx(AT_FDCWD, "none", 0, STATX_SIZE, &x));
  R(sx(1000, "", AT_EMPTY_PATH, STATX_SIZE, &x));
  R(sx(AT_FDCWD, "f", 0, STATX_SIZE, (void *)8));
  R(sx(AT_FDCWD, (void *)8, 0, STATX_SIZE, &x));
  return 0;
}
