/* fallocate's modes on a memory file, seals, holes afterwards. */
#include "t.h"
#include <linux/falloc.h>
static int fd;
static void map(void) {
  off_t end = lseek(fd, 0, SEEK_END), at = 0;
  while (at < end) {
    off_t d = lseek(fd, at, SEEK_DATA);
    if (d < 0) break;
    off_t h = lseek(fd, d, SEEK_HOLE);
    printf("[%ld %ld) ", (long)d / 4096, (long)h / 4096);
    at = h;
  }
  struct stat s;
  fstat(fd, &s);
  printf("of %ld, blocks %ld\n", (long)s.st_size, (long)s.st_blocks);
}
int main(void) {
  char b[4096];
  memset(b, 'x', 4096);
  fd = memfd_create("f", MFD_ALLOW_SEALING);
  R(fallocate(fd, 0, 0, 8192));
  map();
  R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 16384, 8192));
  map();
  ftruncate(fd, 65536);
  for (int i = 0; i < 8; i++) pwrite(fd, b, 4096, i * 4096);
  map();
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192));
  map();
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 12288 + 100, 4096));
  R(pread(fd, b, 4096, 12288));
  N(b[99]), N(b[100]);
  R(pread(fd, b, 4096, 16384));
  N(b[99]), N(b[100]);
  map();
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
  R(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
  R(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, 4096));
  R(fallocate(fd, FALLOC_FL_UNSHARE_RANGE, 0, 4096));
  R(fallocate(fd, 0x80, 0, 4096));
  R(fallocate(fd, 0, -1, 4096));
  R(fallocate(fd, 0, 0, 0));
  R(fallocate(fd, 0, 0, -5));
  R(fallocate(fd, 0, 0x7fffffffffffffff, 1));
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096));
  map();
  int ro = open("/proc/self/exe", O_RDONLY);
  R(fallocate(ro, 0, 0, 10));
  R(fallocate(1000, 0, 0, 10));
  int p[2];
  pipe(p);
  R(fallocate(p[1], 0, 0, 10));
  int d = open(".", O_RDONLY), n = open("/dev/null", O_RDWR), s = socket(AF_UNIX, SOCK_STREAM, 0);
  R(fallocate(d, 0, 0, 10));
  R(fallocate(n, 0, 0, 10));
  R(fallocate(s, 0, 0, 10));
  R(posix_fallocate(fd, 100, 10));
  R(posix_fallocate(p[1], 100, 10));
  struct rlimit l = {70000, 70000};
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &l);
  R(fallocate(fd, 0, 65536, 10000));
  R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 65536, 10000));
  R(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
  R(fallocate(fd, 0, 65000, 1000));
  R(fallocate(fd, 0, 0, 100));
  R(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
  R(fallocate(fd, 0, 0, 100));
  map();
  return 0;
}
