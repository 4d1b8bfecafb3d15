/* Execution domains and what their flags change; timer slack through fork. */
#include "t.h"
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/utsname.h>

static void show(const char *what) {
  struct utsname u;
  uname(&u);
  u.release[u.release[0] == '2' ? 4 : 0] = 0;
  printf("%s: %s %s\n", what, u.machine, u.release);
  fflush(stdout);
}

static char perm(void *p) {
  char line[200], r = '?';
  FILE *f = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, f)) {
    unsigned long lo, hi;
    char m[5];
    if (sscanf(line, "%lx-%lx %4s", &lo, &hi, m) == 3 && (unsigned long)p >= lo && (unsigned long)p < hi) r = m[2];
  }
  fclose(f);
  return r;
}

static void address(char *exe, char *out, size_t n) {
  int p[2];
  if (pipe(p)) return;
  pid_t c = fork();
  if (!c) {
    dup2(p[1], 1);
    execl(exe, exe, "where", NULL);
    _exit(9);
  }
  close(p[1]);
  ssize_t got = read(p[0], out, n - 1);
  out[got > 0 ? got : 0] = 0;
  close(p[0]);
  waitpid(c, 0, 0);
}

int main(int argc, char **argv) {
  if (argc > 1) {
    void *m = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("%p %p %p %p\n", (void *)&argc, sbrk(0), (void *)main, m);
    return 0;
  }
  R(personality(0xffffffff));
  R(personality(PER_SVR4));
  R(personality(PER_LINUX32));
  show("PER_LINUX32");
  R(personality(0x1234567));
  R(personality(PER_LINUX | 0x0020000));
  show("UNAME26");
  R(personality(PER_LINUX | STICKY_TIMEOUTS));
  struct timeval tv = {0, 10};
  R(select(0, 0, 0, 0, &tv));
  N(tv.tv_usec);
  struct timespec ts = {0, 1000};
  R(syscall(SYS_ppoll, 0, 0, &ts, 0, 8));
  N(ts.tv_nsec);
  personality(PER_LINUX);
  tv.tv_usec = 10;
  R(select(0, 0, 0, 0, &tv));
  N(tv.tv_usec);
  personality(READ_IMPLIES_EXEC);
  void *r = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *n = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  printf("%c %c\n", perm(r), perm(n));
  mprotect(n, 4096, PROT_READ | PROT_WRITE);
  printf("%c\n", perm(n));
  personality(ADDR_NO_RANDOMIZE);
  char a[200], b[200];
  address(argv[0], a, sizeof a), address(argv[0], b, sizeof b);
  C(!strcmp(a, b));
  CHILD("inherited", R(personality(0xffffffff)));
  personality(PER_LINUX);
  R(prctl(PR_SET_TIMERSLACK, 70000));
  CHILD("slack", R(prctl(PR_GET_TIMERSLACK)); R(prctl(PR_SET_TIMERSLACK, 5)); R(prctl(PR_GET_TIMERSLACK)); R(prctl(PR_SET_TIMERSLACK, 0)); R(prctl(PR_GET_TIMERSLACK)));
  R(prctl(PR_SET_TIMERSLACK, 0));
  R(prctl(PR_GET_TIMERSLACK));
  return 0;
}
