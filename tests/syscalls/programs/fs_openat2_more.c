/* openat2: every resolve flag against links, dots, magic links, mounts; the size of the structure. */
#include "t.h"
#include <linux/openat2.h>
static long o2(int d, const char *p, uint64_t fl, uint64_t mode, uint64_t res) {
  struct open_how h = {fl, mode, res};
  long r = syscall(SYS_openat2, d, p, &h, sizeof h);
  int e = errno;
  if (r >= 0) close(r);
  errno = e;
  return r < 0 ? -1 : 0;
}
int main(void) {
  mkdir("d", 0755), mkdir("d/sub", 0755);
  put("d/file", "x"), put("out", "x");
  symlink("file", "d/link"), symlink("../out", "d/up"), symlink("/etc/passwd", "d/abs"), symlink("sub", "d/sublink"), symlink("loop", "d/loop");
  symlink("../..", "d/sub/upup"), symlink("/file", "d/rooted");
  int d = open("d", O_PATH | O_DIRECTORY);
  const char *paths[] = {"file", "link", "up", "abs", "..", "sub/..", "sub/../..", "sublink/../file", "loop", "nothing", "/etc/passwd", "sub/upup", "rooted", ".", "", "sub/../file", "/file"};
  uint64_t flags[] = {0, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
  for (int f = 0; f < 7; f++)
    for (int p = 0; p < 17; p++) {
      if (flags[f] == RESOLVE_NO_XDEV && (p == 3 || p == 12)) continue; /* depends on how the walk began */
      long r = o2(d, paths[p], O_RDONLY, 0, flags[f]);
      printf("%llx %s: %s\n", (long long)flags[f], paths[p], r ? strerrorname_np(errno) : "ok");
    }
  R(o2(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
  R(o2(AT_FDCWD, "/proc/self/exe", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
  R(o2(AT_FDCWD, "/proc/self/cwd/out", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
  R(o2(AT_FDCWD, "/proc/self/root", O_RDONLY, 0, 0));
  R(o2(AT_FDCWD, "/proc/version", O_RDONLY, 0, RESOLVE_NO_XDEV));
  R(o2(AT_FDCWD, "/proc/self/exe", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_MAGICLINKS));
  R(o2(d, "file", O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
  R(o2(d, "file", O_RDONLY, 0, 0x100));
  /* Linux gives EAGAIN whenever it can't walk without a lock: that it may, not that it must */
  printf("cached: %d\n", o2(d, "file", O_RDONLY, 0, RESOLVE_CACHED) == 0 || errno == EAGAIN);
  R(o2(d, "new", O_CREAT | O_WRONLY | O_TRUNC, 0, RESOLVE_CACHED));
  R(o2(d, "file", O_RDONLY, 0644, 0));
  R(o2(d, "file", 0x80000000ull, 0, 0));
  R(o2(d, "file", 1ull << 40, 0, 0));
  R(o2(d, "new", O_CREAT | O_WRONLY, 010000, 0));
  R(o2(d, "new", O_CREAT | O_WRONLY, 0600, RESOLVE_BENEATH));
  R(o2(d, "new", O_CREAT | O_EXCL | O_WRONLY, 0600, RESOLVE_BENEATH));
  R(o2(d, "up2", O_CREAT | O_WRONLY, 0600, RESOLVE_NO_SYMLINKS));
  R(o2(d, ".", O_TMPFILE | O_RDWR, 0600, 0));
  R(o2(d, "file", O_PATH | O_RDWR, 0, 0));
  R(o2(1000, "file", O_RDONLY, 0, 0));
  R(o2(d, (void *)8, O_RDONLY, 0, 0));
  struct open_how h = {O_RDONLY};
  R(syscall(SYS_openat2, d, "file", &h, 0));
  R(syscall(SYS_openat2, d, "file", &h, 8));
  R(syscall(SYS_openat2, d, "file", &h, 1 << 20));
  R(syscall(SYS_openat2, d, "file", 8, sizeof h));
  char big[64] = "";
  OK(syscall(SYS_openat2, d, "file", big, 64));
  big[60] = 1;
  R(syscall(SYS_openat2, d, "file", big, 64));
  return 0;
}
