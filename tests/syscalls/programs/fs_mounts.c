/* mount(2) and umount2(2): kinds, bind, move, flags, limits, refusals, and what
 * /proc/self/mountinfo says. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#define R(x)                                                                                       \
  do {                                                                                             \
    errno = 0;                                                                                     \
    long r_ = (long)(x);                                                                           \
    printf("%s = %ld %s\n", #x, r_<0 ? -1 : r_> 4096 ? 1 : r_,                                     \
           r_ < 0 ? strerrorname_np(errno) : "");                                                  \
  } while (0)
static void cat(const char *p) {
  char b[200] = {0};
  int f = open(p, 0);
  if (f < 0) {
    printf("cat %s %s\n", p, strerrorname_np(errno));
    return;
  }
  int n = read(f, b, 199);
  printf("cat %s: %d %s\n", p, n, b);
  close(f);
}
static void put(const char *p, const char *s) {
  int f = open(p, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (f < 0) {
    printf("put %s %s\n", p, strerrorname_np(errno));
    return;
  }
  write(f, s, strlen(s));
  close(f);
}
static void ls(const char *p) {
  struct dirent **d;
  int n = scandir(p, &d, 0, alphasort);
  printf("ls %s:", p);
  for (int i = 0; i < n; i++)
    if (d[i]->d_name[0] != '.')
      printf(" %s", d[i]->d_name);
  puts("");
}
static void mi(const char *pre) {
  FILE *f = fopen("/proc/self/mountinfo", "r");
  char l[1000];
  while (fgets(l, 1000, f)) {
    char *t = strstr(l, "/mm");
    if (!t)
      continue;
    int id, par, ma, mn;
    char root[200], mp[200], opt[200], rest[500];
    sscanf(l, "%d %d %d:%d %s %s %s %[^\n]", &id, &par, &ma, &mn, root, mp, opt, rest);
    char *d = strstr(rest, "- ");
    printf("  %s %s %s %s\n", strrchr(root, '/'), mp, opt, d ? d : "");
  }
  fclose(f);
  (void)pre;
}
int main(void) {
  setvbuf(stdout, 0, _IONBF, 0);
  if (unshare(CLONE_NEWNS) == 0)
    mount("none", "/", 0, MS_REC | MS_PRIVATE, 0);
  mkdir("/tmp/mm", 0755);
  R(mount("tm", "/tmp/mm", "tmpfs", 0, "size=1m,mode=750"));
  struct stat st;
  stat("/tmp/mm", &st);
  printf("mode %o nlink %d\n", st.st_mode, (int)st.st_nlink);
  struct statfs sf;
  statfs("/tmp/mm", &sf);
  printf("type %lx blocks %ld bsize %ld flags %lx\n", (long)sf.f_type, (long)sf.f_blocks,
         (long)sf.f_bsize, (long)sf.f_flags & 0x3f);
  chdir("/tmp/mm");
  mkdir("a", 0755);
  mkdir("b", 0755);
  mkdir("c", 0755);
  put("a/f", "hello");
  put("b/g", "world");
  put("file", "x");
  put("file2", "y");
  R(mount("a", "b", 0, MS_BIND, 0));
  ls("b");
  cat("b/f");
  R(umount("b"));
  ls("b");
  R(mount("file", "file2", 0, MS_BIND, 0));
  cat("file2");
  R(unlink("file2"));
  R(rename("file2", "q"));
  R(rename("file", "z"));
  R(rename("z", "file"));
  R(umount("file2"));
  R(mount("a", "file", 0, MS_BIND, 0));
  R(mount("file", "a", 0, MS_BIND, 0));
  R(mount("nope", "a", 0, MS_BIND, 0));
  R(mount("a", "nope", 0, MS_BIND, 0));
  R(mount("x", "a", "nofs", 0, 0));
  R(mount("x", "a", 0, 0, 0));
  R(mount(0, "a", "tmpfs", 0, 0));
  R(umount("a"));
  R(umount("a"));
  R(mount("a", "b", 0, MS_BIND, 0));
  R(mount(0, "b", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0));
  put("b/n", "x");
  put("a/n", "x");
  R(mkdir("b/d", 0));
  R(unlink("b/f"));
  R(access("b/f", W_OK));
  R(chmod("b/f", 0600));
  R(truncate("b/f", 0));
  R(setxattr("b/f", "user.x", "1", 1, 0));
  R(utimensat(AT_FDCWD, "b/f", 0, 0));
  R(link("b/f", "b/l"));
  R(rename("b/f", "b/l"));
  R(rename("b/f", "c/l"));
  R(open("b/f", O_RDWR));
  R(open("b/f", O_RDONLY) < 0 ? -1 : 0);
  R(symlink("x", "b/s"));
  R(mknod("b/p", S_IFIFO | 0600, 0));
  mi("");
  R(umount2("b", MNT_EXPIRE));
  R(umount2("b", 0x100));
  R(umount2("b", UMOUNT_NOFOLLOW));
  R(umount("c"));
  R(umount("nope"));
  R(mount("s", "c", "tmpfs", MS_NOEXEC | MS_NOSUID | MS_NODEV | MS_NOATIME, ""));
  put("c/x", "#!/bin/sh\necho run\n");
  chmod("c/x", 0755);
  fflush(stdout);
  R(access("c/x", X_OK));
  if (!fork()) {
    execl("c/x", "x", 0);
    printf("exec %s\n", strerrorname_np(errno));
    _exit(0);
  }
  wait(0);
  int cf = open("c/x", O_RDONLY);
  void *m = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, cf, 0);
  printf("mmap exec %s\n", m == MAP_FAILED ? strerrorname_np(errno) : "ok");
  m = mmap(0, 4096, PROT_READ, MAP_PRIVATE, cf, 0);
  R(mprotect(m, 4096, PROT_READ | PROT_EXEC));
  R(umount("c"));
  munmap(m, 4096);
  close(cf);
  R(mknod("c/null", S_IFCHR | 0666, 0x103));
  R(open("c/null", O_RDWR));
  mi("");
  R(umount2("c", MNT_DETACH));
  ls("c");
  R(mount("a", "b", 0, MS_BIND, 0));
  R(mkdir("b/sub", 0755));
  R(mount("z", "b/sub", "tmpfs", 0, 0));
  put("b/sub/deep", "1");
  mkdir("d", 0755);
  R(mount("b", "d", 0, MS_BIND, 0));
  ls("d/sub");
  R(umount("d"));
  R(mount("b", "d", 0, MS_BIND | MS_REC, 0));
  ls("d/sub");
  mi("");
  R(umount("b"));
  R(umount2("d", MNT_DETACH));
  R(umount("b/sub"));
  R(umount("b"));
  mkdir("e", 0755);
  R(mount("t", "e", "tmpfs", 0, 0));
  put("e/k", "k");
  mkdir("f", 0755);
  R(mount("e", "f", 0, MS_MOVE, 0));
  ls("e");
  ls("f");
  R(mount("f", "f", 0, MS_MOVE, 0));
  mkdir("f/in", 0755);
  R(mount("f", "f/in", 0, MS_MOVE, 0));
  R(mount("a", "f", 0, MS_MOVE, 0));
  R(rmdir("f"));
  R(rename("f", "g"));
  R(mount("u", "f", "tmpfs", 0, 0));
  ls("f");
  R(umount("f"));
  ls("f");
  R(chdir("f"));
  R(umount("/tmp/mm/f"));
  R(umount2("/tmp/mm/f", MNT_DETACH));
  char cwd[200];
  R((long)getcwd(cwd, 200));
  if (errno == 0)
    puts(cwd);
  cat("k");
  chdir("/tmp/mm");
  R(mount("p", "e", "proc", 0, 0));
  R(access("e/self/stat", R_OK));
  R(umount("e"));
  R(mount("s", "e", "sysfs", 0, 0));
  R(access("e/kernel", R_OK));
  R(umount("e"));
  R(mount("d", "e", "devpts", 0, "newinstance,ptmxmode=0666"));
  R(access("e/ptmx", R_OK));
  R(umount("e"));
  R(mount("o", "e", "tmpfs", 0, "size=bogus"));
  R(mount("o", "e", "tmpfs", 0, "nonsense=1"));
  R(mount("o", "e", "tmpfs", 0, "size=4k,nr_inodes=3"));
  put("e/1", "1");
  put("e/2", "2");
  put("e/3", "3");
  put("e/4", "4");
  int bf = open("e/1", O_WRONLY);
  char big[9000] = {1};
  R(write(bf, big, 9000));
  R(write(bf, big, 1));
  close(bf);
  R(mount(0, "e", 0, MS_REMOUNT, "size=64k"));
  bf = open("e/1", O_WRONLY);
  R(write(bf, big, 9000));
  close(bf);
  R(umount("e"));
  R(mount("o", "e", "ramfs", 0, 0));
  R(umount("e"));
  R(mount(0, "/tmp/mm", 0, MS_SHARED, 0));
  R(mount(0, "/tmp/mm", 0, MS_PRIVATE, 0));
  R(mount(0, "a", 0, MS_PRIVATE, 0));
  R(mount(0, "/tmp/mm", 0, MS_SLAVE | MS_SHARED, 0));
  R(mount(0, "/tmp/mm", 0, MS_UNBINDABLE, 0));
  R(mount("/tmp/mm", "/tmp/mm/a", 0, MS_BIND, 0));
  if (!fork()) {
    R(setuid(1000));
    R(mount("t", "a", "tmpfs", 0, 0));
    R(umount("/tmp/mm"));
    _exit(0);
  }
  wait(0);
  /* links that are not followed, atime that always changes */
  R(mount("t", "a", "tmpfs", 256, 0)); /* MS_NOSYMFOLLOW */
  symlink("target", "a/link"), close(open("a/target", O_CREAT, 0644));
  R(open("a/link", O_RDONLY));
  R(open("a/target", O_RDONLY) >= 0);
  R(readlink("a/link", big, 20));
  statfs("a", &sf);
  printf("%ld\n", (long)sf.f_flags & 8192);
  R(mount(0, "a", 0, MS_REMOUNT | MS_BIND | MS_STRICTATIME, 0));
  statfs("a", &sf);
  printf("%ld\n", (long)sf.f_flags & (8192 | 4096));
  struct stat s1, s2;
  bf = open("a/target", O_RDWR);
  write(bf, "x", 1);
  for (int i = 0; i < 2; i++) usleep(20000), pread(bf, big, 1, 0), fstat(bf, i ? &s2 : &s1);
  R(s2.st_atim.tv_nsec != s1.st_atim.tv_nsec || s2.st_atime != s1.st_atime);
  R(mount(0, "a", 0, MS_REMOUNT | MS_BIND, 0));
  for (int i = 0; i < 2; i++) usleep(20000), pread(bf, big, 1, 0), fstat(bf, i ? &s2 : &s1);
  R(s2.st_atim.tv_nsec == s1.st_atim.tv_nsec && s2.st_atime == s1.st_atime);
  close(bf);
  R(umount2("a", MNT_DETACH));
  chdir("/");
  R(umount("/tmp/mm"));
  R(rmdir("/tmp/mm"));
  return 0;
}
