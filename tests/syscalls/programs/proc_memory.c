/* /proc/PID/statm, status and smaps: memory that is touched is counted, one's own and a child's. */
#include "t.h"

static long field(const char *path, const char *name) {
  char line[256];
  long v = -1;
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f))
    if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':') sscanf(line + strlen(name) + 1, "%ld", &v);
  if (f) fclose(f);
  return v;
}

static long pages(int pid) {
  char path[50];
  long total = 0, rss = 0;
  snprintf(path, sizeof path, "/proc/%d/statm", pid);
  FILE *f = fopen(path, "r");
  fscanf(f, "%ld %ld", &total, &rss);
  fclose(f);
  return rss;
}

static void area(void *at) {
  char line[256], name[32];
  int on = 0;
  long v;
  FILE *f = fopen("/proc/self/smaps", "r");
  while (fgets(line, sizeof line, f)) {
    unsigned long lo, hi;
    if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2) on = (unsigned long)at >= lo && (unsigned long)at < hi;
    else if (on && sscanf(line, "%31[^:]: %ld", name, &v) == 2 && (strstr("Size Rss Pss Private_Dirty Anonymous Locked Shared_Clean", name))) printf("%s %ld\n", name, v);
    else if (on && !strncmp(line, "VmFlags", 7)) printf("lo %d wr %d sh %d\n", !!strstr(line, " lo"), !!strstr(line, " wr"), !!strstr(line, " sh"));
  }
  fclose(f);
  fflush(stdout);
}

#define MB (1 << 20)
int main(void) {
  long before = pages(getpid()), kb = field("/proc/self/status", "RssAnon"), up = field("/proc/self/smaps_rollup", "Anonymous");
  char *p = (char *)mmap(0, 42 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + MB;
  mprotect(p, 40 * MB, PROT_READ | PROT_WRITE);
  madvise(p, 40 * MB, MADV_NOHUGEPAGE);
  for (int i = 0; i < 16 * MB; i += 4096) p[i] = 1;
  ms(30);
  long after = pages(getpid());
  C(after - before >= 16 * MB / 4096 - 50 && after - before < 17 * MB / 4096);
  long d = field("/proc/self/status", "RssAnon") - kb;
  C(d > 15000 && d < 18000);
  d = field("/proc/self/smaps_rollup", "Anonymous") - up;
  C(d > 15000 && d < 18000);
  C(field("/proc/self/status", "VmHWM") >= field("/proc/self/status", "VmRSS") - 200);
  C(field("/proc/self/status", "VmRSS") > 16000);
  area(p);
  madvise(p, 8 * MB, MADV_DONTNEED);
  ms(30);
  C(after - pages(getpid()) > 7 * MB / 4096);
  char *l = mmap(0, 2 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *none = mmap(0, 3 * MB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(none, MB);
  R(mlock(l, MB));
  area(l), area(none + MB);
  int ask[2], told[2];
  pipe(ask), pipe(told);
  pid_t c = fork();
  if (!c) {
    char x, *q = mmap(0, 30 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 30 * MB; i += 4096) q[i] = 1;
    write(told[1], "x", 1);
    read(ask[0], &x, 1);
    write(told[1], "x", 1);
    for (;;) q[0]++;
  }
  char x;
  read(told[0], &x, 1);
  C(pages(c) > 30 * MB / 4096);
  write(ask[1], "x", 1);
  read(told[0], &x, 1);
  ms(30);
  C(pages(c) > 30 * MB / 4096);
  kill(c, SIGKILL);
  ms(10);
  N(pages(c));
  waitpid(c, 0, 0);
  c = fork();
  if (!c) { /* what its calls return is not disturbed by those who look */
    char link[4096];
    int good = 0;
    for (int i = 0; i < 3000; i++) {
      memset(link, 0, sizeof link);
      good += readlink("/proc/self/exe", link, sizeof link) > 0 && link[0] == '/';
    }
    _exit(good != 3000);
  }
  int st;
  char path[50];
  snprintf(path, sizeof path, "/proc/%d/smaps", c);
  while (!waitpid(c, &st, WNOHANG)) field(path, "none");
  N(st);
  return 0;
}
