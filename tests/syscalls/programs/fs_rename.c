#include "t.h"

#include <linux/fs.h>
static long r2(const char *a, const char *b, unsigned f) { return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, f); }
static void ls(void) {
  fflush(stdout);
  system("ls -1pR . | tr '\\n' ' '; echo");
}
int main(void) {
  put("a", "A");
  put("b", "B");
  mkdir("d", 0755);
  mkdir("e", 0755);
  put("e/x", "");
  R(rename("a", "c"));
  R(rename("c", "b"));
  ls();
  R(rename("absent", "b"));
  R(rename("b", "d"));
  R(rename("d", "b"));
  R(rename("d", "e"));
  R(rename("e", "d"));
  ls();
  R(rename("d", "d/sub"));
  R(rename("d/x", "d"));
  R(rename("b/", "z"));
  R(rename("b", "z/"));
  R(rename(".", "q"));
  R(rename("d", ".."));
  R(rename("b", "b"));
  put("h1", "");
  link("h1", "h2");
  R(rename("h1", "h2"));
  ls();
  R(r2("b", "h1", RENAME_NOREPLACE));
  R(r2("b", "n", RENAME_NOREPLACE));
  R(r2("n", "d", RENAME_EXCHANGE));
  ls();
  R(r2("n", "absent", RENAME_EXCHANGE));
  R(r2("n", "d", RENAME_EXCHANGE | RENAME_NOREPLACE));
  R(r2("n", "d", 0x100));
  symlink("h1", "s");
  R(rename("s", "t"));
  ls();
  R(rename("t", "/proc/x"));
  R(rename("h1", "/dev/shm/nvsandbox-test-x"));
  int fd = open("h1", O_RDWR);
  put("w", "W");
  R(rename("w", "h1"));
  struct stat st;
  fstat(fd, &st);
  N(st.st_nlink);
  return 0;
}
