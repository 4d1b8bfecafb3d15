#include "t.h"

int main(void) {
  put("f", "hello");
  int fd = open("f", O_RDONLY), wo = open("f", O_WRONLY);
  OK(mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(mmap(0, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0));
  OK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, -1, 0));
  OK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, 999, 0));
  OK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 1));
  OK(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  OK(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  OK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, wo, 0));
  OK(mmap(0, 4096, PROT_WRITE, MAP_SHARED, wo, 0));
  OK(mmap((void *)1, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  OK(mmap((void *)0x7ffffffff000, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  OK(mmap(0, 1UL << 62, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(mmap(0, -1UL, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  OK(mmap(0, 4096, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0));
  OK(mmap(0, 4096, PROT_READ, MAP_SHARED | MAP_PRIVATE | 0x8, fd, 0));
  int dir = open(".", O_RDONLY), p[2];
  OK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, dir, 0));
  pipe(p);
  OK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, p[0], 0));
  OK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, open("f", O_PATH), 0));
  OK(mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0xfffffffffffff000));
  return 0;
}
