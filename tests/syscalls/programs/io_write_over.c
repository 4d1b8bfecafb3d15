/* Writing over what is there: what it does to content, position, times, bits and limits. */
#include "t.h"

static char page[4096];
static long sum(int fd) {
  unsigned char b[4096];
  long n, at = 0, s = 0;
  while ((n = pread(fd, b, sizeof b, at)) > 0) {
    for (long i = 0; i < n; i++)
      s = (s * 31 + b[i]) & 0xffffff;
    at += n;
  }
  return s;
}
static void state(int fd) {
  struct stat st;
  fstat(fd, &st);
  printf("size %ld mode %o at %ld sum %ld\n", (long)st.st_size, st.st_mode & 07777, (long)lseek(fd, 0, SEEK_CUR), sum(fd));
  fflush(stdout);
}
static void over(const char *name, long size) {
  int fd = open(name, O_RDWR | O_CREAT, 0644);
  struct stat before, after;
  R(ftruncate(fd, size));
  state(fd);
  for (int i = 0; i < 5; i++) {
    memset(page, 'a' + i, sizeof page);
    R(pwrite(fd, page, sizeof page, 100 * i));
    R(write(fd, page, 700));
  }
  state(fd);
  R(pwrite(fd, page, 3, size - 3));
  R(pwrite(fd, page, 3, size - 2));
  state(fd);
  R(pwrite(fd, page, 0, 0));
  R(pwrite(fd, (void *)8, 5, 0));
  R(pwrite(fd, page, 5, -1));
  R(write(fd, (void *)-4096l, 5));
  state(fd);
  int ap = open(name, O_WRONLY | O_APPEND);
  R(pwrite(ap, "x", 1, 0));
  R(write(ap, "y", 1));
  state(fd);
  int ro = open(name, O_RDONLY);
  R(pwrite(ro, "x", 1, 0));
  char c[5] = "";
  for (int i = 0; i < 5; i++)
    R(pread(ro, c, 4, 8));
  R(pwrite(fd, "seen", 4, 8));
  R(pread(ro, c, 4, 8));
  printf("%s\n", c);
  char *m = mmap(NULL, 4096, PROT_READ, MAP_SHARED, ro, 0);
  R(pwrite(fd, "mapped", 6, 16));
  printf("%.6s\n", m + 16);
  fstat(fd, &before);
  struct timespec ts = {0, 20000000};
  nanosleep(&ts, NULL);
  R(pwrite(fd, "t", 1, 0));
  fstat(fd, &after);
  printf("later: %d\n", after.st_mtim.tv_sec * 1000000000l + after.st_mtim.tv_nsec >
                           before.st_mtim.tv_sec * 1000000000l + before.st_mtim.tv_nsec);
  R(fchmod(fd, 06755));
  fflush(stdout);
  pid_t p = fork();
  if (!p) {
    setgid(65534);
    setuid(65534);
    R(pwrite(fd, "s", 1, 0));
    state(fd);
    struct rlimit l = {10, 10};
    signal(SIGXFSZ, SIG_IGN);
    R(setrlimit(RLIMIT_FSIZE, &l));
    R(pwrite(fd, "limit", 5, 8));
    R(pwrite(fd, "limit", 5, 10));
    state(fd);
    _exit(0);
  }
  waitpid(p, NULL, 0);
  state(fd);
}
int main(void) {
  over("small", 20000);
  over("large", 200000);
  over("tiny", 5000);
  return 0;
}
