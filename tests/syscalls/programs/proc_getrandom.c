#include "t.h"

#include <sys/random.h>
int main(void) {
  unsigned char b[512] = {0};
  R(getrandom(b, 0, 0));
  R(getrandom(b, 256, 0));
  R(getrandom(b, 256, GRND_NONBLOCK));
  R(getrandom(b, 512, GRND_RANDOM));
  R(getrandom(b, 10, 0x80));
  R(getrandom(b, 10, GRND_RANDOM | 4));
  R(getrandom((void *)8, 10, 0));
  int z = 0;
  for (int i = 0; i < 512; i++) z += b[i] == 0;
  C(z < 50);
  R(getentropy(b, 256));
  R(getentropy(b, 257));
  int u = open("/dev/urandom", O_RDONLY), r = open("/dev/random", O_RDONLY);
  R(read(u, b, 512));
  R(read(r, b, 16));
  int o = open("/dev/zero", O_RDWR);
  R(read(o, b, 512));
  N(b[0] + b[511]);
  R(write(o, b, 512));
  int f = open("/dev/full", O_RDWR);
  R(write(f, b, 1));
  R(read(f, b, 5));
  int n = open("/dev/null", O_RDWR);
  R(read(n, b, 5));
  R(write(n, b, 5));
  R(lseek(n, 100, SEEK_SET));
  return 0;
}
