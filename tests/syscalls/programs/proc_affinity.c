/* What /proc tells of the processors a thread may run on: after sched_setaffinity, in children, in threads. */
#include "t.h"

static void show(const char *what, const char *path) {
  char line[256];
  FILE *f = fopen(path, "r");
  if (!f) {
    perror(path);
    return;
  }
  while (fgets(line, sizeof line, f)) {
    char *value = strchr(line, '\t');
    if (!strncmp(line, "Cpus_allowed:", 13)) {
      unsigned long long mask = 0; /* how many leading zeros there are is the machine's */
      for (char *c = value + 1; *c && *c != '\n'; c++)
        if (*c != ',') mask = mask << 4 | strtoul((char[]){*c, 0}, 0, 16);
      printf("%s: mask %llx\n", what, mask);
    } else if (!strncmp(line, "Cpus_allowed_list:", 18))
      printf("%s: list%s", what, value);
  }
  fclose(f);
  fflush(stdout);
}

static void show_task(const char *what, pid_t pid, pid_t tid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
  show(what, path);
}

static void bind_to(pid_t tid, int cpu) {
  cpu_set_t s;
  CPU_ZERO(&s);
  CPU_SET(cpu, &s);
  R(sched_setaffinity(tid, sizeof s, &s));
}

static int first, last; /* of the processors there are */
static _Atomic pid_t thread_id;
static int go[2];

static void *thread(void *arg) {
  char c;
  show("thread, inherited", "/proc/thread-self/status");
  bind_to(0, first);
  show("thread, its own", "/proc/thread-self/status");
  thread_id = syscall(SYS_gettid);
  read(go[0], &c, 1);
  return 0;
}

int main(void) {
  cpu_set_t all;
  sched_getaffinity(0, sizeof all, &all);
  while (!CPU_ISSET(first, &all)) first++;
  for (last = CPU_SETSIZE - 1; !CPU_ISSET(last, &all); last--) {
  }
  show("start", "/proc/self/status");
  bind_to(0, last);
  show("bound", "/proc/self/status");
  CHILD("child", show("child", "/proc/self/status"); bind_to(0, first); show("child, its own", "/proc/self/status");
        execl("/bin/grep", "grep", "Cpus_allowed_list", "/proc/self/status", (char *)0));
  show("after the child", "/proc/self/status");

  pthread_t t;
  pipe(go);
  pthread_create(&t, 0, thread, 0);
  while (!thread_id) sched_yield();
  show_task("thread, from outside", getpid(), thread_id);
  show_task("leader", getpid(), getpid());
  show("process", "/proc/self/status");
  bind_to(thread_id, last);
  show_task("thread, bound by the leader", getpid(), thread_id);
  write(go[1], "", 1);
  pthread_join(t, 0);

  R(sched_setaffinity(0, sizeof all, &all));
  show("all again", "/proc/self/status");
  return 0;
}
