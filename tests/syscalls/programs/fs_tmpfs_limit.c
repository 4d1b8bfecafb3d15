/* A tmpfs with a limit counts the pages files really have: holes that are filled, punched, allocated ahead. poll(2) on /proc/mounts. */
#include "t.h"
#include <linux/falloc.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/vfs.h>
static int fd;
static void free_(void) {
  struct statfs v;
  statfs("m", &v);
  struct stat s;
  fstat(fd, &s);
  printf("free %ld, size %ld, blocks %ld, hole %ld\n", (long)v.f_bfree, (long)s.st_size, (long)s.st_blocks, (long)lseek(fd, 0, SEEK_HOLE));
}
int main(void) {
  static char b[1 << 20];
  memset(b, 'x', sizeof b);
  unshare(CLONE_NEWNS);
  mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
  mkdir("m", 0755);
  int mounts = open("/proc/self/mounts", O_RDONLY), ep = epoll_create1(0);
  struct pollfd p = {mounts, POLLPRI};
  struct epoll_event e = {EPOLLPRI};
  R(poll(&p, 1, 0));
  R(epoll_ctl(ep, EPOLL_CTL_ADD, mounts, &e));
  R(epoll_wait(ep, &e, 1, 0));
  R(mount("none", "m", "tmpfs", 0, "size=1m"));
  R(epoll_wait(ep, &e, 1, 1000));
  C(e.events == (EPOLLPRI | EPOLLERR));
  R(poll(&p, 1, 0));
  fd = open("m/f", O_RDWR | O_CREAT, 0600);
  R(ftruncate(fd, 4 << 20));
  free_();
  R(pwrite(fd, b, 512 << 10, 1 << 20));
  free_();
  R(pwrite(fd, b, 512 << 10, 1 << 20));
  free_();
  R(pwrite(fd, b, 1 << 20, 2 << 20));
  free_();
  R(pwrite(fd, b, 1, 0));
  R(pwrite(fd, b, 4096, 1 << 20));
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 64 << 10));
  free_();
  R(fallocate(fd, 0, 0, 32 << 10));
  free_();
  R(pwrite(fd, b, 32 << 10, 0));
  free_();
  R(fallocate(fd, 0, 3 << 20, 64 << 10));
  free_();
  R(ftruncate(fd, 0));
  free_();
  R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 512 << 10));
  free_();
  int g = open("m/g", O_RDWR | O_CREAT, 0600);
  R(write(g, b, 1 << 20));
  R(write(g, b, 1));
  R(pwrite(fd, b, 512 << 10, 0)); /* what was set aside */
  free_();
  R(write(fd, b, 1) + 1);
  close(g), unlink("m/g");
  free_();
  ftruncate(fd, 0);
  R(pwrite(fd, b, 20000, 0));
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
  free_();
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 200));
  free_();
  C(pread(fd, b, 8192, 0) == 8192 && !b[100] && b[99] == 'x' && b[300] == 'x' && !b[4096] && !b[8191]);
  close(fd);
  /* a mapped file goes with its last mapping */
  struct statfs v;
  unlink("m/f");
  fd = open("m/h", O_RDWR | O_CREAT, 0600);
  ftruncate(fd, 65536);
  char *at = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  memset(at, 1, 65536);
  close(fd), unlink("m/h"), munmap(at, 65536);
  fd = open("m", O_RDONLY);
  fstatfs(fd, &v);
  N(v.f_bfree);
  close(fd);
  R(umount("m"));
  R(epoll_wait(ep, &e, 1, 1000));
  /* set-group-id in a directory of another group: the umask comes after */
  mkdir("d", 0777), chown("d", 65534, 12345), chmod("d", 02777);
  fflush(stdout);
  pid_t c = fork();
  if (!c) {
    setresgid(65534, 65534, 65534), setresuid(65534, 65534, 65534);
    umask(010);
    struct stat s;
    close(open("d/a", O_RDWR | O_CREAT, 02777)), stat("d/a", &s), printf("%o %d\n", s.st_mode, s.st_gid);
    mknod("d/b", S_IFREG | 02777, 0), stat("d/b", &s), printf("%o %d\n", s.st_mode, s.st_gid);
    close(open("d/c", O_RDWR | O_CREAT, 02767)), stat("d/c", &s), printf("%o %d\n", s.st_mode, s.st_gid);
    int t = open("d", O_RDWR | O_TMPFILE, 02777);
    fstat(t, &s), printf("%o %d\n", s.st_mode, s.st_gid);
    fflush(stdout);
    _exit(0);
  }
  waitpid(c, 0, 0);
  return 0;
}
