/* /proc/PID/ns: what the links are and lead to, what an open namespace tells of itself. */
#include "t.h"
#include <linux/nsfs.h>
#include <sys/vfs.h>
int main(void) {
  const char *kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"};
  for (int i = 0; i < 10; i++) {
    char path[60], text[60] = "", want[60], back[60] = "";
    struct stat l, s, f;
    sprintf(path, "/proc/self/ns/%s", kinds[i]);
    puts(path);
    readlink(path, text, 59);
    lstat(path, &l), stat(path, &s);
    printf("%o %o %d\n", l.st_mode, s.st_mode, (int)s.st_uid);
    snprintf(want, 60, "%.*s:[%lu]", (int)strcspn(kinds[i], "_"), kinds[i], s.st_ino);
    C(!strcmp(text, want));
    int fd = open(path, O_RDONLY);
    fstat(fd, &f);
    C(fd >= 0 && f.st_ino == s.st_ino && f.st_dev == s.st_dev);
    sprintf(path, "/proc/self/fd/%d", fd);
    readlink(path, back, 59);
    C(!strcmp(text, back));
    struct statfs v;
    fstatfs(fd, &v);
    N(v.f_type);
    N(ioctl(fd, NS_GET_NSTYPE));
    char b;
    R(read(fd, &b, 1));
    unsigned uid = 7;
    R(ioctl(fd, NS_GET_OWNER_UID, &uid));
    N(uid);
    if (i == 4 || i == 8) R(ioctl(fd, FIONREAD, &uid));
    else {
      R(ioctl(fd, NS_GET_PARENT));
      int u = ioctl(fd, NS_GET_USERNS);
      C(u >= 0 && ioctl(u, NS_GET_NSTYPE) == 0x10000000 && fcntl(u, F_GETFD) == 1);
      close(u);
    }
    close(fd);
  }
  struct stat a, b;
  pid_t p = fork();
  if (!p) pause();
  char path[60];
  sprintf(path, "/proc/%d/ns/uts", p);
  stat(path, &a), stat("/proc/self/ns/uts", &b);
  C(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
  kill(p, 9), wait(0);
  return 0;
}
