#include "t.h"

static long lk(int fd, int cmd, short type, off_t s, off_t n) {
  struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = s, .l_len = n};
  long r = fcntl(fd, cmd, &l);
  if (cmd == F_GETLK || cmd == F_OFD_GETLK) printf("  type %d %ld+%ld pid %s\n", l.l_type, (long)l.l_start, (long)l.l_len, l.l_pid == getppid() ? "parent" : l.l_pid == -1 ? "-1" : l.l_pid ? "other" : "0");
  return r;
}
int main(void) {
  int fd = open("f", O_RDWR | O_CREAT, 0600);
  R(lk(fd, F_SETLK, F_WRLCK, 10, 10));
  R(lk(fd, F_SETLK, F_RDLCK, 100, 0));
  CHILD("other process", R(lk(fd, F_SETLK, F_WRLCK, 15, 1)); R(lk(fd, F_GETLK, F_WRLCK, 0, 0)); R(lk(fd, F_GETLK, F_RDLCK, 200, 1));
        R(lk(fd, F_GETLK, F_WRLCK, 200, 1)); R(lk(fd, F_SETLK, F_RDLCK, 150, 5)); R(lk(fd, F_SETLK, F_WRLCK, 0, 10)));
  R(lk(fd, F_SETLK, F_UNLCK, 12, 4));
  CHILD("split", R(lk(fd, F_SETLK, F_WRLCK, 12, 4)); R(lk(fd, F_SETLK, F_WRLCK, 12, 5)); R(lk(fd, F_SETLK, F_WRLCK, 11, 1)));
  close(open("f", O_RDONLY));
  CHILD("close drops all", R(lk(fd, F_SETLK, F_WRLCK, 0, 0)));
  int a = open("f", O_RDWR), b = open("f", O_RDWR);
  R(lk(a, F_OFD_SETLK, F_WRLCK, 0, 10));
  R(lk(b, F_OFD_SETLK, F_WRLCK, 5, 10));
  R(lk(b, F_OFD_GETLK, F_WRLCK, 5, 10));
  R(lk(fd, F_SETLK, F_WRLCK, 5, 1));
  R(lk(dup(a), F_OFD_SETLK, F_RDLCK, 0, 10));
  R(lk(b, F_OFD_SETLK, F_RDLCK, 5, 10));
  R(lk(fd, F_SETLK, 9, 0, 1));
  R(lk(fd, F_SETLK, F_WRLCK, -5, 1));
  R(lk(open("f", O_RDONLY), F_SETLK, F_WRLCK, 0, 1));
  R(lk(open("f", O_WRONLY), F_SETLK, F_RDLCK, 50, 1));
  R(lk(99, F_SETLK, F_RDLCK, 0, 1));
  R(fcntl(fd, F_SETLK, 8));
  int p[2];
  pipe(p);
  lk(fd, F_SETLK, F_WRLCK, 2000, 1); /* before there is a child that wants it */
  pid_t c = fork();
  if (!c) {
    lk(fd, F_SETLKW, F_WRLCK, 1000, 1);
    write(p[1], "x", 1);
    _exit(lk(fd, F_SETLKW, F_WRLCK, 2000, 1) == -1 && errno == EDEADLK);
  }
  char x;
  read(p[0], &x, 1);
  ms(100);
  int dead = lk(fd, F_SETLKW, F_WRLCK, 1000, 1) == -1 && errno == EDEADLK;
  R(lk(fd, F_SETLK, F_UNLCK, 2000, 1));
  int st;
  wait(&st);
  R(dead + (st == 256)); /* whoever came second closed the circle */
  R(lockf(fd, F_TEST, 10));
  R(lockf(fd, F_TLOCK, 10) >= -1);
  return 0;
}
