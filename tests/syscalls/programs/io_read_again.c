/* A file read again and again, so that reads take every short way there is, and what must end that:
 * other calls, other numbers, other content, bad memory, another process. */
#include "t.h"

#include <sys/inotify.h>

#define BIG 200000

static char b[8192];

static unsigned sum(const char *p, int n, unsigned s) {
  for (int i = 0; i < n; i++)
    s = s * 31 + (unsigned char)p[i];
  return s;
}

static unsigned reads(int fd, int times, int size) {
  unsigned s = 0;
  for (int i = 0; i < times; i++) {
    long n = read(fd, b, (size_t)size);
    s = sum(b, (int)n, s) + (unsigned)n;
  }
  return s;
}

static long at(int fd) { return (long)lseek(fd, 0, SEEK_CUR); }

static int moved(const struct stat *x, const struct stat *y) {
  return x->st_atim.tv_sec != y->st_atim.tv_sec || x->st_atim.tv_nsec != y->st_atim.tv_nsec;
}

static void one(const char *name, int size) {
  printf("-- %s\n", name);
  int w = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
  for (int i = 0; i < size; i += 1000) {
    memset(b, i / 1000, 1000);
    if (write(w, b, 1000) != 1000)
      exit(1);
  }
  int r = open(name, O_RDONLY);
  printf("%u %ld\n", reads(r, 40, 100), at(r));
  unsigned s = 0;
  for (int i = 0; i < 40; i++)
    s = sum(b, (int)pread(r, b, 99, i * 77), s);
  printf("%u %ld\n", s, at(r));
  for (int i = 0; i < 8; i++) {
    lseek(r, -50, SEEK_CUR);
    s += reads(r, 1, 70);
  }
  printf("%u %ld %ld\n", s, at(r), (long)lseek(r, -1, SEEK_SET));
  printf("%ld\n", (long)lseek(r, -10000000, SEEK_CUR));

  char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(m + 4096, 4096);
  lseek(r, 0, SEEK_SET);
  reads(r, 8, 10);
  ssize_t n = read(r, m + 4000, 200);
  printf("part of the buffer: %zd %ld\n", n, at(r));
  reads(r, 8, 10);
  R(read(r, (void *)16, 10));
  printf("%ld\n", at(r));
  reads(r, 8, 10);
  R(pread(r, b, 10, -1));

  struct stat x, y;
  reads(r, 8, 10);
  fstat(r, &x);
  usleep(20000);
  R(pwrite(w, "hello", 5, 100));
  for (int i = 0; i < 5; i++)
    n = pread(r, b, 5, 100);
  fstat(r, &y);
  printf("%zd %.5s access time %d\n", n, b, moved(&x, &y));
  reads(r, 8, 10);
  R(ftruncate(w, 50));
  R(read(r, b, 10));
  printf("%ld\n", at(r));
  for (int i = 0; i < 8; i++)
    n = pread(r, b, 100, 0);
  printf("%zd\n", n);
  R(ftruncate(w, size));

  int d = dup(r);
  lseek(r, 0, SEEK_SET);
  reads(d, 8, 10);
  printf("%ld\n", at(r));
  R(close(d));
  R(pread(d, b, 10, 0));
  reads(r, 8, 10);
  int other = open("/proc/self/comm", O_RDONLY);
  R(dup2(other, r));
  R(read(r, b, 4));
  printf("%.4s\n", b);
  close(r);
  r = open(name, O_RDONLY);
  reads(r, 8, 10);
  pid_t p = fork();
  if (!p) {
    reads(r, 7, 10);
    _exit(0);
  }
  waitpid(p, 0, 0);
  printf("%ld\n", at(r));
  reads(r, 8, 10);
  p = vfork();
  if (!p) {
    close(r); /* its own number */
    _exit(read(r, b, 10) < 0 ? 7 : 8);
  }
  int status;
  waitpid(p, &status, 0);
  printf("%d %zd\n", WEXITSTATUS(status), read(r, b, 10));

  int watch = inotify_init1(IN_NONBLOCK);
  reads(r, 8, 10);
  printf("%d\n", inotify_add_watch(watch, name, IN_ACCESS));
  reads(r, 1, 10);
  printf("%zd\n", read(watch, b, sizeof b));
  close(watch);
  lseek(r, 0, SEEK_SET);
  reads(r, 8, 10);
  int o = open(name, O_RDONLY | O_PATH);
  R(dup2(o, r));
  R(read(r, b, 10));
  close(o);
  close(r);
  close(w);
}

int main(void) {
  one("small", 5000);
  one("big", BIG);
  int z = open("/dev/null", O_WRONLY);
  for (int i = 0; i < 9; i++)
    R(write(z, b, (size_t)i));
  R(write(z, (void *)8, 10));
  R(read(z, b, 10));
  R(lseek(z, 10, SEEK_SET));
  close(z);
  R(write(z, b, 10));
  z = open("/dev/null", O_RDWR);
  for (int i = 0; i < 9; i++)
    R(write(z, b, (size_t)i));
  R(read(z, b, 10));
  R(pread(z, b, 10, 0));
  close(z);
  z = open("/dev/zero", O_RDWR);
  for (int i = 0; i < 9; i++)
    R(write(z, b, 10));
  memset(b, 1, 10);
  R(read(z, b, 10));
  printf("%d\n", b[0] + b[9]);
  return 0;
}
