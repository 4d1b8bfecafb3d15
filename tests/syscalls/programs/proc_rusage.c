/* User and system time, page faults and context switches, of oneself, of children, and in /proc. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 3000

static void touch(void) {
  char *p = mmap(NULL, PAGES << 12, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  madvise(p, PAGES << 12, MADV_NOHUGEPAGE);
  for (int i = 0; i < PAGES; i++)
    p[i << 12] = 1;
  munmap(p, PAGES << 12);
}

static long us(struct timeval t) { return t.tv_sec * 1000000l + t.tv_usec; }

/* Page faults and unmapping cost system time. */
static void work(void) {
  struct timespec t;
  volatile long x = 0;
  do {
    touch();
    for (int i = 0; i < 10000000; i++)
      x += i;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  } while (t.tv_sec * 1000l + t.tv_nsec / 1000000 < 300);
}

static void stat_file(long *minflt, long *cminflt, long *utime, long *stime, long *cutime) {
  char buf[1024];
  int fd = open("/proc/self/stat", O_RDONLY);
  buf[read(fd, buf, 1023)] = 0;
  close(fd);
  sscanf(strrchr(buf, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %ld %ld %*d %*d %ld %ld %ld", minflt,
         cminflt, utime, stime, cutime);
}

static void *thread(void *arg) {
  struct rusage a, b;
  getrusage(RUSAGE_THREAD, &a);
  touch();
  getrusage(RUSAGE_THREAD, &b);
  printf("thread: faults %d, time does not go back %d\n", b.ru_minflt - a.ru_minflt >= PAGES,
         us(b.ru_utime) + us(b.ru_stime) >= us(a.ru_utime) + us(a.ru_stime));
  return arg;
}

int main(int argc, char **argv) {
  if (argc > 1) { /* the part after exec */
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    printf("after exec: faults %d user %d system %d\n", r.ru_minflt >= PAGES,
           r.ru_utime.tv_usec > 0, us(r.ru_stime) > 0);
    return 0;
  }
  struct rusage a, b;
  sigset_t chld;
  sigemptyset(&chld);
  sigaddset(&chld, SIGCHLD);
  sigprocmask(SIG_BLOCK, &chld, NULL);
  long minflt, cminflt, utime, stime, cutime;
  getrusage(RUSAGE_SELF, &a);
  touch();
  getrusage(RUSAGE_SELF, &b);
  long n = b.ru_minflt - a.ru_minflt;
  printf("faults: %d\n", n >= PAGES && n < PAGES + 500);
  printf("maxrss: %d\n", b.ru_maxrss >= PAGES * 4 && b.ru_maxrss < PAGES * 4 + 20000);
  getrusage(RUSAGE_CHILDREN, &a);
  printf("children: %ld %ld %ld\n", us(a.ru_utime), us(a.ru_stime), a.ru_minflt);
  work();
  getrusage(RUSAGE_SELF, &b);
  printf("times: user %d system %d\n", us(b.ru_utime) > 20000, us(b.ru_stime) > 10000);
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  long all = us(b.ru_utime) + us(b.ru_stime), clock = t.tv_sec * 1000000l + t.tv_nsec / 1000;
  printf("sum: %d\n", all > clock - 60000 && all <= clock + 60000);
  struct tms tms;
  times(&tms);
  stat_file(&minflt, &cminflt, &utime, &stime, &cutime);
  printf("times(2): %d %d\n", tms.tms_utime > 1 && tms.tms_stime > 0, !tms.tms_cutime);
  printf("stat: %d %d %d %ld %ld\n", minflt >= PAGES, utime > 1, stime > 0, cminflt, cutime);
  pthread_t th;
  pthread_create(&th, NULL, thread, NULL);
  pthread_join(th, NULL);
  for (int how = 0; how < 3; how++) {
    fflush(stdout);
    pid_t p = fork();
    if (!p) {
      getrusage(RUSAGE_SELF, &a);
      if (us(a.ru_utime) > 200000 || a.ru_minflt > PAGES)
        _exit(9);
      work();
      if (how == 1)
        abort();
      if (how == 2)
        execl("/proc/self/exe", "x", "again", NULL);
      _exit(3);
    }
    int st;
    siginfo_t si, w;
    sigwaitinfo(&chld, &si);
    printf("siginfo: %d %d\n", si.si_utime > 1, si.si_stime > 0);
    memset(&w, 0x5a, sizeof w);
    waitid(P_PID, p, &w, WEXITED | WNOWAIT);
    printf("waitid: %lx %lx\n", (long)w.si_utime, (long)w.si_stime);
    wait4(p, &st, 0, &b);
    printf("child %x: faults %d user %d system %d\n", st & ~0x80, b.ru_minflt >= PAGES,
           us(b.ru_utime) > 20000, us(b.ru_stime) > 10000);
    getrusage(RUSAGE_CHILDREN, &a);
    printf("children: %d %d\n", us(a.ru_utime) >= us(b.ru_utime), a.ru_minflt >= (how + 1) * PAGES);
  }
  times(&tms);
  stat_file(&minflt, &cminflt, &utime, &stime, &cutime);
  printf("times(2): %d %d\n", tms.tms_cutime > 5, tms.tms_cstime > 0);
  printf("stat: %d %d\n", cminflt >= 3 * PAGES, cutime > 5);
  signal(SIGCHLD, SIG_IGN);
  getrusage(RUSAGE_CHILDREN, &a);
  if (!fork()) {
    char *m = malloc(100 << 20);
    memset(m, 1, 100 << 20);
    _exit(0);
  }
  while (wait(0) > 0) {
  }
  getrusage(RUSAGE_CHILDREN, &b);
  printf("nobody waited: %d %d\n", b.ru_maxrss == a.ru_maxrss, b.ru_minflt == a.ru_minflt);
  return 0;
}
