/* fsopen(2), fsconfig(2), fsmount(2), fspick(2), open_tree(2), move_mount(2), mount_setattr(2). */
#include "t.h"
#include <sys/mount.h>
#include <sys/statfs.h>

#define fsopen_(a, b) syscall(430, a, b)
#define fsconfig_(a, b, c, d, e) syscall(431, a, b, c, d, e)
#define fsmount_(a, b, c) syscall(432, a, b, c)
#define fspick_(a, b, c) syscall(433, a, b, c)
#define open_tree_(a, b, c) syscall(428, a, b, c)
#define move_mount_(a, b, c, d, e) syscall(429, a, b, c, d, e)
#define setattr_(a, b, c, d, e) syscall(442, a, b, c, d, e)

static struct attr {
  uint64_t set, clr, propagation, users, more;
} at;

static void there(const char *path) {
  printf("%s %s\n", path, access(path, F_OK) ? "no" : "yes");
  fflush(stdout);
}

static void said(int fd) {
  char b[200];
  int n = read(fd, b, sizeof b);
  if (n < 0) printf("nothing: %s\n", strerrorname_np(errno));
  else printf("%.*s", n, b);
  fflush(stdout);
}

static void flags(const char *where) {
  struct statfs s;
  if (statfs(where, &s)) puts(strerrorname_np(errno));
  else printf("%s %lx\n", where, (long)s.f_flags & 0x3fcf);
  fflush(stdout);
}

static void lines(const char *what) {
  FILE *f = fopen("/proc/self/mountinfo", "r");
  char l[1000];
  int n = 0;
  while (fgets(l, 1000, f)) n += strstr(l, what) != 0;
  fclose(f);
  printf("%d mounts of %s\n", n, what);
}

