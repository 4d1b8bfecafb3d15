/* name_to_handle_at(2) and open_by_handle_at(2) on a tmpfs; mount ids in statx, fdinfo and mountinfo. */
#include "t.h"
#include <sys/mount.h>

static struct {
  struct file_handle h;
  char room[200];
} a, b;
static int id;

static int get(int dir, const char *path, int flags) {
  a.h.handle_bytes = 128;
  return name_to_handle_at(dir, path, &a.h, &id, flags);
}

static long told(const char *file, const char *key) {
  FILE *f = fopen(file, "r");
  char l[500];
  long v = -1;
  while (f && fgets(l, 500, f))
    if (!strncmp(l, key, strlen(key))) v = atol(l + strlen(key));
  if (f) fclose(f);
  return v;
}

static long in_mountinfo(const char *where) {
  FILE *f = fopen("/proc/self/mountinfo", "r");
  char l[1000], at[500];
  long v = -1, n;
  while (fgets(l, 1000, f))
    if (sscanf(l, "%ld %*d %*s %*s %499s", &n, at) == 2 && !strcmp(at, where)) v = n;
  fclose(f);
  return v;
}

static long in_statx(int dir, const char *path) {
  struct statx s;
  return statx(dir, path, AT_EMPTY_PATH, 0x1000, &s) ? -1 : *(uint64_t *)((char *)&s + 0x90);
}

int main(void) {
  unshare(CLONE_NEWNS);
  mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
  mkdir("/tmp/handles", 0755);
  mount("t", "/tmp/handles", "tmpfs", 0, 0);
  chdir("/tmp/handles");
  put("f", "content"), mkdir("d", 0755), put("d/g", "deep"), symlink("f", "l");
  R(get(AT_FDCWD, "f", 0));
  printf("%d bytes, type %d\n", a.h.handle_bytes, a.h.handle_type);
  C(id == in_mountinfo("/tmp/handles"));
  C(id == in_statx(AT_FDCWD, "f"));
  int fd = open("f", O_RDONLY);
  char name[60];
  sprintf(name, "/proc/self/fdinfo/%d", fd);
  C(id == told(name, "mnt_id:"));
  C(in_statx(fd, "") == id);
  int p[2];
  pipe(p);
  sprintf(name, "/proc/self/fdinfo/%d", p[0]);
  C(in_statx(p[0], "") == told(name, "mnt_id:"));
  a.h.handle_bytes = 4;
  R(name_to_handle_at(AT_FDCWD, "f", &a.h, &id, 0));
  N(a.h.handle_bytes);
  a.h.handle_bytes = 129;
  R(name_to_handle_at(AT_FDCWD, "f", &a.h, &id, 0));
  R(get(AT_FDCWD, "f", 0x4000));
  R(get(AT_FDCWD, "", 0));
  R(get(fd, "", AT_EMPTY_PATH));
  R(get(AT_FDCWD, "", AT_EMPTY_PATH));
  R(get(999, "", AT_EMPTY_PATH));
  R(get(AT_FDCWD, "none", 0));
  R(name_to_handle_at(AT_FDCWD, "f", 0, &id, 0));
  a.h.handle_bytes = 128;
  R(name_to_handle_at(AT_FDCWD, "f", &a.h, 0, 0));
  R(get(AT_FDCWD, "/proc/self", 0) && errno != EOPNOTSUPP);
  close(fd);
  puts("- opening");
  char buf[20] = {0};
  get(AT_FDCWD, "f", 0);
  b = a;
  fd = open_by_handle_at(AT_FDCWD, &a.h, O_RDWR);
  C(fd >= 0);
  R(read(fd, buf, 20));
  puts(buf);
  sprintf(name, "/proc/self/fd/%d", fd);
  memset(buf, 0, 20);
  char link[100] = {0};
  readlink(name, link, 99);
  puts(link);
  close(fd);
  rename("f", "d/moved");
  fd = open_by_handle_at(AT_FDCWD, &a.h, O_RDONLY);
  memset(link, 0, 100), sprintf(name, "/proc/self/fd/%d", fd), readlink(name, link, 99);
  puts(link);
  close(fd);
  get(AT_FDCWD, "d", 0);
  fd = open_by_handle_at(AT_FDCWD, &a.h, O_RDONLY | O_DIRECTORY);
  R(faccessat(fd, "g", F_OK, 0));
  R(open_by_handle_at(fd, &a.h, O_WRONLY));
  N(fcntl(open_by_handle_at(fd, &a.h, O_PATH | O_CLOEXEC), F_GETFD));
  close(fd);
  get(AT_FDCWD, "l", 0);
  R(open_by_handle_at(AT_FDCWD, &a.h, O_RDONLY));
  get(AT_FDCWD, "l", AT_SYMLINK_FOLLOW);
  symlink("d/moved", "m");
  R(get(AT_FDCWD, "m", AT_SYMLINK_FOLLOW));
  R(memcmp(&a, &b, 20));
  unlink("d/moved");
  R(open_by_handle_at(AT_FDCWD, &a.h, O_RDONLY));
  get(AT_FDCWD, "d/g", 0);
  R(open_by_handle_at(999, &a.h, O_RDONLY));
  R(open_by_handle_at(p[0], &a.h, O_RDONLY));
  mkdir("/tmp/handles/other", 0755), mount("t", "other", "tmpfs", 0, 0);
  int other = open("other", O_RDONLY);
  R(open_by_handle_at(other, &a.h, O_RDONLY));
  a.h.handle_type = 77;
  R(open_by_handle_at(AT_FDCWD, &a.h, O_RDONLY));
  a.h.handle_bytes = 0;
  R(open_by_handle_at(AT_FDCWD, &a.h, O_RDONLY));
  a.h.handle_bytes = 129;
  R(open_by_handle_at(AT_FDCWD, &a.h, O_RDONLY));
  R(open_by_handle_at(AT_FDCWD, 0, O_RDONLY));
  get(AT_FDCWD, "d/g", 0);
  mount("x", "/sys", "sysfs", 0, 0);
  R(get(AT_FDCWD, "/sys/kernel", 0));
  setuid(1000);
  R(open_by_handle_at(AT_FDCWD, &a.h, O_RDONLY));
  return 0;
}
