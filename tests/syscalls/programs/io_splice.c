#include "t.h"

#include <sys/sendfile.h>
int main(void) {
  put("f", "0123456789abcdef");
  int f = open("f", O_RDWR), g = open("g", O_RDWR | O_CREAT, 0600), p[2], q[2];
  char b[100] = "";
  pipe(p);
  pipe2(q, O_NONBLOCK);
  off_t o = 4;
  R(sendfile(p[1], f, &o, 5));
  N(o);
  R(read(p[0], b, 99));
  puts(b);
  R(sendfile(g, f, 0, 100));
  R(lseek(f, 0, SEEK_CUR));
  R(sendfile(99, f, 0, 1));
  o = -1;
  R(sendfile(p[1], f, &o, 1));
  loff_t a = 2, z = 0;
  R(splice(f, &a, p[1], 0, 6, 0));
  N(a);
  R(tee(p[0], q[1], 100, 0));
  memset(b, 0, 100);
  R(read(q[0], b, 99));
  puts(b);
  R(splice(p[0], 0, g, &z, 100, 0));
  R(pread(g, b, 10, 0));
  printf("%.10s\n", b);
  R(splice(q[0], 0, g, 0, 10, SPLICE_F_NONBLOCK));
  R(splice(f, 0, g, 0, 10, 0));
  R(splice(p[0], &a, g, 0, 10, 0));
  R(tee(p[0], p[1], 10, 0));
  R(tee(f, p[1], 10, 0));
  R(splice(f, 0, p[1], 0, 10, 0x100));
  struct iovec v[2] = {{"hello ", 6}, {"world", 5}};
  R(vmsplice(q[1], v, 2, 0));
  memset(b, 0, 100);
  R(read(q[0], b, 99));
  puts(b);
  a = 0, z = 3;
  R(copy_file_range(f, &a, g, &z, 5, 0));
  printf("%ld %ld\n", (long)a, (long)z);
  R(pread(g, b, 8, 0));
  printf("%.8s\n", b);
  R(copy_file_range(f, &a, g, &z, 5, 1));
  R(copy_file_range(f, 0, p[1], 0, 5, 0));
  R(copy_file_range(open("f", O_RDONLY), 0, open("f", O_RDONLY), 0, 5, 0));
  a = 100;
  R(copy_file_range(f, &a, g, &z, 5, 0));
  a = 0, z = 3;
  R(copy_file_range(f, &a, f, &z, 5, 0));
  return 0;
}
