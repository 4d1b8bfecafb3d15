/* Streams through a pipe whose reader sleeps: after each way in which a writer can stop writing, all of it arrives, and promptly enough
 * for what follows. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/sendfile.h>

static char block[10240];

struct sum {
  unsigned long n, sum;
};

/* Reads to the end, or to the byte 'E': how much came and what it adds up to. */
static struct sum count(int fd) {
  static unsigned char b[131072];
  struct sum s = {0, 0};
  long r;
  while ((r = read(fd, b, sizeof b)) > 0) {
    for (long i = 0; i < r; i++)
      s.sum += b[i] * (1 + (s.n + i) % 251);
    s.n += r;
    if (b[r - 1] == 'E')
      break;
  }
  return s;
}

/* So many small blocks, each of which finds the reader asleep, as a rule. */
static void blocks(int fd, int n, int size) {
  for (int i = 0; i < n; i++) {
    memset(block, 'a' + i % 20, size);
    if (write(fd, block, size) != size)
      perror("write");
    for (volatile int k = 0; k < 3000; k++) {
    }
  }
}

static int reader(int p[2], int answer[2]) {
  fflush(stdout);
  if (pipe(p) || pipe(answer))
    perror("pipe");
  pid_t pid = fork();
  if (!pid) {
    close(p[1]);
    close(answer[0]);
    struct sum s = count(p[0]);
    write(answer[1], &s, sizeof s);
    pause();
  }
  close(answer[1]);
  close(p[0]);
  ms(2);
  return pid;
}

/* Waits for the reader's word, then ends it. */
static struct sum end(pid_t pid, int p[2], int answer[2]) {
  struct sum s = {0, 0};
  if (read(answer[0], &s, sizeof s) != sizeof s)
    printf("no answer\n");
  kill(pid, SIGKILL);
  waitpid(pid, 0, 0);
  close(p[1]);
  close(answer[0]);
  return s;
}

static void *sleeper(void *arg) {
  pause();
  return arg;
}

static void hear(int s) {}

/* Threads that read a byte at a time until they are told to stop. */
static int common[2];
static atomic_int got;
static void *nibble(void *arg) {
  char c;
  while (read(common[0], &c, 1) == 1 && c != 'E')
    got++;
  return arg;
}

static void *feed(void *arg) {
  char c = 'x';
  for (int i = 0; i < 200; i++) {
    write(common[1], &c, 1);
    for (volatile int k = 0; k < 3000; k++) {
    }
  }
  return arg;
}

#define STREAM(name, blks, size, ...) \
  do { \
    int p[2], answer[2]; \
    pid_t pid = reader(p, answer); \
    blocks(p[1], blks, size); \
    __VA_ARGS__; \
    struct sum all = end(pid, p, answer); \
    printf("%s: %lu bytes, %lx\n", name, all.n, all.sum); \
  } while (0)

static void compute_for(long n) {
  long until = now_ms() + n;
  while (now_ms() < until) {
  }
}

