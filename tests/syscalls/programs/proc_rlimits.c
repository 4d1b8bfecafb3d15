#include "t.h"

int main(void) {
  struct rlimit l, o;
  R(getrlimit(RLIMIT_NOFILE, &l));
  N(l.rlim_cur);
  l.rlim_cur = 10;
  l.rlim_max = 20;
  R(setrlimit(RLIMIT_NOFILE, &l));
  int n = 0;
  while (dup(0) >= 0) n++;
  N(n);
  puts(strerrorname_np(errno));
  R(dup2(0, 10));
  R(dup2(0, 9));
  R(fcntl(0, F_DUPFD, 10));
  R(open("/", O_RDONLY));
  R(syscall(SYS_pipe2, (int[2]){}, 0));
  R(socket(AF_UNIX, SOCK_STREAM, 0));
  l.rlim_cur = 21;
  R(setrlimit(RLIMIT_NOFILE, &l));
  R(getrlimit(99, &l));
  R(getrlimit(RLIMIT_CORE, (void *)8));
  R(prlimit(0, RLIMIT_NOFILE, 0, &o));
  printf("%ld %ld\n", (long)o.rlim_cur, (long)o.rlim_max);
  R(prlimit(999999, RLIMIT_NOFILE, 0, &o));
  for (int i = 3; i < 20; i++) close(i);
  CHILD("not root", setuid(1000); l.rlim_cur = 5; l.rlim_max = 30; R(setrlimit(RLIMIT_NOFILE, &l)); l.rlim_max = 15;
        R(setrlimit(RLIMIT_NOFILE, &l)); l.rlim_max = 20; R(setrlimit(RLIMIT_NOFILE, &l)); R(prlimit(getppid(), RLIMIT_CPU, 0, &o)));
  signal(SIGXFSZ, SIG_IGN);
  l.rlim_cur = l.rlim_max = 10;
  R(setrlimit(RLIMIT_FSIZE, &l));
  int fd = open("f", O_RDWR | O_CREAT, 0600);
  char b[20] = "0123456789012345678";
  R(write(fd, b, 15));
  R(write(fd, b, 1));
  R(ftruncate(fd, 11));
  CHILD("SIGXFSZ", signal(SIGXFSZ, SIG_DFL); write(fd, b, 1));
  struct rusage u;
  R(getrusage(RUSAGE_SELF, &u));
  R(getrusage(RUSAGE_CHILDREN, &u));
  R(getrusage(RUSAGE_THREAD, &u));
  R(getrusage(5, &u));
  R(getrusage(RUSAGE_SELF, (void *)8));
  return 0;
}
