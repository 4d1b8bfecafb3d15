/* link, unlink, rename, symlink, mkdir, rmdir, mknod: which error for which kind of name. */
#include "t.h"
#include <linux/fs.h>
static int ren(const char *a, const char *b, unsigned f) { return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, f); }
int main(void) {
  char lng[300];
  memset(lng, 'x', 299), lng[299] = 0;
  mkdir("d", 0755), mkdir("e", 0755), mkdir("full", 0755), put("full/x", ""), put("f", "1"), put("g", "2"), symlink("f", "s"), symlink("nowhere", "dang"), symlink("d", "ds"), mkfifo("p", 0600);
  const char *n[] = {"f", "d", "full", "s", "dang", "ds", "p", "none", "none/x", "f/x", ".", "..", "d/.", "d/..", "/", "", "f/", "d/", "none/", "s/", "ds/", lng};
  int N_ = 22;
#define EACH(what, expr) \
  for (int i = 0; i < N_; i++) { \
    const char *p = n[i]; \
    errno = 0; \
    int r = expr; \
    printf(what " %.10s: %s\n", p, r < 0 ? strerrorname_np(errno) : "ok"); \
  }
  EACH("mkdir", mkdir(p, 0755) + (i == 18 ? rmdir("none"), 0 : 0));
  rmdir("none");
  EACH("mknod", mknod(p, S_IFREG | 0600, 0));
  unlink("none");
  EACH("symlink", symlink("t", p));
  unlink("none");
  EACH("link to new", (unlink("new"), link(p, "new")));
  unlink("new");
  EACH("link over", link("g", p));
  unlink("none");
  EACH("open create", ({ int r = open(p, O_CREAT | O_WRONLY | O_NONBLOCK, 0600); if (r >= 0) close(r), r = 0; r; }));
  unlink("none"), unlink("nowhere");
  EACH("open create exclusive", ({ int r = open(p, O_CREAT | O_EXCL | O_WRONLY | O_NONBLOCK, 0600); if (r >= 0) close(r), r = 0; r; }));
  unlink("none");
  EACH("open directory", ({ int r = open(p, O_DIRECTORY); if (r >= 0) close(r), r = 0; r; }));
  EACH("truncate", truncate(p, 0));
  EACH("readlink", ({ char b[100]; int r = readlink(p, b, 100); r < 0 ? -1 : 0; }));
  EACH("chdir", ({ int c = open(".", O_PATH); int r = chdir(p), e = errno; fchdir(c), close(c); errno = e; r; }));
  EACH("unlink", ({ int r = unlink(p); int e = errno; if (!r) { i == 0 ? put("f", "1") : i == 3 ? (void)symlink("f", "s") : i == 4 ? (void)symlink("nowhere", "dang") : i == 5 ? (void)symlink("d", "ds") : (void)mkfifo("p", 0600); } errno = e; r; }));
  EACH("rmdir", ({ int r = rmdir(p); int e = errno; if (!r) mkdir("d", 0755); errno = e; r; }));
  EACH("rename file to", ({ put("t", ""); int r = rename("t", p); int e = errno; unlink("t"); if (!r) { i == 3 ? unlink("s"), (void)symlink("f", "s") : i == 4 ? unlink("dang"), (void)symlink("nowhere", "dang") : i == 5 ? unlink("ds"), (void)symlink("d", "ds") : i == 6 ? unlink("p"), (void)mkfifo("p", 0600) : i == 7 ? (void)unlink("none") : (void)0; } errno = e; r; }));
  EACH("rename directory to", ({ mkdir("t", 0755); int r = rename("t", p); int e = errno; rmdir("t"); if (!r && (i == 7 || i == 18)) rmdir("none"); errno = e; r; }));
  EACH("rename from", ({ int r = rename(p, "t2"); int e = errno; if (!r) rename("t2", i == 17 ? "d" : p); errno = e; r; }));
  EACH("exchange", ({ int r = ren("g", p, RENAME_EXCHANGE); int e = errno; if (!r) ren("g", p, RENAME_EXCHANGE); errno = e; r; }));
  EACH("noreplace", ({ int r = ren("g", p, RENAME_NOREPLACE); int e = errno; if (!r) rename(p, "g"); errno = e; r; }));
  R(ren("f", "g", RENAME_NOREPLACE | RENAME_EXCHANGE));
  R(ren("f", "g", 0x100));
  R(ren("f", "w", RENAME_WHITEOUT | RENAME_EXCHANGE));
  R(rename("d", "d/in"));
  R(rename("full", "full/x/y"));
  R(rename("full/x", "full"));
  R(ren("full/x", "full", RENAME_EXCHANGE));
  R(rename("f", "f"));
  link("f", "f2");
  R(rename("f", "f2"));
  R(access("f", F_OK));
  R(unlinkat(AT_FDCWD, "f2", 0x100));
  R(unlinkat(AT_FDCWD, "e", AT_REMOVEDIR));
  R(unlinkat(AT_FDCWD, "f2", AT_REMOVEDIR));
  R(linkat(AT_FDCWD, "s", AT_FDCWD, "hard", 0));
  R(linkat(AT_FDCWD, "s", AT_FDCWD, "soft", AT_SYMLINK_FOLLOW));
  struct stat st;
  lstat("hard", &st);
  N(S_ISLNK(st.st_mode));
  lstat("soft", &st);
  N(S_ISREG(st.st_mode));
  R(linkat(AT_FDCWD, "f", AT_FDCWD, "z", 0x40));
  int fd = open(".", O_TMPFILE | O_RDWR, 0600);
  R(linkat(fd, "", AT_FDCWD, "tmp", AT_EMPTY_PATH));
  int ex = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
  R(linkat(ex, "", AT_FDCWD, "tmp2", AT_EMPTY_PATH));
  R(symlink("", "empty"));
  char path[5000];
  memset(path, 'a', 4999), path[4999] = 0;
  R(symlink(path, "toolong"));
  R(mkdir(path, 0700));
  return 0;
}
