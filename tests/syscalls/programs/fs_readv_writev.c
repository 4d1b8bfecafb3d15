#include "t.h"

int main(void) {
  int fd = open("f", O_RDWR | O_CREAT, 0600);
  char a[5] = "abcd", b[5] = "efgh", c[10] = "";
  struct iovec v[3] = {{a, 4}, {0, 0}, {b, 4}}, w[2] = {{c, 3}, {c + 5, 4}};
  R(writev(fd, v, 3));
  R(pwritev(fd, v, 3, 6));
  R(preadv(fd, w, 2, 1));
  printf("%s|%s\n", c, c + 5);
  lseek(fd, 10, SEEK_SET);
  R(readv(fd, w, 2));
  R(readv(fd, w, 0));
  R(readv(fd, w, -1));
  R(readv(fd, w, 1025));
  R(writev(fd, (void *)8, 2));
  v[1] = (struct iovec){(void *)8, 5};
  R(writev(fd, v, 3));
  v[0] = (struct iovec){(void *)8, 5};
  R(writev(fd, v, 3));
  v[0].iov_len = -1;
  R(writev(fd, v, 3));
  R(preadv(fd, w, 2, -1));
  R(preadv2(fd, w, 2, -1, 0));
  R(preadv2(fd, w, 2, 0, 0x1000));
  R(pwritev2(fd, w, 1, 0, RWF_APPEND));
  struct stat st;
  fstat(fd, &st);
  N(st.st_size);
  R(read(fd, c, 0));
  R(read(fd, (void *)8, 5) == -1 ? -1 : 0);
  lseek(fd, 0, SEEK_SET);
  R(read(fd, (void *)8, 5));
  R(read(fd, c, -1) == -1);
  R(write(fd, (void *)8, 5));
  R(write(fd, "x", 0));
  R(write(99, "x", 1));
  R(read(99, c, 1));
  int p[2];
  pipe(p);
  R(writev(p[1], w, 2));
  R(readv(p[0], w, 2));
  R(preadv(p[0], w, 2, 0));
  return 0;
}
