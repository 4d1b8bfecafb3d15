/* Paths that are walked again and again while what they lead through changes. */
#include "t.h"

#include <linux/fs.h>
#include <sys/mount.h>

static int first = 1;
static void look(const char *path) {
  struct stat st;
  int r = 0, again = 0;
  for (int i = 0; i < 4; i++) {
    errno = 0;
    r = stat(path, &st) ? errno : S_ISREG(st.st_mode) ? (int)st.st_size : 0;
    if (i && r != again)
      printf("differs: ");
    again = r;
  }
  if (r && errno)
    printf("%s%s: %s", first ? "" : ", ", path, strerrorname_np(r));
  else
    printf("%s%s: %d %o", first ? "" : ", ", path, r, st.st_mode & S_IFMT);
  first = 0;
}
static void looks(const char *what) {
  printf("%s\n  ", what);
  first = 1;
  look("a/b/c/f");
  look("a/b/c/");
  look("a/b/c/f/");
  look("a/b/../b/c/f");
  look("a/b/l");
  look("a/b/l/f");
  look("a/z/c/f");
  look("./a/b/c/f");
  printf("\n");
  fflush(stdout);
}
static void tree(void) {
  mkdir("a", 0755);
  mkdir("a/b", 0755);
  mkdir("a/b/c", 0755);
  put("a/b/c/f", "one");
  symlink("c", "a/b/l");
}
static void apart(void (*what)(void)) {
  fflush(stdout);
  pid_t p = fork();
  if (!p) {
    what();
    _exit(0);
  }
  waitpid(p, NULL, 0);
}
static void as_nobody(void) {
  setgid(65534);
  setuid(65534);
  looks("as nobody");
}
static void in_namespace(void) {
  OK(unshare(CLONE_NEWNS));
  OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
  looks("its own mounts");
  OK(mount("t", "a/b", "tmpfs", 0, NULL));
  looks("covered");
  mkdir("a/b/c", 0755);
  put("a/b/c/f", "covered now");
  looks("filled");
  OK(mount("a/b/c", "a", NULL, MS_BIND, NULL));
  looks("bound over");
  OK(umount2("a", MNT_DETACH));
  looks("unbound");
  OK(umount("a/b"));
  looks("uncovered");
}
static void in_root(void) {
  char here[PATH_MAX], path[PATH_MAX + 16];
  snprintf(path, sizeof path, "%s/a/b/c", getcwd(here, sizeof here));
  struct stat st;
  for (int i = 0; i < 4; i++)
    R(stat("/a/b/c", &st));
  R(chroot("."));
  for (int i = 0; i < 4; i++) {
    R(stat("/a/b/c", &st));
    if (stat(path, &st) != -1)
      printf("still there\n");
  }
  R(chdir("/a"));
  looks("elsewhere");
}
int main(void) {
  umask(022);
  looks("nothing");
  tree();
  looks("made");
  put("a/b/c/f", "twelve bytes");
  looks("longer");
  R(rename("a/b", "a/z"));
  looks("renamed");
  R(rename("a/z", "a/b"));
  looks("and back");
  R(unlink("a/b/c/f"));
  looks("unlinked");
  put("a/b/c/f", "new");
  looks("anew");
  put("g", "over it");
  R(rename("g", "a/b/c/f"));
  looks("replaced");
  mkdir("x", 0755);
  put("x/f", "exchanged");
  R(syscall(SYS_renameat2, AT_FDCWD, "x", AT_FDCWD, "a/b/c", RENAME_EXCHANGE));
  looks("exchanged");
  R(rename("a/b/c", "y"));
  looks("moved away");
  R(symlink("../../x", "a/b/c"));
  looks("a link in its place");
  R(unlink("a/b/c"));
  put("a/b/c", "a file");
  looks("a file in its place");
  R(unlink("a/b/c"));
  R(rename("y", "a/b/c"));
  apart(as_nobody);
  R(chmod("a/b", 0700));
  apart(as_nobody);
  looks("as root");
  R(chmod("a/b", 0711));
  apart(as_nobody);
  int fd = open("a/b", O_PATH | O_DIRECTORY);
  R(chdir("a"));
  looks("from a");
  R(chdir(".."));
  R(fchownat(fd, "", 65534, 65534, AT_EMPTY_PATH));
  R(chmod("a/b", 0700));
  apart(as_nobody);
  apart(in_namespace);
  apart(in_root);
  R(unlink("a/b/c/f"));
  R(rmdir("a/b/c"));
  looks("removed");
  return 0;
}
