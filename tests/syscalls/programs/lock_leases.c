/* Leases: taking, breaking by open and truncate, downgrade, rights; F_NOTIFY. */
#include "t.h"
static volatile int io, fd_;
static void h(int s, siginfo_t *i, void *c) { io++, fd_ = i->si_fd; }
int main(void) {
  struct sigaction a = {.sa_sigaction = h, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigaction(SIGIO, &a, 0), sigaction(SIGRTMIN, &a, 0);
  put("f", "x");
  int fd = open("f", O_RDONLY);
  R(fcntl(fd, F_GETLEASE));
  R(fcntl(fd, F_SETLEASE, F_RDLCK));
  R(fcntl(fd, F_GETLEASE));
  R(fcntl(fd, F_SETLEASE, F_WRLCK));
  R(fcntl(fd, F_SETLEASE, F_UNLCK));
  R(fcntl(fd, F_SETLEASE, F_UNLCK));
  R(fcntl(fd, F_SETLEASE, 77));
  int w = open("f", O_RDWR);
  R(fcntl(fd, F_SETLEASE, F_RDLCK)); /* open for writing */
  R(fcntl(w, F_SETLEASE, F_RDLCK));
  R(fcntl(w, F_SETLEASE, F_WRLCK)); /* others have it open */
  close(fd);
  R(fcntl(w, F_SETLEASE, F_WRLCK));
  R(fcntl(w, F_GETLEASE));
  CHILD("non-blocking open breaks", R(open("f", O_RDONLY | O_NONBLOCK)));
  ms(20);
  N(io);
  R(fcntl(w, F_GETLEASE)); /* what it is to become */
  R(fcntl(w, F_SETLEASE, F_UNLCK));
  io = 0;
  R(fcntl(w, F_SETLEASE, F_WRLCK));
  R(fcntl(w, F_SETSIG, SIGRTMIN));
  fflush(stdout);
  pid_t c = fork();
  if (!c) {
    long t0 = now_ms();
    int r = open("f", O_RDONLY);
    ms(20);
    printf("opened %s, waited %s\n", r < 0 ? strerrorname_np(errno) : "ok", now_ms() - t0 > 60 ? "a while" : "not");
    fflush(stdout);
    _exit(0);
  }
  while (!io) ms(1);
  C(fd_ == w);
  ms(60);
  R(fcntl(w, F_SETLEASE, F_RDLCK)); /* open for writing ourselves: only unlocking will do */
  R(fcntl(w, F_SETLEASE, F_UNLCK));
  waitpid(c, 0, 0);
  close(w);
  fd = open("f", O_RDONLY);
  R(fcntl(fd, F_SETLEASE, F_RDLCK));
  io = 0;
  CHILD("readers don't break a read lease", OK(open("f", O_RDONLY | O_NONBLOCK)));
  N(io);
  CHILD("writers do", R(open("f", O_WRONLY | O_NONBLOCK)));
  ms(20);
  N(io);
  R(fcntl(fd, F_GETLEASE));
  R(fcntl(fd, F_SETLEASE, F_UNLCK));
  R(fcntl(fd, F_SETLEASE, F_RDLCK));
  io = 0;
  fflush(stdout);
  if (!(c = fork())) _exit(truncate("f", 0) ? errno : 0);
  while (!io) ms(1);
  R(fcntl(fd, F_SETLEASE, F_UNLCK));
  int st;
  waitpid(c, &st, 0);
  status_("truncate", st);
  int p[2];
  pipe(p);
  R(fcntl(p[0], F_SETLEASE, F_RDLCK));
  int d = open(".", O_RDONLY);
  CHILD("not the owner's", setresuid(65534, 65534, 65534); int g = open("/etc/passwd", O_RDONLY); R(fcntl(g, F_SETLEASE, F_RDLCK)));
  put("own", "x");
  int only = open("own", O_RDONLY);
  R(fcntl(only, F_SETLEASE, F_WRLCK));
  fflush(stdout);
  pid_t wr = fork();
  if (!wr) {
    close(only);
    _exit(open("own", O_WRONLY) < 0);
  }
  ms(50);
  R(fcntl(only, F_SETLEASE, F_RDLCK)); /* somebody wants to write */
  R(fcntl(only, F_SETLEASE, F_UNLCK));
  int sw;
  waitpid(wr, &sw, 0);
  status_("the writer", sw);
  close(only);
  /* directory notification */
  io = 0;
  R(fcntl(d, F_NOTIFY, DN_CREATE | DN_DELETE));
  put("new", "");
  ms(20);
  N(io);
  unlink("new");
  ms(20);
  N(io); /* only once without DN_MULTISHOT */
  R(fcntl(d, F_NOTIFY, DN_CREATE | DN_DELETE | DN_RENAME | DN_MODIFY | DN_ATTRIB | DN_MULTISHOT));
  io = 0;
  put("new", ""), ms(20);
  C(io >= 1);
  io = 0;
  rename("new", "newer"), ms(20);
  C(io >= 1);
  io = 0;
  chmod("newer", 0600), ms(20);
  C(io >= 1);
  R(fcntl(d, F_NOTIFY, 0));
  io = 0;
  mkdir("sub", 0700);
  int s = open("sub", O_RDONLY);
  R(fcntl(d, F_NOTIFY, DN_ATTRIB | DN_MULTISHOT));
  R(fcntl(s, F_NOTIFY, DN_ATTRIB | DN_MULTISHOT));
  fcntl(d, F_SETSIG, SIGRTMIN), fcntl(s, F_SETSIG, SIGRTMIN);
  chmod("sub", 0755), ms(20);
  N(io); /* the directory itself and the one it is in */
  fcntl(d, F_NOTIFY, 0), fcntl(s, F_NOTIFY, 0);
  io = 0;
  R(fcntl(d, F_NOTIFY, DN_RENAME | DN_MULTISHOT));
  R(fcntl(s, F_NOTIFY, DN_RENAME | DN_MULTISHOT));
  rename("newer", "sub/newer"), ms(20);
  N(io); /* only within a directory */
  rename("sub/newer", "sub/new"), ms(20);
  N(io);
  rename("sub", "sub2"), ms(20);
  N(io);
  rename("sub2/new", "newer"), ms(20);
  N(io);
  fcntl(d, F_NOTIFY, 0), fcntl(s, F_NOTIFY, 0);
  io = 0;
  unlink("newer"), ms(20);
  N(io);
  int f = open("f", O_RDONLY);
  R(fcntl(f, F_NOTIFY, DN_CREATE));
  return 0;
}
