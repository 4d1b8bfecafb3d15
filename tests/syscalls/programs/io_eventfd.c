#include "t.h"

#include <sys/eventfd.h>
int main(void) {
  uint64_t v = 0;
  int fd = eventfd(3, EFD_NONBLOCK);
  R(read(fd, &v, 8));
  N(v);
  R(read(fd, &v, 8));
  v = 5;
  R(write(fd, &v, 8));
  R(write(fd, &v, 8));
  R(read(fd, &v, 8));
  N(v);
  v = -1;
  R(write(fd, &v, 8));
  v = -2;
  R(write(fd, &v, 8));
  v = 1;
  R(write(fd, &v, 8));
  struct pollfd p = {fd, POLLIN | POLLOUT, 0};
  R(poll(&p, 1, 0));
  N(p.revents);
  R(read(fd, &v, 4));
  R(write(fd, &v, 4));
  int s = eventfd(2, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK);
  R(read(s, &v, 8));
  N(v);
  R(read(s, &v, 8));
  R(read(s, &v, 8));
  R(eventfd(0, 0x10));
  R(read(fd, (void *)8, 8));
  int b = eventfd(0, 0);
  if (!fork()) {
    ms(50);
    v = 9;
    write(b, &v, 8);
    _exit(0);
  }
  R(read(b, &v, 8));
  N(v);
  return 0;
}
