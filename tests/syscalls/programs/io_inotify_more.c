/* inotify: coalescing, moves and their cookies, masks, one-shot, unmount and deletion, limits of the buffer. */
#include "t.h"
#include <sys/inotify.h>
static int fd;
static void events(const char *w) {
  char b[4096] __attribute__((aligned(8)));
  long n = read(fd, b, sizeof b);
  printf("%s:", w);
  unsigned cookie = 0;
  for (char *p = b; n > 0 && p < b + n;) {
    struct inotify_event *e = (void *)p;
    printf(" wd%d %x%s%s%s", e->wd, e->mask, e->len ? " " : "", e->len ? e->name : "", !e->cookie ? "" : e->cookie == cookie ? " same" : " cookie");
    if (e->cookie) cookie = e->cookie;
    p += sizeof *e + e->len;
  }
  puts(n < 0 ? strerrorname_np(errno) : "");
}
int main(void) {
  fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  mkdir("d", 0755), mkdir("e", 0755);
  N(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
  put("d/f", "x");
  events("create, write, close");
  int f = open("d/f", O_RDWR);
  for (int i = 0; i < 5; i++) write(f, "y", 1);
  events("five writes are one");
  write(f, "y", 1);
  char c;
  pread(f, &c, 1, 0), write(f, "y", 1);
  events("unless something is between");
  close(f);
  events("close");
  rename("d/f", "d/g");
  events("rename");
  rename("d/g", "e/g");
  events("away");
  rename("e/g", "d/h");
  events("and back");
  chmod("d/h", 0600), truncate("d/h", 0);
  events("attributes and size");
  mkdir("d/sub", 0755);
  rmdir("d/sub");
  events("a directory");
  symlink("h", "d/s"), link("d/h", "d/l"), unlink("d/l"), unlink("d/s");
  events("links");
  N(inotify_add_watch(fd, "d/h", IN_ATTRIB | IN_DELETE_SELF | IN_MODIFY));
  unlink("d/h");
  events("a watched file goes");
  int gone = open("d/gone", O_RDWR | O_CREAT, 0600);
  unlink("d/gone");
  events("a name goes");
  write(gone, "x", 1), fchmod(gone, 0644);
  events("an open file without a name");
  N(inotify_add_watch(fd, "d", IN_ALL_EVENTS | IN_EXCL_UNLINK));
  write(gone, "x", 1), close(gone);
  events("which IN_EXCL_UNLINK leaves out");
  N(inotify_add_watch(fd, "d", IN_CREATE)); /* replaces the mask */
  put("d/n", "");
  unlink("d/n");
  events("only creation");
  N(inotify_add_watch(fd, "d", IN_DELETE | IN_MASK_ADD));
  put("d/n", ""), unlink("d/n");
  events("and deletion");
  R(inotify_add_watch(fd, "d", IN_CREATE | IN_MASK_CREATE));
  R(inotify_add_watch(fd, "d", IN_MASK_ADD | IN_MASK_CREATE | IN_CREATE));
  N(inotify_add_watch(fd, "e", IN_CREATE | IN_ONESHOT));
  put("e/1", ""), put("e/2", "");
  events("one shot");
  put("file", "");
  R(inotify_add_watch(fd, "file", IN_ONLYDIR | IN_CREATE));
  symlink("d", "lnk");
  N(inotify_add_watch(fd, "lnk", IN_DONT_FOLLOW | IN_DELETE_SELF));
  unlink("lnk");
  events("the link itself");
  R(inotify_add_watch(fd, "none", IN_CREATE));
  R(inotify_add_watch(fd, "d", 0));
  R(inotify_add_watch(1, "d", IN_CREATE));
  R(inotify_add_watch(1000, "d", IN_CREATE));
  R(inotify_add_watch(fd, (void *)8, IN_CREATE));
  R(inotify_rm_watch(fd, 1000));
  R(inotify_rm_watch(1, 1));
  R(inotify_init1(1));
  put("d/a", "");
  int n;
  R(ioctl(fd, FIONREAD, &n));
  N(n);
  char small[4];
  R(read(fd, small, 4));
  R(inotify_rm_watch(fd, 1));
  events("removed");
  int own = inotify_init();
  inotify_add_watch(own, "e", IN_CREATE | IN_ONESHOT);
  inotify_add_watch(own, "d", IN_MODIFY | IN_EXCL_UNLINK | IN_ONLYDIR);
  char name[40], line[200];
  sprintf(name, "/proc/self/fdinfo/%d", own);
  FILE *info = fopen(name, "r");
  while (fgets(line, sizeof line, info))
    if (strstr(line, "mask:")) printf("%.13s\n", strstr(line, "mask:"));
  fclose(info), close(own);
  N(inotify_add_watch(fd, "e", IN_DELETE_SELF | IN_DELETE | IN_EXCL_UNLINK));
  unlink("e/1"), unlink("e/2"), rmdir("e");
  events("everything goes");
  struct pollfd p = {fd, POLLIN};
  R(poll(&p, 1, 0));
  R(write(fd, "x", 1));
  CHILD("no permission", mkdir("secret", 0700); setresuid(65534, 65534, 65534); R(inotify_add_watch(fd, "secret", IN_CREATE)));
  return 0;
}
