#include "t.h"

#include <linux/falloc.h>
int main(void) {
  int fd = open("f", O_RDWR | O_CREAT, 0600);
  struct stat st;
  char b[20] = "";
  R(fallocate(fd, 0, 0, 10000));
  fstat(fd, &st);
  N(st.st_size);
  R(pwrite(fd, "hello", 5, 4090));
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4092, 100));
  R(pread(fd, b, 6, 4089));
  for (int i = 0; i < 6; i++) printf("%d ", b[i]);
  puts("");
  R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 50000));
  fstat(fd, &st);
  N(st.st_size);
  R(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
  R(fallocate(fd, 0, -1, 10));
  R(fallocate(fd, 0, 0, 0));
  R(fallocate(fd, 0x1000, 0, 10));
  R(fallocate(open("f", O_RDONLY), 0, 0, 10));
  int p[2];
  pipe(p);
  R(fallocate(p[1], 0, 0, 10));
  R(posix_fallocate(fd, 0, 60000));
  fstat(fd, &st);
  N(st.st_size);
  R(ftruncate(fd, 0));
  R(ftruncate(fd, 100000));
  R(pwrite(fd, "x", 1, 50000));
  R(lseek(fd, 0, SEEK_HOLE) <= 50000);
  R(lseek(fd, 100000, SEEK_DATA));
  R(lseek(fd, 100001, SEEK_HOLE));
  R(lseek(fd, -5, SEEK_SET));
  R(lseek(fd, -5, SEEK_END));
  R(lseek(fd, 0, 77));
  R(lseek(p[0], 0, SEEK_SET));
  R(ftruncate(fd, -1));
  R(truncate("f", -1));
  R(truncate("absent", 1));
  mkdir("d", 0700);
  R(truncate("d", 1));
  R(ftruncate(p[1], 1));
  R(pread(fd, b, 5, -1));
  R(pwrite(p[1], b, 5, 0));
  R(pread(fd, b, 5, 99998));
  R(pread(fd, b, 5, 100000));
  R(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
  R(posix_fadvise(p[0], 0, 0, POSIX_FADV_DONTNEED));
  R(posix_fadvise(fd, 0, 0, 99));
  R(fsync(fd));
  R(fdatasync(fd));
  R(fsync(p[0]));
  R(sync_file_range(fd, 0, 0, 0));
  R(syncfs(fd));
  return 0;
}