static void configuring(void) {
  puts("- fsopen, fsconfig");
  R(fsopen_("nothing", 0));
  R(fsopen_("tmpfs", 2));
  R(fsopen_(0, 0));
  int fd = fsopen_("tmpfs", 1);
  N(fcntl(fd, F_GETFD));
  N(fcntl(fd, F_GETFL) & 3);
  said(fd);
  R(fsconfig_(-1, 0, "ro", 0, 0));
  R(fsconfig_(999, 0, "ro", 0, 0));
  R(fsconfig_(0, 0, "ro", 0, 0));
  R(fsconfig_(fd, 99, "ro", 0, 0));
  R(fsconfig_(fd, 0, 0, 0, 0));
  R(fsconfig_(fd, 0, "ro", "x", 0));
  R(fsconfig_(fd, 0, "ro", 0, 1));
  R(fsconfig_(fd, 1, "size", 0, 0));
  R(fsconfig_(fd, 1, "size", "1m", 1));
  R(fsconfig_(fd, 2, "size", "1m", 0));
  R(fsconfig_(fd, 2, "size", "1m", 1 << 21));
  R(fsconfig_(fd, 3, "size", "/", -5));
  R(fsconfig_(fd, 5, "size", 0, -1));
  R(fsconfig_(fd, 5, "size", 0, 999));
  R(fsconfig_(fd, 6, "x", 0, 0));
  R(fsconfig_(fd, 7, 0, 0, 0));
  R(fsconfig_(fd, 1, "nonsense", "1", 0));
  R(fsconfig_(fd, 0, "more", 0, 0));
  char b[4];
  R(read(fd, b, 4));
  said(fd), said(fd), said(fd);
  R(fsconfig_(fd, 1, "size", "bogus", 0));
  R(fsconfig_(fd, 0, "size", 0, 0));
  R(fsconfig_(fd, 2, "size", "1m", 2));
  R(fsconfig_(fd, 5, "size", 0, 0));
  said(fd);
  char big[400];
  memset(big, 'a', 399), big[399] = 0;
  R(fsconfig_(fd, 1, "source", big, 0));
  R(fsconfig_(fd, 1, big, "x", 0));
  R(fsconfig_(fd, 1, "size", 1, 0));
  R(fsconfig_(fd, 1, "source", "from", 0));
  R(fsconfig_(fd, 1, "source", "again", 0));
  R(fsconfig_(fd, 0, "source", 0, 0));
  R(fsconfig_(fd, 1, "size", "64k", 0));
  R(fsconfig_(fd, 1, "mode", "750", 0));
  R(fsconfig_(fd, 0, "sync", 0, 0));
  R(fsmount_(fd, 0, 0)); /* not made yet */
  R(fsconfig_(fd, 6, 0, 0, 0));
  R(fsconfig_(fd, 6, 0, 0, 0));
  R(fsconfig_(fd, 1, "size", "64k", 0));
  R(fsmount_(fd, 2, 0));
  R(fsmount_(fd, 0, 0x70));
  R(fsmount_(fd, 0, 0x100000));
  R(fsmount_(0, 0, 0));
  R(fsmount_(999, 0, 0));
  int m = fsmount_(fd, 1, 2 | 8 | 0x10);
  C(m >= 0);
  N(fcntl(m, F_GETFD));
  N(fcntl(m, F_GETFL) == O_PATH);
  R(fsmount_(fd, 0, 0));
  R(write(m, "x", 1));
  int f = openat(m, "inside", O_CREAT | O_RDWR, 0644);
  C(f >= 0);
  R(write(f, "hi", 2));
  close(f);
  lines("from");
  R(move_mount_(m, "", AT_FDCWD, "d", 0));
  R(move_mount_(m, "", AT_FDCWD, "d", 0x1000));
  R(move_mount_(m, "", AT_FDCWD, "none", 4));
  R(move_mount_(m, "", AT_FDCWD, "file", 4));
  R(move_mount_(m, "inside", AT_FDCWD, "d", 4));
  R(move_mount_(m, "", AT_FDCWD, "d", 4));
  there("d/inside");
  lines("from");
  flags("d");
  struct stat st;
  stat("d", &st);
  printf("%o\n", st.st_mode);
  R(move_mount_(m, "", AT_FDCWD, "e", 4)); /* it is an ordinary mount now */
  there("d/inside"), there("e/inside");
  close(m);
  there("e/inside");
  /* the descriptor reconfigures now */
  R(fsconfig_(fd, 1, "size", "128k", 0));
  R(fsconfig_(fd, 6, 0, 0, 0));
  R(fsconfig_(fd, 7, 0, 0, 0));
  R(fsconfig_(fd, 0, "ro", 0, 0));
  f = open("e/inside", O_WRONLY);
  R(fsconfig_(fd, 7, 0, 0, 0)); /* busy */
  R(fsconfig_(fd, 7, 0, 0, 0));
  R(fsconfig_(fd, 0, "ro", 0, 0));
  close(f);
  close(fd);
  fd = fspick_(AT_FDCWD, "e", 1);
  C(fd >= 0);
  R(fspick_(AT_FDCWD, "e", 16));
  R(fspick_(AT_FDCWD, "e/inside", 0));
  R(fspick_(AT_FDCWD, "none", 0));
  R(fspick_(AT_FDCWD, "", 0));
  R(fsmount_(fd, 0, 0));
  R(fsconfig_(fd, 6, 0, 0, 0));
  R(fsconfig_(fd, 0, "ro", 0, 0));
  R(fsconfig_(fd, 7, 0, 0, 0));
  flags("e");
  R(open("e/x", O_CREAT, 0644));
  R(access("e", W_OK));
  R(mount("e", "d", 0, MS_BIND, 0));
  R(open("d/x", O_CREAT, 0644));
  R(umount("d"));
  R(fsconfig_(fd, 0, "rw", 0, 0));
  R(fsconfig_(fd, 7, 0, 0, 0));
  flags("e");
  R(fsconfig_(fd, 1, "size", "4k", 0));
  R(fsconfig_(fd, 7, 0, 0, 0));
  R(fsconfig_(fd, 7, 0, 0, 0));
  f = open("e/big", O_CREAT | O_WRONLY, 0644);
  char data[9000] = {1};
  R(write(f, data, sizeof data));
  close(f);
  close(fd);
  /* and with mount(2): what is open for writing keeps it writable */
  f = open("e/inside", O_WRONLY);
  R(mount(0, "e", 0, MS_REMOUNT | MS_RDONLY, 0));
  R(mount(0, "e", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0));
  close(f);
  R(mount(0, "e", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0));
  R(mount(0, "e", 0, MS_REMOUNT | MS_BIND, 0));
  R(mount(0, "e", 0, MS_REMOUNT | MS_RDONLY, 0));
  flags("e");
  R(mount(0, "e", 0, MS_REMOUNT | MS_BIND, 0));
  R(open("e/x", O_CREAT, 0644)); /* the file system still is */
  R(mount(0, "e", 0, MS_REMOUNT, 0));
  R(close(open("e/x", O_CREAT, 0644)));
  R(umount("e"));
  R(close(fsopen_("proc", 0)));
  fd = fsopen_("proc", 0);
  R(fsconfig_(fd, 1, "foo", "bar", 0));
  said(fd);
  R(fsconfig_(fd, 6, 0, 0, 0));
  m = fsmount_(fd, 0, 0);
  R(faccessat(m, "self/stat", F_OK, 0));
  close(m), close(fd);
}

