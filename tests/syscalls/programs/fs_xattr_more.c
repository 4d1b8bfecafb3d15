/* Extended attributes: namespaces, sizes, kinds of file, unprivileged users, links. */
#include "t.h"
#include <sys/xattr.h>
int main(void) {
  char b[70000];
  memset(b, 'v', sizeof b);
  put("f", ""), mkdir("d", 0777), symlink("f", "s"), mkfifo("p", 0666), chmod("f", 0666), chmod("d", 01777), chmod(".", 0755);
  R(setxattr("f", "user.a", "1", 1, 0));
  R(setxattr("f", "user.a", "2", 1, XATTR_CREATE));
  R(setxattr("f", "user.b", "2", 1, XATTR_REPLACE));
  R(setxattr("f", "user.a", "22", 2, XATTR_REPLACE));
  R(setxattr("f", "user.a", "22", 2, XATTR_CREATE | XATTR_REPLACE));
  R(setxattr("f", "user.a", "22", 2, 8));
  R(getxattr("f", "user.a", b, 0));
  R(getxattr("f", "user.a", b, 1));
  R(getxattr("f", "user.a", b, 100));
  R(getxattr("f", "user.none", b, 100));
  R(setxattr("f", "user.empty", "", 0, 0));
  R(getxattr("f", "user.empty", b, 100));
  R(setxattr("f", "user.", "x", 1, 0));
  R(setxattr("f", "user", "x", 1, 0));
  R(setxattr("f", "", "x", 1, 0));
  R(setxattr("f", "nonsense.a", "x", 1, 0));
  R(setxattr("f", "trusted.a", "x", 1, 0));
  R(setxattr("f", "user.big", b, 65537, 0));
  char name[300] = "user.";
  memset(name + 5, 'n', 251), name[256] = 0;
  R(setxattr("f", name, "x", 1, 0));
  name[255] = 0;
  R(setxattr("f", name, "x", 1, 0));
  R(removexattr("f", name));
  R(setxattr("s", "user.via", "x", 1, 0));
  R(getxattr("f", "user.via", b, 10));
  R(lsetxattr("s", "user.l", "x", 1, 0));
  R(lsetxattr("s", "trusted.l", "x", 1, 0));
  R(setxattr("p", "user.p", "x", 1, 0));
  R(setxattr("d", "user.d", "x", 1, 0));
  R(setxattr("/dev/null", "user.x", "x", 1, 0));
  R(setxattr("none", "user.a", "x", 1, 0));
  R(setxattr("f", "user.a", (void *)8, 5, 0));
  R(setxattr("f", (void *)8, "x", 1, 0));
  R(getxattr("f", "user.a", (void *)8, 5));
  long n = listxattr("f", 0, 0);
  R(listxattr("f", b, n - 1));
  n = listxattr("f", b, sizeof b);
  int users = 0;
  for (char *p = b; p < b + n; p += strlen(p) + 1)
    if (!strncmp(p, "user.", 5)) users++;
  N(users);
  R(removexattr("f", "user.a"));
  R(removexattr("f", "user.a"));
  R(removexattr("f", "nonsense.x"));
  CHILD("other user", setresgid(65534, 65534, 65534), setresuid(65534, 65534, 65534); R(setxattr("f", "user.o", "x", 1, 0)); R(setxattr("d", "user.o", "x", 1, 0)); R(setxattr("f", "trusted.o", "x", 1, 0)); R(getxattr("f", "trusted.a", b, 10));
        R(removexattr("f", "trusted.a")); R(getxattr("f", "user.via", b, 10)); R(setxattr("f", "security.x", "x", 1, 0)); long k = listxattr("f", b, sizeof b); int tr = 0; for (char *p = b; p < b + k; p += strlen(p) + 1) if (!strncmp(p, "trusted.", 8)) tr++; N(tr));
  chmod("f", 0400);
  CHILD("not readable", setresgid(65534, 65534, 65534), setresuid(65534, 65534, 65534); R(getxattr("f", "user.via", b, 10)); R(setxattr("f", "user.via", "x", 1, 0)));
  int fd = open("f", O_RDONLY), pa = open("f", O_PATH);
  R(fsetxattr(fd, "user.fd", "x", 1, 0));
  R(fgetxattr(fd, "user.fd", b, 10));
  R(fsetxattr(pa, "user.fd", "x", 1, 0));
  R(fgetxattr(1000, "user.fd", b, 10));
  R(fremovexattr(fd, "user.fd"));
  link("f", "hard");
  R(getxattr("hard", "user.via", b, 10));
  rename("f", "g");
  R(getxattr("g", "user.via", b, 10));
  return 0;
}
