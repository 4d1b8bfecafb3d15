#include "t.h"

#include <linux/openat2.h>
static long o2(int d, const char *p, uint64_t flags, uint64_t mode, uint64_t resolve) {
  struct open_how h = {flags, mode, resolve};
  long r = syscall(SYS_openat2, d, p, &h, sizeof h);
  if (r >= 0) close(r), r = 0;
  return r;
}
int main(void) {
  mkdir("r", 0755);
  mkdir("r/s", 0755);
  put("r/f", "inside");
  put("f", "outside");
  symlink("../f", "r/up");
  symlink("/f", "r/abs");
  symlink("f", "r/same");
  int d = open("r", O_RDONLY | O_DIRECTORY);
  R(o2(d, "f", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "../f", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "up", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "abs", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "s/../f", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "/f", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(d, "up", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(d, "../../../f", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(d, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(d, "same", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
  R(o2(d, "same", O_RDONLY | O_NOFOLLOW | O_PATH, 0, RESOLVE_NO_SYMLINKS));
  R(o2(AT_FDCWD, "/proc/self/fd/0", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
  R(o2(AT_FDCWD, "/proc/version", O_RDONLY, 0, RESOLVE_NO_XDEV));
  R(o2(d, "f", O_RDONLY, 0, 0x4000));
  R(o2(d, "f", 1ULL << 40, 0, 0));
  R(o2(d, "f", O_RDONLY, 0600, 0));
  R(o2(d, "n", O_RDWR | O_CREAT, 0600, 0));
  R(o2(d, "n2", O_RDWR | O_CREAT, 070000, 0));
  R(o2(d, "f", O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
  struct open_how h[3] = {{O_RDONLY}};
  R(syscall(SYS_openat2, d, "f", h, 8));
  R(syscall(SYS_openat2, d, "f", h, sizeof h) >= 0);
  ((char *)h)[70] = 1;
  R(syscall(SYS_openat2, d, "f", h, sizeof h));
  R(syscall(SYS_openat2, d, "f", 8, 24));
  R(syscall(SYS_openat2, d, "f", h, 5000));
  return 0;
}
