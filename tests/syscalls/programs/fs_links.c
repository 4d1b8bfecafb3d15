#include "t.h"

int main(void) {
  struct stat a, b;
  put("f", "x");
  R(link("f", "g"));
  stat("f", &a);
  stat("g", &b);
  C(a.st_ino == b.st_ino && a.st_nlink == 2);
  R(link("f", "g"));
  R(unlink("f"));
  stat("g", &b);
  N(b.st_nlink);
  mkdir("d", 0755);
  stat("d", &a);
  N(a.st_nlink >= 1);
  R(symlink("target/of/link", "s"));
  char t[100] = "";
  R(readlink("s", t, 100));
  R(readlink("s", t, 5));
  R(readlink("s", t, 0));
  R(readlink("s", t, -1) == -1);
  R(readlink("g", t, 5));
  lstat("s", &a);
  N(a.st_size);
  printf("%o\n", a.st_mode);
  R(chmod("s", 0600));
  R(fchmodat(AT_FDCWD, "s", 0600, AT_SYMLINK_NOFOLLOW) == -1);
  R(lchown("s", 5, 6));
  lstat("s", &a);
  printf("%d %d\n", a.st_uid, a.st_gid);
  R(linkat(AT_FDCWD, "s", AT_FDCWD, "s2", 0));
  R(linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW));
  R(linkat(AT_FDCWD, "g", AT_FDCWD, "s4", 0x1));
  R(mknod("n", S_IFREG | 0600, 0));
  R(mknod("p", S_IFIFO | 0600, 0));
  R(mknod("so", S_IFSOCK | 0600, 0));
  R(mknod("n", S_IFREG | 0600, 0));
  R(mknod("x", 0130000, 0));
  R(open("so", O_RDONLY));
  R(mkdir("d/e/f", 0700));
  R(mkdir("d", 0700));
  R(mkdir("g/x", 0700));
  return 0;
}