int main(int argc, char **argv) {
  if (argc > 1) { /* what an exec leaves: the pipe is still there, its writer does nothing more */
    ms(50);
    return 0;
  }
  sigset_t io;
  sigemptyset(&io);
  sigaddset(&io, SIGIO);
  sigprocmask(SIG_BLOCK, &io, 0);

  /* The last byte says that it is the end: the reader needs no end of file. */
  for (int n = 1; n < 40; n += 6) {
    STREAM("reads the answer", n, 100, write(p[1], "E", 1));
    STREAM("big blocks", n, 10240, write(p[1], "E", 1));
  }
  STREAM("computes", 30, 100, write(p[1], "E", 1); compute_for(30));
  STREAM("sleeps", 30, 100, write(p[1], "E", 1); ms(20));
  STREAM("closes", 30, 100, close(p[1]));
  STREAM("closes a copy", 30, 100, int c = dup(p[1]); write(c, "E", 1); close(c));
  STREAM("dup2 over it", 30, 100, dup2(1, p[1]));
  STREAM("waits for its child", 30, 100, CHILD("child", write(p[1], "E", 1)));
  STREAM("a child ends", 2, 100, CHILD("child", close(answer[0]); blocks(p[1], 30, 100); write(p[1], "E", 1)));
  STREAM("a child execs", 2, 100, CHILD("child", blocks(p[1], 30, 100); write(p[1], "E", 1); execl("/proc/self/exe", "x", "y", NULL)));
  STREAM("a child is killed", 2, 100, CHILD("child", blocks(p[1], 30, 100); write(p[1], "E", 1); kill(getpid(), SIGKILL)));
  STREAM("a bigger pipe", 30, 100, fcntl(p[1], F_SETPIPE_SZ, 1 << 20); write(p[1], "E", 1));
  STREAM("a smaller pipe", 30, 100, fcntl(p[1], F_SETPIPE_SZ, 4096); write(p[1], "E", 1));
  STREAM("fills it", 30, 100, static char big[300000]; memset(big, 'x', sizeof big); write(p[1], big, sizeof big); write(p[1], "E", 1));
  STREAM("not to wait", 30, 100, fcntl(p[1], F_SETFL, O_NONBLOCK); write(p[1], "E", 1));
  STREAM("in packets", 30, 100, fcntl(p[1], F_SETFL, O_DIRECT); write(p[1], "E", 1));
  STREAM("writev", 30, 100, struct iovec v[2] = {{"abc", 3}, {"E", 1}}; writev(p[1], v, 2));
  STREAM("vmsplice", 30, 100, struct iovec v = {"E", 1}; vmsplice(p[1], &v, 1, 0));
  STREAM("splice", 30, 100, int q[2]; pipe(q); write(q[1], "E", 1); splice(q[0], 0, p[1], 0, 1, 0); close(q[0]); close(q[1]));
  STREAM("tee", 30, 100, int q[2]; pipe(q); write(q[1], "E", 1); tee(q[0], p[1], 1, 0); close(q[0]); close(q[1]));
  STREAM("sendfile", 30, 100, put("e", "E"); int f = open("e", O_RDONLY); sendfile(p[1], f, 0, 1); close(f));
  STREAM("a thread", 30, 100, write(p[1], "E", 1); pthread_t th; pthread_create(&th, 0, sleeper, 0));
  STREAM("stops", 2, 100, int st; pid_t w = fork(); if (!w) {
    blocks(p[1], 30, 100);
    write(p[1], "E", 1);
    raise(SIGSTOP);
    _exit(0);
  } waitpid(w, &st, WUNTRACED); status_("stopped", st); ms(20); kill(w, SIGCONT); waitpid(w, &st, 0); status_("went on", st));

  /* Who comes later takes what is there, though another sleeps for it. */
  {
    int p[2], answer[2];
    pid_t pid = reader(p, answer);
    char name[64], b[10];
    snprintf(name, sizeof name, "/proc/self/fd/%d", p[1]);
    int r = open(name, O_RDONLY | O_NONBLOCK);
    blocks(p[1], 30, 100);
    long total = 0, n;
    while ((n = read(r, b, sizeof b)) > 0)
      total += n;
    write(p[1], "E", 1);
    N(total + end(pid, p, answer).n);
    close(r);
  }

  /* A signal that comes after the data doesn't take the reader's wake away. */
  {
    int p[2], answer[2];
    pipe(p);
    pipe(answer);
    pid_t pid = fork();
    if (!pid) {
      struct sigaction sa = {.sa_handler = hear};
      sigaction(SIGUSR1, &sa, 0);
      int bad = 0;
      for (int n = 0;;) {
        long r = read(p[0], block, sizeof block);
        bad += r < 0;
        n += r > 0 ? r : 0;
        if (r > 0 && block[r - 1] == 'E') {
          write(answer[1], bad ? "b" : "g", 1);
          pause();
        }
      }
    }
    ms(5);
    blocks(p[1], 30, 100);
    write(p[1], "E", 1);
    kill(pid, SIGUSR1);
    char c = 0;
    read(answer[0], &c, 1);
    N(c);
    kill(pid, SIGKILL);
    waitpid(pid, 0, 0);
    close(p[0]), close(p[1]), close(answer[0]), close(answer[1]);
  }

  /* Two who read, two who write. */
  {
    pthread_t r[2], w[2];
    pipe(common);
    for (int i = 0; i < 2; i++)
      pthread_create(&r[i], 0, nibble, 0);
    ms(5);
    for (int i = 0; i < 2; i++)
      pthread_create(&w[i], 0, feed, 0);
    for (int i = 0; i < 2; i++)
      pthread_join(w[i], 0);
    write(common[1], "E", 1);
    write(common[1], "E", 1);
    for (int i = 0; i < 2; i++)
      pthread_join(r[i], 0);
    N(got);
    close(common[0]), close(common[1]);
  }

  /* What is written is there for poll and epoll at once, whoever sleeps in a read. */
  {
    pthread_t r;
    pipe(common);
    int e = epoll_create1(0), bad = 0;
    struct epoll_event ev = {EPOLLIN}, out;
    got = 0;
    for (int i = 0; i < 60; i++) {
      char c = 'x';
      write(common[1], &c, 1);
      if (i == 20)
        R(epoll_ctl(e, EPOLL_CTL_ADD, common[0], &ev));
      if (i >= 20 && epoll_wait(e, &out, 1, 0) != 1)
        bad++;
      struct pollfd pf = {common[0], POLLIN};
      if (poll(&pf, 1, 0) != 1)
        bad++;
      read(common[0], &c, 1);
    }
    N(bad);
    pthread_create(&r, 0, nibble, 0);
    ms(5);
    feed(0);
    write(common[1], "E", 1);
    pthread_join(r, 0);
    N(got);
    R(epoll_wait(e, &out, 1, 0));
    close(e), close(common[0]), close(common[1]);
  }

  /* SIGIO has come when the write returns. */
  {
    pthread_t r;
    struct timespec none = {0, 0};
    int bad = 0;
    pipe(common);
    got = 0;
    fcntl(common[0], F_SETOWN, getpid());
    fcntl(common[0], F_SETFL, O_ASYNC);
    pthread_create(&r, 0, nibble, 0);
    ms(5);
    for (int i = 0; i < 30; i++) {
      write(common[1], "x", 1);
      if (sigtimedwait(&io, 0, &none) != SIGIO)
        bad++;
      for (volatile int k = 0; k < 30000; k++) {
      }
    }
    write(common[1], "E", 1);
    pthread_join(r, 0);
    N(bad);
    N(got);
  }

  /* Those who take turns, and one whose partner suddenly does. */
  {
    int p[2], q[2];
    pipe(p);
    pipe(q);
    pid_t pid = fork();
    if (!pid) {
      long r;
      close(p[1]);
      while ((r = read(p[0], block, sizeof block)) > 0)
        if (block[r - 1] == '?')
          write(q[1], "!", 1);
      _exit(0);
    }
    close(p[0]);
    int answers = 0;
    char c;
    for (int round = 0; round < 40; round++) {
      blocks(p[1], round, 50);
      write(p[1], "?", 1);
      answers += read(q[0], &c, 1) == 1;
    }
    N(answers);
    close(p[1]);
    waitpid(pid, 0, 0);
  }
  return 0;
}
