/* RLIMIT_DATA, RLIMIT_AS, RLIMIT_STACK, RLIMIT_FSIZE as the calls see them. */
#include "t.h"
#include <sys/epoll.h>
#define RW (PROT_READ | PROT_WRITE)
#define AN (MAP_PRIVATE | MAP_ANONYMOUS)
#define MAP(...) ((long)mmap(__VA_ARGS__) == -1 ? -1 : 0)
static void lim(int w, rlim_t n) {
  struct rlimit l;
  getrlimit(w, &l);
  l.rlim_cur = n;
  if (setrlimit(w, &l)) perror("setrlimit");
}
static volatile int sink;
static void deep(int n) {
  volatile char a[4096];
  a[0] = n;
  if (n) deep(n - 1);
  sink += a[0];
}
/* The limit on file sizes holds for our own output, too, unless somebody else writes it. */
static void via_pipe(void) {
  int p[2];
  pipe(p);
  if (fork()) {
    dup2(p[1], 1);
    close(p[0]), close(p[1]);
    return;
  }
  close(p[1]);
  char b[4096];
  long n;
  while ((n = read(p[0], b, sizeof b)) > 0) write(1, b, n);
  _exit(0);
}
static void end_pipe(void) {
  fflush(stdout);
  close(1);
  wait(0);
}
static void got(int s) { write(1, "SIGXFSZ\n", 8); }
int main(void) {
  CHILD("data", lim(RLIMIT_DATA, 1 << 24); R(MAP(0, 1 << 25, RW, AN, -1, 0)); R(MAP(0, 1 << 25, PROT_READ, AN, -1, 0));
        R(MAP(0, 1 << 25, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0)); C(sbrk(1 << 25) == (void *)-1); R(MAP(0, 1 << 20, RW, AN, -1, 0)));
  CHILD("data, by mprotect", char *p = mmap(0, 1 << 25, PROT_READ, AN, -1, 0); lim(RLIMIT_DATA, 1 << 24); R(mprotect(p, 1 << 25, RW));
        R(mprotect(p, 1 << 20, RW)));
  CHILD("as", lim(RLIMIT_AS, 1 << 28); R(MAP(0, 1 << 29, RW, AN, -1, 0)); R(MAP(0, 1 << 29, PROT_NONE, AN | MAP_NORESERVE, -1, 0));
        C(sbrk(1 << 29) == (void *)-1); R(MAP(0, 1 << 20, RW, AN, -1, 0)));
  CHILD("as, brk", char *b = sbrk(0); lim(RLIMIT_AS, 1 << 28); R(brk(b + (1 << 29))); R(brk(b + 4096)));
  CHILD("stack", lim(RLIMIT_STACK, 1 << 20); deep(100); puts("100 deep"); fflush(stdout); deep(1000); puts("?"));
  CHILD("stack grows to the limit", lim(RLIMIT_STACK, 1 << 22); deep(900); puts("900 deep"));
  struct rlimit c = {0, 0};
  setrlimit(RLIMIT_CORE, &c);
  CHILD("fsize", via_pipe(); lim(RLIMIT_FSIZE, 100); signal(SIGXFSZ, got); int fd = open("f", O_RDWR | O_CREAT, 0644); char b[200] = "";
        R(write(fd, b, 60)); R(write(fd, b, 60)); R(write(fd, b, 60)); R(pwrite(fd, b, 10, 95)); R(pwrite(fd, b, 10, 200));
        R(ftruncate(fd, 100)); R(ftruncate(fd, 101)); R(truncate("f", 1000)); R(posix_fallocate(fd, 50, 60)); R(lseek(fd, 500, SEEK_SET)); end_pipe());
  CHILD("fsize, default action", lim(RLIMIT_FSIZE, 0); int fd = open("g", O_RDWR | O_CREAT, 0644); write(fd, "x", 1));
  CHILD("fsize is not for pipes", via_pipe(); lim(RLIMIT_FSIZE, 0); int p[2]; pipe(p); R(write(p[1], "abc", 3)); int m = memfd_create("m", 0);
        signal(SIGXFSZ, got); R(write(m, "abc", 3)); end_pipe());
  CHILD("nofile", lim(RLIMIT_NOFILE, 20); int n = 0; while (dup(1) >= 0) n++; printf("%s %d\n", strerrorname_np(errno), n > 0); R(dup2(1, 20)); R(dup2(1, 19));
        R(fcntl(1, F_DUPFD, 20)); R(fcntl(1, F_DUPFD, 19)); int p[2]; R(pipe(p)); R(open("/", O_RDONLY)); R(socket(AF_UNIX, SOCK_STREAM, 0)); R(epoll_create1(0));
        struct pollfd f[30] = {}; R(poll(f, 21, 0)); R(memfd_create("x", 0)));
  CHILD("nofile is not for open ones", int h = fcntl(1, F_DUPFD, 50); lim(RLIMIT_NOFILE, 10); R(write(h, "still\n", 6)); OK(dup(h)));
  CHILD("nproc", lim(RLIMIT_NPROC, 1); setresuid(65533, 65533, 65533); pid_t p = fork(); if (p == 0) _exit(0); printf("fork %s\n", p < 0 ? strerrorname_np(errno) : "ok"));
  CHILD("nproc and root", lim(RLIMIT_NPROC, 1); pid_t p = fork(); if (p == 0) _exit(0); printf("fork %s\n", p < 0 ? strerrorname_np(errno) : "ok"));
  CHILD("nproc at exec", lim(RLIMIT_NPROC, 0); setresuid(65533, 65533, 65533); execl("/bin/true", "true", NULL); printf("%s\n", strerrorname_np(errno)));
  CHILD("cpu", struct rlimit l = {1, 2}; setrlimit(RLIMIT_CPU, &l); signal(SIGXCPU, SIG_DFL); for (;;) sink++);
  return 0;
}
