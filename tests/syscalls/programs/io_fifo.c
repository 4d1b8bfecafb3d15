#include "t.h"

int main(void) {
  char b[20] = "";
  R(mkfifo("p", 0600));
  R(mkfifo("p", 0600));
  R(open("p", O_WRONLY | O_NONBLOCK));
  int r = open("p", O_RDONLY | O_NONBLOCK);
  R(read(r, b, 10));
  int w = open("p", O_WRONLY | O_NONBLOCK);
  C(w >= 0);
  R(read(r, b, 10));
  R(write(w, "hi", 2));
  R(read(r, b, 10));
  close(w);
  R(read(r, b, 10));
  struct pollfd f = {r, POLLIN, 0};
  R(poll(&f, 1, 0));
  printf("%x\n", f.revents);
  close(r);
  int rw = open("p", O_RDWR);
  R(write(rw, "self", 4));
  R(read(rw, b, 4));
  close(rw);
  if (!fork()) {
    int x = open("p", O_WRONLY);
    write(x, "from child", 10);
    _exit(0);
  }
  r = open("p", O_RDONLY);
  R(read(r, b, 20));
  R(read(r, b, 20));
  wait(0);
  R(lseek(r, 0, SEEK_SET));
  R(ftruncate(r, 0));
  CHILD("reader first", alarm(2); open("p2", O_RDONLY));
  signal(SIGALRM, SIG_DFL);
  mkfifo("p2", 0600);
  CHILD("no writer comes", alarm(1); open("p2", O_RDONLY));
  return 0;
}
