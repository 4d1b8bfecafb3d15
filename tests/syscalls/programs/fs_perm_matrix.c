/* Permission bits, sticky directories, set-group-id directories, capabilities over files: as owner, group, other. */
#include "t.h"
#include <grp.h>
#include <sys/mount.h>
static void as(uid_t u, gid_t g) {
  setgroups(0, 0);
  setresgid(g, g, g), setresuid(u, u, u);
}
#define E(expr) ({ errno = 0; (expr) < 0 ? strerrorname_np(errno) : "ok"; })
int main(void) {
  umask(0);
  chmod(".", 0777);
  for (int m = 0; m < 8; m++) {
    char f[20], d[20];
    sprintf(f, "f%d", m), sprintf(d, "d%d", m);
    put(f, "x"), mkdir(d, 0777);
    char in[30];
    sprintf(in, "%s/in", d), put(in, "");
    chown(f, 1000, 1001), chown(d, 1000, 1001);
    chmod(f, m << 6 | (m ^ 7) << 3 | (m ^ 5)), chmod(d, m << 6 | (m ^ 7) << 3 | (m ^ 5));
  }
  struct { uid_t u; gid_t g; const char *n; } who[] = {{1000, 1000, "owner"}, {2000, 1001, "group"}, {2000, 2000, "other"}, {1000, 1001, "owner and group"}};
  for (int w = 0; w < 4; w++)
    CHILD(who[w].n, as(who[w].u, who[w].g); for (int m = 0; m < 8; m++) {
      char f[20], d[20], in[30], new[30], t[30];
      sprintf(f, "f%d", m), sprintf(d, "d%d", m), sprintf(in, "d%d/in", m), sprintf(new, "d%d/new%d", m, getuid()), sprintf(t, "d%d/t", m);
      printf("%d: read %s, write %s, both %s, access x %s, access rw %s; list %s, stat in %s, create %s, rename %s, unlink %s, chdir %s, chmod %s, utime %s, utime set %s, truncate %s\n", m,
             E(close(open(f, O_RDONLY)) | -(errno != 0)), E(close(open(f, O_WRONLY)) | -(errno != 0)), E(close(open(f, O_RDWR)) | -(errno != 0)), E(access(f, X_OK)), E(access(f, R_OK | W_OK)),
             E(close(open(d, O_RDONLY)) | -(errno != 0)), E(access(in, F_OK)), E(close(open(new, O_CREAT | O_WRONLY, 0600)) | -(errno != 0)), E(rename(new, t)), E(unlink(t)), E(({ int c = open(".", O_PATH); int r = chdir(d), e = errno; fchdir(c), close(c); errno = e; r; })),
             E(chmod(f, m << 6 | (m ^ 7) << 3 | (m ^ 5))), E(utimensat(AT_FDCWD, f, 0, 0)), E(utimensat(AT_FDCWD, f, ((struct timespec[]){{1, 0}, {1, 0}}), 0)), E(truncate(f, 1)));
    });
  /* sticky */
  mkdir("sticky", 01777), put("sticky/root", ""), put("sticky/a", ""), chown("sticky/a", 1000, 1000), put("sticky/b", ""), chown("sticky/b", 2000, 2000), mkdir("sticky/dir", 0777);
  CHILD("sticky", as(1000, 1000); R(unlink("sticky/root")); R(unlink("sticky/b")); R(rename("sticky/b", "sticky/c")); R(rename("sticky/a", "sticky/b")); R(rename("sticky/a", "sticky/c")); R(unlink("sticky/c")); R(rmdir("sticky/dir"));
        R(link("sticky/b", "sticky/l")); put("sticky/mine", ""); R(unlink("sticky/mine")));
  mkdir("sticky2", 01777), chown("sticky2", 1000, 1000), put("sticky2/b", ""), chown("sticky2/b", 2000, 2000);
  CHILD("owner of the sticky directory", as(1000, 1000); R(unlink("sticky2/b")));
  /* set-group-id directory */
  mkdir("sg", 0777), chown("sg", 0, 3000), chmod("sg", 02777);
  struct stat s;
  CHILD("set-group-id", as(1000, 1000); put("sg/f", ""); mkdir("sg/d", 0755); stat("sg/f", &s); N(s.st_gid); stat("sg/d", &s); N(s.st_gid); printf("%o\n", s.st_mode); int fd = open("sg/x", O_CREAT | O_WRONLY, 02775); fstat(fd, &s); printf("%o\n", s.st_mode));
  /* chmod and chown clear bits */
  put("su", "x"), chmod("su", 06777), chown("su", 1000, 1001);
  stat("su", &s);
  printf("%o\n", s.st_mode);
  CHILD("chown by the owner", chmod("su", 06777); as(1000, 1000); R(chown("su", 1000, 1000)); R(chown("su", 1000, 5)); R(chown("su", 2000, -1)); R(chown("su", -1, -1)); stat("su", &s); printf("%o %d\n", s.st_mode, s.st_gid); R(chmod("su", 02777)); stat("su", &s); printf("%o\n", s.st_mode));
  chown("su", 1000, 1001), chmod("su", 06777);
  CHILD("chmod without the group", as(1000, 1000); R(chmod("su", 06777)); stat("su", &s); printf("%o\n", s.st_mode));
  chmod("su", 06777);
  CHILD("a write by another", as(2000, 2000); int fd = open("su", O_WRONLY); R(write(fd, "y", 1)); fstat(fd, &s); printf("%o\n", s.st_mode));
  chmod("su", 06777);
  int fd = open("su", O_WRONLY);
  R(write(fd, "y", 1));
  fstat(fd, &s), printf("%o\n", s.st_mode);
  CHILD("as nobody", as(65534, 65534); R(mknod("dev", S_IFCHR | 0600, 0x103)); R(mknod("fifo", S_IFIFO | 0600, 0)); R(chroot(".")); R(mount("x", "d7", "tmpfs", 0, 0)); R(acct(0)); R(fchmod(fd, 0777)); R(faccessat(AT_FDCWD, "su", R_OK, AT_EACCESS)));
  CHILD("effective and real", setresuid(1000, 0, 0); R(access("/root", R_OK)); R(faccessat(AT_FDCWD, "/root", R_OK, AT_EACCESS)));
  return 0;
}