static void trees(void) {
  puts("- open_tree, move_mount");
  R(mount("t", "d", "tmpfs", 0, 0));
  mkdir("d/sub", 0755), mkdir("d/under", 0755);
  put("d/one", "");
  R(mount("u", "d/sub", "tmpfs", 0, 0));
  put("d/sub/two", "");
  R(open_tree_(AT_FDCWD, "d", 0x8000));
  R(open_tree_(AT_FDCWD, "d", 2));
  R(open_tree_(AT_FDCWD, "none", 1));
  R(open_tree_(AT_FDCWD, "", 1));
  R(open_tree_(999, "", 0x1000));
  int fd = open_tree_(AT_FDCWD, "d/one", O_CLOEXEC);
  N(fcntl(fd, F_GETFL) == O_PATH);
  N(fcntl(fd, F_GETFD));
  char b[10];
  R(read(fd, b, 1));
  close(fd);
  int plain = open_tree_(AT_FDCWD, "d", 1), all = open_tree_(AT_FDCWD, "d", 1 | 0x8000);
  R(faccessat(plain, "one", F_OK, 0));
  R(faccessat(plain, "sub/two", F_OK, 0));
  R(faccessat(all, "sub/two", F_OK, 0));
  R(move_mount_(all, "sub", AT_FDCWD, "e", 0)); /* only the top of such a tree */
  R(move_mount_(all, "", AT_FDCWD, "e", 4));
  there("e/one"), there("e/sub/two");
  lines("/sub");
  R(move_mount_(AT_FDCWD, "e/sub", AT_FDCWD, "e/under", 0));
  there("e/sub/two"), there("e/under/two");
  R(move_mount_(AT_FDCWD, "e", AT_FDCWD, "e/under", 0));
  R(move_mount_(AT_FDCWD, "e/under", AT_FDCWD, "e/one", 0));
  R(move_mount_(AT_FDCWD, "e/one", AT_FDCWD, "e/sub", 0));
  R(umount2("e", MNT_DETACH));
  close(all);
  R(mount(0, "d", 0, MS_SHARED, 0));
  R(move_mount_(AT_FDCWD, "d/sub", AT_FDCWD, "e", 0)); /* out of a shared one */
  R(move_mount_(plain, "", AT_FDCWD, "d/under", 4));
  lines("/under");
  there("d/under/one");
  R(umount("d/under"));
  fd = open_tree_(AT_FDCWD, "d/one", 1); /* a file */
  R(move_mount_(fd, "", AT_FDCWD, "e", 4));
  R(move_mount_(fd, "", AT_FDCWD, "file", 4));
  R(umount("file"));
  close(fd), close(plain);
  fd = open_tree_(AT_FDCWD, "d", 1);
  R(fchdir(fd));
  there("one");
  close(fd);
  there("one");
  chdir("/tmp/mapi");
  /* links */
  symlink("d", "link");
  fd = open_tree_(AT_FDCWD, "link", 0x100);
  struct stat st;
  fstat(fd, &st);
  C(S_ISLNK(st.st_mode));
  close(fd);
  /* groups */
  R(mount(0, "d/sub", 0, MS_PRIVATE, 0));
  mkdir("d/sub/in", 0755);
  R(mount("d/sub", "e", 0, MS_BIND, 0));
  R(move_mount_(AT_FDCWD, "d/sub", AT_FDCWD, "e", 0x100)); /* private */
  R(mount(0, "d/sub", 0, MS_SHARED, 0));
  R(move_mount_(AT_FDCWD, "d/sub", AT_FDCWD, "e", 0x100));
  R(move_mount_(AT_FDCWD, "d/sub", AT_FDCWD, "e", 0x100)); /* has one already */
  R(move_mount_(AT_FDCWD, "d/sub", AT_FDCWD, "d", 0x100)); /* another file system */
  R(mount("v", "e/in", "tmpfs", 0, 0));
  put("e/in/heard", "");
  there("d/sub/in/heard");
  R(umount2("e", MNT_DETACH));
  R(umount2("d", MNT_DETACH));
}

