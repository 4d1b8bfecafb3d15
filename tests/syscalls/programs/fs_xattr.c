#include "t.h"

#include <sys/xattr.h>
int main(void) {
  char b[100] = "";
  put("f", "");
  mkdir("d", 0755);
  symlink("f", "l");
  R(setxattr("f", "user.a", "value", 5, 0));
  R(getxattr("f", "user.a", b, 100));
  printf("%.5s\n", b);
  R(getxattr("f", "user.a", b, 0));
  R(getxattr("f", "user.a", b, 3));
  R(getxattr("f", "user.none", b, 3));
  R(setxattr("f", "user.a", "v2", 2, XATTR_CREATE));
  R(setxattr("f", "user.b", "v2", 2, XATTR_REPLACE));
  R(setxattr("f", "user.b", "", 0, XATTR_CREATE));
  R(setxattr("f", "user.a", "v3", 2, 3));
  R(setxattr("f", "user.", "v3", 2, 0));
  R(setxattr("f", "nonsense", "v3", 2, 0));
  R(setxattr("f", "bogus.x", "v3", 2, 0));
  R(setxattr("f", "", "v3", 2, 0));
  R(setxattr("absent", "user.a", "v3", 2, 0));
  R(setxattr("f", "user.big", b, 70000, 0));
  R(listxattr("f", b, 100));
  R(listxattr("f", b, 0));
  R(listxattr("f", b, 5));
  R(removexattr("f", "user.b"));
  R(removexattr("f", "user.b"));
  R(lsetxattr("l", "user.a", "x", 1, 0));
  R(lgetxattr("l", "user.a", b, 100));
  R(getxattr("l", "user.a", b, 100));
  R(setxattr("d", "user.d", "dir", 3, 0));
  int fd = open("f", O_RDONLY);
  R(fgetxattr(fd, "user.a", b, 100));
  R(fsetxattr(fd, "user.c", "c", 1, 0));
  R(flistxattr(fd, b, 100));
  R(fremovexattr(fd, "user.c"));
  R(fgetxattr(99, "user.a", b, 100));
  R(setxattr("f", "trusted.t", "t", 1, 0));
  R(getxattr("f", "trusted.t", b, 10));
  CHILD("other user", setuid(1); R(getxattr("f", "trusted.t", b, 10)); R(setxattr("f", "user.a", "q", 1, 0)); R(getxattr("f", "user.a", b, 10)));
  char n[300];
  memset(n, 'n', 299);
  memcpy(n, "user.", 5);
  n[299] = 0;
  R(setxattr("f", n, "v", 1, 0));
  R(setxattr("f", (char *)8, "v", 1, 0));
  R(setxattr("f", "user.e", (char *)8, 1, 0));
  return 0;
}
