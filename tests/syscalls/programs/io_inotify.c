#include "t.h"

#include <sys/inotify.h>
static int fd;
static void show(const char *w) {
  char b[4096];
  printf("%s:", w);
  ssize_t n = read(fd, b, sizeof b);
  if (n < 0) printf(" %s", strerrorname_np(errno));
  for (char *p = b; p < b + n;) {
    struct inotify_event *e = (void *)p;
    printf(" %x/%d%s%s%s", e->mask, e->wd, e->len ? "/" : "", e->len ? e->name : "", e->cookie ? "*" : "");
    p += sizeof *e + e->len;
  }
  puts("");
}
int main(void) {
  fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  mkdir("d", 0755);
  R(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
  show("nothing");
  put("d/f", "x");
  show("create");
  close(open("d/f", O_RDONLY));
  show("open");
  chmod("d/f", 0600);
  show("attrib");
  rename("d/f", "d/g");
  show("rename");
  rename("d/g", "out");
  show("moved out");
  rename("out", "d/in");
  show("moved in");
  R(inotify_add_watch(fd, "d/in", IN_MODIFY | IN_DELETE_SELF | IN_ATTRIB));
  int f = open("d/in", O_WRONLY);
  show("open");
  write(f, "a", 1);
  show("write");
  close(f);
  unlink("d/in");
  show("unlink");
  mkdir("d/sub", 0755);
  rmdir("d/sub");
  show("directory");
  R(inotify_rm_watch(fd, 1));
  show("removed");
  R(inotify_rm_watch(fd, 1));
  R(inotify_rm_watch(0, 1));
  R(inotify_add_watch(fd, "absent", IN_ALL_EVENTS));
  R(inotify_add_watch(fd, "d", 0));
  R(inotify_add_watch(0, "d", IN_CREATE));
  put("f", "");
  R(inotify_add_watch(fd, "f", IN_CREATE | IN_ONLYDIR));
  R(inotify_add_watch(fd, "f", IN_MODIFY | IN_ONESHOT));
  put("f", "abc");
  put("f", "abc");
  show("oneshot");
  rmdir("d");
  char b[10];
  R(inotify_add_watch(fd, "f", IN_MODIFY));
  put("f", "q");
  R(read(fd, b, 5));
  R(inotify_init1(0x5));
  return 0;
}
