/* /proc/PID/mem: own and another's memory, by protection, by position, by right. */
#include "t.h"
static char mine[64] = "parent's";
static const char text[] = "constant";
int main(void) {
  char b[8192];
  int fd = open("/proc/self/mem", O_RDWR);
  memset(b, 0, sizeof b);
  R(pread(fd, b, 9, (off_t)mine));
  puts(b);
  R(pwrite(fd, "changed!!", 9, (off_t)mine));
  puts(mine);
  R(pwrite(fd, "X", 1, (off_t)text)); /* as a debugger may: past protections */
  puts(text);
  char *p = mmap(0, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(p + 8192, 4096);
  R(pwrite(fd, "none", 4, (off_t)p));
  R(pread(fd, b, 4, (off_t)p));
  printf("%.4s\n", b);
  R(pread(fd, b, 8192, (off_t)p + 4096));
  R(pread(fd, b, 1, (off_t)p + 8192));
  R(pread(fd, b, 1, 0));
  R(pwrite(fd, b, 1, 0));
  R(pread(fd, b, 1, -4096));
  R(lseek(fd, (off_t)mine, SEEK_SET) == (off_t)mine);
  R(read(fd, b, 3));
  C(lseek(fd, 0, SEEK_CUR) == (off_t)mine + 3);
  R(lseek(fd, 0, SEEK_END));
  int shared = memfd_create("s", 0);
  ftruncate(shared, 4096);
  char *s = mmap(0, 4096, PROT_READ, MAP_SHARED, shared, 0);
  R(pwrite(fd, "abc", 3, (off_t)s));
  int ro = open("/proc/self/exe", O_RDONLY);
  char *f = mmap(0, 4096, PROT_READ, MAP_SHARED, ro, 0);
  R(pwrite(fd, "abc", 3, (off_t)f));
  close(fd);
  OK(fd = open("/proc/self/mem", O_RDONLY));
  R(pwrite(fd, "x", 1, (off_t)mine));
  /* another process */
  int up[2], down[2];
  pipe(up), pipe(down);
  fflush(stdout);
  pid_t c = fork();
  if (!c) {
    strcpy(mine, "child's");
    write(up[1], "", 1);
    read(down[0], b, 1);
    puts(mine);
    fflush(stdout);
    _exit(0);
  }
  read(up[0], b, 1);
  sprintf(b, "/proc/%d/mem", c);
  int o = open(b, O_RDWR);
  C(o >= 0);
  memset(b, 0, sizeof b);
  R(pread(o, b, 8, (off_t)mine));
  puts(b);
  R(pwrite(o, "from out", 8, (off_t)mine));
  puts(mine);
  CHILD("not mine", setresuid(65534, 65534, 65534); char n[50]; sprintf(n, "/proc/%d/mem", c); OK(open(n, O_RDONLY)); R(pread(o, b, 1, (off_t)mine)));
  write(down[1], "", 1);
  waitpid(c, 0, 0);
  R(pread(o, b, 8, (off_t)mine)); /* it is gone: end of file */
  R(pwrite(o, b, 8, (off_t)mine));
  return 0;
}
