#include "t.h"

#include <sys/file.h>
int main(void) {
  int a = open("f", O_RDWR | O_CREAT, 0600), b = open("f", O_RDWR);
  R(flock(a, LOCK_EX));
  R(flock(b, LOCK_EX | LOCK_NB));
  R(flock(b, LOCK_SH | LOCK_NB));
  R(flock(dup(a), LOCK_SH));
  R(flock(b, LOCK_SH | LOCK_NB));
  R(flock(a, LOCK_EX | LOCK_NB));
  R(flock(b, LOCK_UN));
  R(flock(a, LOCK_EX | LOCK_NB));
  CHILD("inherits", R(flock(a, LOCK_EX | LOCK_NB)); R(flock(b, LOCK_SH | LOCK_NB)); R(flock(a, LOCK_UN)));
  R(flock(b, LOCK_EX | LOCK_NB));
  R(flock(a, 0));
  R(flock(a, LOCK_EX | LOCK_SH));
  R(flock(99, LOCK_EX));
  pid_t p = fork();
  if (!p) {
    close(b);
    int c = open("f", O_RDWR);
    R(flock(c, LOCK_EX));
    _exit(0);
  }
  ms(100);
  puts("release");
  fflush(stdout);
  close(b);
  wait(0);
  return 0;
}