static void attributes(void) {
  puts("- mount_setattr");
  R(mount("t", "d", "tmpfs", 0, 0));
  mkdir("d/sub", 0755);
  R(mount("u", "d/sub", "tmpfs", 0, 0));
  at = (struct attr){0};
  R(setattr_(AT_FDCWD, "d", 0, &at, 31));
  R(setattr_(AT_FDCWD, "d", 0, &at, 5000));
  R(setattr_(AT_FDCWD, "d", 0, &at, 40));
  at.more = 1;
  R(setattr_(AT_FDCWD, "d", 0, &at, 40));
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  R(setattr_(AT_FDCWD, "none", 0, &at, 32)); /* nothing to do */
  R(setattr_(AT_FDCWD, "d", 0, 0, 32));
  R(setattr_(AT_FDCWD, "d", 1, &at, 32));
  at.set = 1 | 2;
  R(setattr_(AT_FDCWD, "none", 0, &at, 32));
  R(setattr_(AT_FDCWD, "file", 0, &at, 32));
  int f = open("d/w", O_CREAT | O_WRONLY, 0644);
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  close(f);
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  flags("d"), flags("d/sub");
  R(open("d/x", O_CREAT, 0644));
  at.set = 8;
  at.clr = 1;
  R(setattr_(AT_FDCWD, "d", 0x8000, &at, 32));
  flags("d"), flags("d/sub");
  at.set = 0x10, at.clr = 0;
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  at.clr = 0x10;
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  at.clr = 0x70;
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  flags("d");
  at.set = 0x30;
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  at.set = 0x20 | 0x80 | 0x200000;
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  flags("d");
  at.set = 0;
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  flags("d");
  at = (struct attr){.set = 1ull << 40};
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  at = (struct attr){.propagation = MS_SHARED | MS_SLAVE};
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  at.propagation = MS_RDONLY;
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  at.propagation = MS_SHARED;
  R(setattr_(AT_FDCWD, "d", 0x8000, &at, 32));
  R(mount("d", "e", 0, MS_BIND | MS_REC, 0));
  mkdir("d/sub/p", 0755);
  R(mount("v", "d/sub/p", "tmpfs", 0, 0));
  put("d/sub/p/heard", "");
  there("e/sub/p/heard");
  R(umount2("e", MNT_DETACH));
  int fd = open_tree_(AT_FDCWD, "d", 1);
  at = (struct attr){.set = 1};
  R(setattr_(fd, "", 0x1000, &at, 32));
  R(setattr_(fd, "", 0, &at, 32));
  R(openat(fd, "x", O_CREAT, 0644));
  R(close(open("d/x", O_CREAT, 0644)));
  close(fd);
  R(umount2("d", MNT_DETACH));
}

static void less_privileged(void) {
  puts("- less privileged");
  R(mount("t", "d", "tmpfs", MS_NOSUID | MS_RDONLY, 0));
  setresgid(1000, 1000, 1000), setresuid(1000, 1000, 1000);
  R(fsopen_("tmpfs", 0));
  R(fspick_(AT_FDCWD, "d", 0));
  R(open_tree_(AT_FDCWD, "d", 1));
  R(move_mount_(AT_FDCWD, "d", AT_FDCWD, "e", 0));
  at = (struct attr){.set = 1};
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  int fd = open_tree_(AT_FDCWD, "d", 0);
  C(fd >= 0);
  close(fd);
  R(unshare(CLONE_NEWUSER | CLONE_NEWNS));
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  at = (struct attr){.clr = 1};
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  at.clr = 2;
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  at = (struct attr){.set = 0x10, .clr = 0x70};
  R(setattr_(AT_FDCWD, "d", 0, &at, 32));
  R(open_tree_(AT_FDCWD, "/", 1));
  fd = open_tree_(AT_FDCWD, "d", 1);
  C(fd >= 0);
  R(move_mount_(AT_FDCWD, "d", AT_FDCWD, "e", 0));
  R(move_mount_(fd, "", AT_FDCWD, "e", 4));
  R(umount("e"));
  fd = fspick_(AT_FDCWD, "d", 0);
  C(fd >= 0);
  R(fsconfig_(fd, 7, 0, 0, 0));
  fd = fsopen_("ext4", 0);
  fd = fsopen_("tmpfs", 0);
  R(fsconfig_(fd, 6, 0, 0, 0));
  fd = fsmount_(fd, 0, 0);
  R(move_mount_(fd, "", AT_FDCWD, "e", 4));
  flags("e");
}

int main(void) {
  unshare(CLONE_NEWNS);
  mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
  mkdir("/tmp/mapi", 0755);
  mount("base", "/tmp/mapi", "tmpfs", 0, 0);
  chdir("/tmp/mapi");
  mkdir("d", 0777), mkdir("e", 0777);
  put("file", "");
  CHILD("configuring", configuring());
  CHILD("trees", trees());
  CHILD("attributes", attributes());
  CHILD("less privileged", less_privileged());
  chdir("/");
  umount2("/tmp/mapi", MNT_DETACH);
  return rmdir("/tmp/mapi");
}
