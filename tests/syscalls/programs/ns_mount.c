/* Mount namespaces: copies, whose changes stay inside; what a less privileged owner may not do; pivot_root; propagation. */
#include "t.h"
#include <sys/mount.h>

static int pivot(const char *a, const char *b) { return syscall(SYS_pivot_root, a, b); }

static void there(const char *path) {
  printf("%s %s\n", path, access(path, F_OK) ? "no" : "yes");
  fflush(stdout);
}

static void propagation(void) {
  puts("- propagation");
  R(unshare(CLONE_NEWNS));
  R(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
  mkdir("p", 0755);
  R(mount("p", "p", "tmpfs", 0, 0));
  chdir("p");
  mkdir("a", 0755), mkdir("b", 0755), mkdir("c", 0755), mkdir("d", 0755);
  R(mount("a", "a", "tmpfs", 0, 0));
  mkdir("a/x", 0755), mkdir("a/y", 0755), mkdir("a/z", 0755);
  R(mount(0, "a", 0, MS_SHARED, 0));
  R(mount("a", "b", 0, MS_BIND, 0));
  R(mount("a", "c", 0, MS_BIND, 0));
  R(mount(0, "c", 0, MS_SLAVE, 0));
  R(mount("a", "d", 0, MS_BIND, 0));
  R(mount(0, "d", 0, MS_PRIVATE, 0));
  R(mount("t", "a/x", "tmpfs", 0, 0));
  put("a/x/f", "");
  there("b/x/f"), there("c/x/f"), there("d/x/f");
  R(mount("t", "b/y", "tmpfs", 0, 0));
  put("b/y/f", "");
  there("a/y/f"), there("c/y/f"), there("d/y/f");
  R(mount("t", "c/z", "tmpfs", 0, 0));
  put("c/z/f", "");
  there("a/z/f"), there("b/z/f");
  R(umount("b/x"));
  there("a/x/f"), there("b/x/f"), there("c/x/f");
  R(mount(0, "c", 0, MS_SHARED, 0)); /* slave and shared */
  mkdir("e", 0755);
  R(mount("c", "e", 0, MS_BIND, 0));
  R(mount("t", "a/x", "tmpfs", 0, 0));
  put("a/x/g", "");
  there("c/x/g"), there("e/x/g");
  int n[2];
  char c;
  pipe(n);
  int m[2];
  pipe(m);
  fflush(stdout);
  if (!fork()) {
    R(unshare(CLONE_NEWNS));
    R(mount(0, "c", 0, MS_SLAVE, 0));
    R(mount("t", "b/z", "tmpfs", 0, 0)); /* seen outside: still peers */
    put("b/z/h", "");
    write(n[1], "", 1);
    read(m[0], &c, 1);
    there("a/y/late");
    exit(0);
  }
  read(n[0], &c, 1);
  there("a/z/h");
  R(umount("b/y"));
  R(mount("t", "b/y", "tmpfs", 0, 0));
  put("b/y/late", "");
  write(m[1], "", 1);
  wait(0);
  R(mkdir("b/y/self", 0755));
  R(mount("b/y", "b/y/self", 0, MS_BIND, 0)); /* of one group with what it is mounted on */
  there("a/y/self/self"), there("a/y/self/self/self");
  R(umount("b/y/self"));
  R(mount(0, "d", 0, MS_UNBINDABLE, 0));
  mkdir("e/q", 0755);
  R(mount("d", "e", 0, MS_BIND, 0));
  R(mount("d", "d", 0, MS_MOVE, 0));
  R(mount("a", "a", 0, MS_SHARED | MS_PRIVATE, 0));
  R(mount(0, "nothing", 0, MS_SHARED, 0));
  R(mount(0, "a/z", 0, MS_SHARED, 0));
  chdir("..");
  R(umount2("p", MNT_DETACH));
}

int main(void) {
  mkdir("d", 0777);
  fflush(stdout);
  if (!fork()) {
    R(unshare(CLONE_NEWNS));
    R(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
    R(mount("x", "d", "tmpfs", 0, 0));
    put("d/f", "");
    there("d/f");
    exit(0);
  }
  wait(0);
  there("d/f");
  fflush(stdout);
  if (!fork()) {
    propagation();
    exit(0);
  }
  wait(0);
  puts("- another's mounts");
  fflush(stdout);
  if (!fork()) {
    unshare(CLONE_NEWNS);
    mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
    R(mount("x", "d", "tmpfs", MS_NOSUID | MS_RDONLY, 0));
    setresgid(1000, 1000, 1000), setresuid(1000, 1000, 1000);
    R(mount("x", "d", "tmpfs", 0, 0));
    R(umount("d"));
    R(unshare(CLONE_NEWUSER | CLONE_NEWNS));
    R(umount("d"));
    R(mount("d", "/mnt", 0, MS_BIND, 0));
    R(mount(0, "/mnt", 0, MS_REMOUNT | MS_BIND, 0));
    R(mount(0, "/mnt", 0, MS_REMOUNT | MS_BIND | MS_NOSUID, 0));
    R(mount(0, "/mnt", 0, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_RDONLY | MS_NOEXEC, 0));
    R(mount(0, "/mnt", 0, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_RDONLY, 0));
    R(mount(0, "d", 0, MS_REMOUNT, 0));
    R(umount("/mnt"));
    R(mount("d", "/mnt", 0, MS_MOVE, 0));
    R(mount("/", "/mnt", 0, MS_BIND, 0));
    R(mount("/", "/mnt", 0, MS_BIND | MS_REC, 0));
    R(umount2("/mnt", MNT_DETACH));
    R(mount("t", "/mnt", "tmpfs", 0, "mode=755"));
    R(mkdir("/mnt/x", 0755));
    struct stat st;
    stat("/mnt/x", &st);
    printf("%d %d\n", st.st_uid, st.st_gid);
    R(mount("t", "/mnt/x", "ext4", 0, 0));
    R(mount("t", "/mnt/x", "nothing", 0, 0));
    R(mount("t", "/mnt/x", "proc", 0, 0));
    R(umount("/mnt"));
    exit(0);
  }
  wait(0);
  puts("- pivot_root");
  fflush(stdout);
  if (!fork()) {
    R(pivot(".", "."));
    unshare(CLONE_NEWNS);
    mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
    R(pivot("d", "d"));
    R(mount("x", "d", "tmpfs", 0, 0));
    mkdir("d/old", 0755), mkdir("d/bin", 0755);
    put("d/here", "");
    R(pivot("d", "/mnt"));
    R(pivot("d/old", "d/old"));
    chdir("d");
    R(pivot(".", "old"));
    there("/here");
    there("/old/etc/passwd");
    char cwd[100];
    OK(getcwd(cwd, 100));
    puts(cwd);
    R(umount2("/old", MNT_DETACH));
    there("/old/etc/passwd");
    R(mount("y", "/bin", "tmpfs", 0, 0));
    chdir("/bin");
    put("inner", "");
    R(pivot(".", "."));
    R(umount2(".", MNT_DETACH));
    there("/inner");
    there("/here");
    exit(0);
  }
  wait(0);
  fflush(stdout);
  if (!fork()) { /* in a chroot */
    unshare(CLONE_NEWNS);
    mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
    R(mount("x", "d", "tmpfs", 0, 0));
    mkdir("d/n", 0755), mkdir("d/n/o", 0755);
    R(chroot("d"));
    R(pivot("/n", "/n/o"));
    R(mount("y", "/n", "tmpfs", 0, 0));
    mkdir("/n/o", 0755);
    R(chdir("/"));
    R(pivot("/n", "/n/o"));
    there("/o/n");
    exit(0);
  }
  wait(0);
  return 0;
}
