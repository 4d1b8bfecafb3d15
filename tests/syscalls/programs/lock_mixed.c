/* flock, POSIX and open-file-description locks: independent or not, fork, dup, close, upgrade, deadlock, ranges. */
#include "t.h"
#include <sys/file.h>
static int lk(int fd, int cmd, int type, long start, long len) {
  struct flock l = {.l_type = type, .l_start = start, .l_len = len};
  return fcntl(fd, cmd, &l);
}
static void get(int fd, int cmd, int type, long start, long len) {
  struct flock l = {.l_type = type, .l_start = start, .l_len = len};
  int r = fcntl(fd, cmd, &l);
  if (r < 0) printf("get: %s\n", strerrorname_np(errno));
  else if (l.l_type == F_UNLCK) printf("get: free\n");
  else printf("get: type %d %ld+%ld pid %s\n", l.l_type, (long)l.l_start, (long)l.l_len, l.l_pid == getppid() ? "parent" : l.l_pid == -1 ? "-1" : "other");
}
int main(void) {
  int a = open("f", O_RDWR | O_CREAT, 0600), b = open("f", O_RDWR), d = dup(a);
  R(flock(a, LOCK_EX));
  R(flock(d, LOCK_EX | LOCK_NB));
  R(flock(b, LOCK_EX | LOCK_NB));
  R(flock(b, LOCK_SH | LOCK_NB));
  R(flock(d, LOCK_SH));
  R(flock(b, LOCK_SH | LOCK_NB));
  R(flock(a, LOCK_EX | LOCK_NB));
  R(flock(b, LOCK_SH | LOCK_NB)); /* the failed upgrade lost a's */
  CHILD("inherited", R(flock(b, LOCK_UN)); R(flock(a, LOCK_EX | LOCK_NB)); R(flock(a, LOCK_UN)));
  R(flock(b, LOCK_EX | LOCK_NB));
  R(lk(a, F_SETLK, F_WRLCK, 0, 0)); /* another kind */
  R(flock(a, 99));
  R(flock(1000, LOCK_EX));
  flock(b, LOCK_UN);
  CHILD("a child has no POSIX locks", get(a, F_GETLK, F_WRLCK, 0, 0); R(lk(a, F_SETLK, F_WRLCK, 0, 10)); R(lk(a, F_SETLK, F_UNLCK, 0, 0)); get(a, F_GETLK, F_RDLCK, 5, 5));
  R(lk(b, F_SETLK, F_RDLCK, 0, 100)); /* same owner: converts */
  CHILD("converted", get(a, F_GETLK, F_WRLCK, 0, 0); get(a, F_GETLK, F_RDLCK, 50, 10); get(a, F_GETLK, F_RDLCK, 200, 10));
  R(lk(a, F_SETLK, F_UNLCK, 40, 20));
  CHILD("split", get(a, F_GETLK, F_WRLCK, 0, 0); get(a, F_GETLK, F_WRLCK, 40, 20); get(a, F_GETLK, F_WRLCK, 45, 50));
  int c = open("f", O_RDONLY);
  close(c); /* any close drops all */
  CHILD("dropped", get(a, F_GETLK, F_WRLCK, 0, 0));
  /* open file descriptions */
  R(lk(a, F_OFD_SETLK, F_WRLCK, 0, 10));
  R(lk(b, F_OFD_SETLK, F_WRLCK, 5, 10));
  R(lk(d, F_OFD_SETLK, F_RDLCK, 0, 5));
  get(b, F_OFD_GETLK, F_WRLCK, 0, 100);
  R(lk(b, F_SETLK, F_WRLCK, 5, 10));
  CHILD("shared by fork", R(lk(a, F_OFD_SETLK, F_WRLCK, 0, 10)); get(b, F_GETLK, F_WRLCK, 0, 10); R(lk(a, F_OFD_SETLK, F_UNLCK, 0, 0)));
  get(b, F_OFD_GETLK, F_WRLCK, 0, 100);
  lk(a, F_OFD_SETLK, F_WRLCK, 0, 10);
  close(d);
  get(b, F_OFD_GETLK, F_WRLCK, 0, 100);
  close(a);
  get(b, F_OFD_GETLK, F_WRLCK, 0, 100);
  struct flock l = {.l_type = F_WRLCK, .l_pid = 5};
  R(fcntl(b, F_OFD_SETLK, &l));
  /* ranges */
  R(lk(b, F_SETLK, F_WRLCK, -1, 5));
  R(lk(b, F_SETLK, F_WRLCK, 10, -10));
  CHILD("negative length", int e = open("f", O_RDWR); get(e, F_GETLK, F_WRLCK, 0, 0));
  R(lk(b, F_SETLK, F_WRLCK, 10, -11));
  R(lk(b, F_SETLK, F_WRLCK, 0x7fffffffffffffff, 2));
  R(lk(b, F_SETLK, F_WRLCK, 0x7fffffffffffffff, 1));
  lseek(b, 100, SEEK_SET);
  l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = 5, .l_len = 5};
  R(fcntl(b, F_SETLK, &l));
  write(b, "xxx", 3);
  l = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_END, .l_start = -3, .l_len = 3};
  R(fcntl(b, F_SETLK, &l));
  l.l_whence = 7;
  R(fcntl(b, F_SETLK, &l));
  l.l_whence = 0, l.l_type = 9;
  R(fcntl(b, F_SETLK, &l));
  R(fcntl(b, F_SETLK, 8));
  CHILD("all", int e = open("f", O_RDWR); get(e, F_GETLK, F_WRLCK, 0, 5); get(e, F_GETLK, F_WRLCK, 20, 0));
  int ro = open("f", O_RDONLY), wo = open("f", O_WRONLY), p = open("f", O_PATH);
  R(lk(ro, F_SETLK, F_WRLCK, 0, 1));
  R(lk(wo, F_SETLK, F_RDLCK, 0, 1));
  R(lk(p, F_SETLK, F_RDLCK, 0, 1));
  R(flock(p, LOCK_SH));
  /* deadlock */
  lk(b, F_SETLK, F_UNLCK, 0, 0);
  lk(b, F_SETLK, F_WRLCK, 0, 1);
  int up[2];
  pipe(up);
  fflush(stdout);
  pid_t k = fork();
  if (!k) {
    lk(b, F_SETLK, F_WRLCK, 1, 1);
    write(up[1], "x", 1);
    int r = lk(b, F_SETLKW, F_WRLCK, 0, 1);
    printf("child: %s\n", r ? strerrorname_np(errno) : "got it");
    fflush(stdout);
    _exit(0);
  }
  char x;
  read(up[0], &x, 1);
  ms(100);
  R(lk(b, F_SETLKW, F_WRLCK, 1, 1));
  lk(b, F_SETLK, F_UNLCK, 0, 0);
  waitpid(k, 0, 0);
  R(lk(b, F_SETLKW, F_WRLCK, 1, 1));
  CHILD("exec keeps, exit drops", lk(b, F_SETLK, F_UNLCK, 0, 0); fcntl(b, F_SETFD, 0); execl("/bin/true", "true", NULL));
  return 0;
}
