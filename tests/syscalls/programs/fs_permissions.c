#include "t.h"

static void as(uid_t u, gid_t g) { setgroups(0, 0), setresgid(g, g, g), setresuid(u, u, u); }
int setgroups(size_t, const gid_t *);
int main(void) {
  struct stat st;
  chmod(".", 0755);
  put("a", "x"), chmod("a", 0640), chown("a", 100, 200);
  put("s", "x"), chown("s", 1, 1), chmod("s", 06755);
  mkdir("dir", 0700), put("dir/f", "");
  mkdir("sticky", 01777), put("sticky/f", ""), chmod("sticky", 01777);
  mkdir("sg", 0), chown("sg", 0, 77), chmod("sg", 02777);
  CHILD("owner", as(100, 1); R(open("a", O_RDWR) >= 0); R(chmod("a", 0600)); R(chown("a", 100, 1)); R(chown("a", 5, -1)); R(access("a", R_OK | W_OK)));
  chmod("a", 0640);
  CHILD("group", as(1, 200); R(open("a", O_RDONLY) >= 0); R(open("a", O_WRONLY)); R(chmod("a", 0600)); R(access("a", W_OK)); R(utimes("a", 0)));
  CHILD("other", as(1, 1); R(open("a", O_RDONLY)); R(open("dir/f", O_RDONLY)); R(chdir("dir")); R(unlink("sticky/f")); R(rename("sticky/f", "sticky/g"));
        R(mkdir("x", 0700)); R(open("sg/new", O_CREAT | O_RDWR, 0644) >= 0); R(mkdir("sg/d", 0755)); R(truncate("a", 0)); R(link("a", "sticky/l"));
        R(mknod("sticky/dev", S_IFCHR | 0600, 0)); R(chroot(".")); R(access("/bin/true", X_OK)); R(access("a", F_OK)));
  stat("sg/new", &st), printf("%d %o\n", st.st_gid, st.st_mode);
  stat("sg/d", &st), printf("%d %o\n", st.st_gid, st.st_mode);
  chmod("s", 06777);
  CHILD("write clears set-id", as(9, 9); int fd = open("s", O_WRONLY); R(write(fd, "y", 1)));
  stat("s", &st), printf("%o\n", st.st_mode);
  chmod("s", 06755), chown("s", 3, 3), stat("s", &st), printf("%o\n", st.st_mode);
  CHILD("faccessat", setreuid(100, 0); R(access("dir/f", R_OK)); R(faccessat(AT_FDCWD, "dir/f", R_OK, AT_EACCESS)));
  R(access("a", X_OK));
  R(access("a", 8));
  R(chmod("absent", 0));
  R(fchmod(99, 0));
  R(chown("a", -1, -1));
  return 0;
}
