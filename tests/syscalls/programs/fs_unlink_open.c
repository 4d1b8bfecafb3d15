#include "t.h"

int main(void) {
  int fd = open("f", O_RDWR | O_CREAT, 0600);
  struct stat st;
  R(write(fd, "data", 4));
  R(unlink("f"));
  R(fstat(fd, &st));
  N(st.st_nlink);
  char b[100] = "";
  R(pread(fd, b, 4, 0));
  R(access("f", F_OK));
  char p[40], t[500] = "";
  sprintf(p, "/proc/self/fd/%d", fd);
  readlink(p, t, 499);
  C(strstr(t, "/f (deleted)") != NULL);
  int g = open(p, O_RDONLY);
  memset(b, 0, 9);
  R(read(g, b, 9));
  puts(b);
  R(link(p, "back"));
  R(linkat(fd, "", AT_FDCWD, "back", AT_EMPTY_PATH));
  mkdir("d", 0755);
  chdir("d");
  R(rmdir("../d"));
  R(rmdir("."));
  C(getcwd(b, 100) == NULL && errno == ENOENT);
  R(open("x", O_CREAT | O_RDWR, 0600));
  R(mkdir("y", 0700));
  R(stat(".", &st));
  N(st.st_nlink);
  R(chdir(".."));
  R(unlink("absent"));
  mkdir("e", 0700);
  R(unlink("e"));
  put("e/f", "");
  R(rmdir("e"));
  R(unlinkat(AT_FDCWD, "e/f", AT_REMOVEDIR));
  R(unlinkat(AT_FDCWD, "e/f", 0x1));
  R(unlink("e/f"));
  R(unlinkat(AT_FDCWD, "e", AT_REMOVEDIR));
  return 0;
}
