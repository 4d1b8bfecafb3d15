#include "t.h"

int main(void) {
  int *s = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  put("f", "0123456789");
  int fd = open("f", O_RDWR);
  char *fs = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  char *fp = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  *s = *p = 1;
  CHILD("child", *s = 2; *p = 2; fs[0] = 'A'; fp[1] = 'B'; CHILD("grandchild", s[1] = *p));
  N(*s);
  N(*p);
  N(s[1]);
  printf("%.10s %.10s\n", fs, fp);
  pwrite(fd, "zz", 2, 4);
  printf("%.10s %.10s\n", fs, fp);
  fp[2] = 'q';
  pwrite(fd, "yy", 2, 2);
  printf("%.10s %.10s\n", fs, fp);
  R(msync(fs, 4096, MS_SYNC));
  char b[11] = "";
  R(pread(fd, b, 10, 0));
  puts(b);
  R(ftruncate(fd, 3));
  printf("%d %c\n", fs[5], fs[2]);
  return 0;
}
