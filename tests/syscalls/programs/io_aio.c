/* Asynchronous I/O: contexts, reads and writes with their results, polls, eventfds, what is refused. */
#include "t.h"
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
static aio_context_t ctx;
static struct iocb cb(int op, int fd, const void *buf, long n, long at, long data) {
  return (struct iocb){.aio_data = data, .aio_lio_opcode = op, .aio_fildes = fd, .aio_buf = (long)buf, .aio_nbytes = n, .aio_offset = at};
}
static long submit(struct iocb *c) { return syscall(SYS_io_submit, ctx, 1, &c); }
static void events(const char *what, long least) {
  struct io_event e[8];
  struct timespec t = {0, 200000000};
  long n = syscall(SYS_io_getevents, ctx, least, 8L, e, &t);
  printf("%s: %ld", what, n);
  for (long i = 0; i < n; i++) printf(" [%lld %lld %lld]", e[i].data, e[i].res, e[i].res2);
  puts(n < 0 ? strerrorname_np(errno) : "");
}
static void none(int s) {}
int main(void) {
  aio_context_t bad = 1, second = 0;
  R(syscall(SYS_io_setup, 0, &ctx));
  R(syscall(SYS_io_setup, -1, &ctx));
  R(syscall(SYS_io_setup, 1, &bad));
  R(syscall(SYS_io_setup, 1, 8));
  R(syscall(SYS_io_setup, 1 << 24, &ctx));
  R(syscall(SYS_io_setup, 4, &ctx));
  C(ctx != 0);
  char b[100] = "", page[4096];
  int f = open("f", O_RDWR | O_CREAT, 0600), ro = open("f", O_RDONLY), wo = open("f", O_WRONLY), d = open(".", O_RDONLY), ev = eventfd(0, EFD_NONBLOCK);
  int p[2];
  pipe(p);
  struct iocb w = cb(IOCB_CMD_PWRITE, f, "hello world", 11, 3, 1), r = cb(IOCB_CMD_PREAD, f, b, 100, 0, 2), s = cb(IOCB_CMD_FSYNC, f, 0, 0, 0, 3);
  struct iocb *all[] = {&w, &r, &s};
  R(syscall(SYS_io_submit, ctx, 3, all));
  events("three", 3);
  C(!memcmp(b, "\0\0\0hello world", 14));
  N(lseek(f, 0, SEEK_CUR));
  struct iovec v[2] = {{b, 2}, {b + 50, 30}};
  r = cb(IOCB_CMD_PREADV, ro, v, 2, 3, 4);
  R(submit(&r));
  events("vector", 1);
  C(!memcmp(b, "he", 2) && !memcmp(b + 50, "llo world", 9));
  r = cb(IOCB_CMD_PREAD, f, b, 10, 1000, 5);
  R(submit(&r));
  events("behind the end", 1);
  r = cb(IOCB_CMD_PREAD, f, b, 0, 0, 6);
  R(submit(&r));
  events("nothing", 1);
  r = cb(IOCB_CMD_PREAD, f, (void *)8, 10, 0, 7);
  R(submit(&r));
  events("no memory there", 1);
  r = cb(IOCB_CMD_PREAD, f, b, 3, 3, 8);
  r.aio_flags = IOCB_FLAG_RESFD, r.aio_resfd = ev;
  R(submit(&r));
  uint64_t n = 0;
  R(read(ev, &n, 8));
  N(n);
  events("with an eventfd", 1);
  r.aio_resfd = f;
  R(submit(&r));
  r.aio_resfd = 1000;
  R(submit(&r));
  w = cb(IOCB_CMD_PWRITE, p[1], "pipe", 4, 0, 9), r = cb(IOCB_CMD_PREAD, p[0], b, 10, 0, 10);
  struct iocb *both[] = {&w, &r};
  R(syscall(SYS_io_submit, ctx, 2, both));
  events("a pipe", 2);
  w = cb(IOCB_CMD_PWRITE, f, "end", 3, 0, 11);
  w.aio_rw_flags = 0x10; /* RWF_APPEND */
  R(submit(&w));
  events("append", 1);
  N(lseek(f, 0, SEEK_END));
  w.aio_rw_flags = 1 << 20;
  R(submit(&w));
  /* refused at once */
  r = cb(IOCB_CMD_PREAD, wo, b, 1, 0, 0);
  R(submit(&r));
  r = cb(IOCB_CMD_PWRITE, ro, b, 1, 0, 0);
  R(submit(&r));
  r = cb(IOCB_CMD_PREAD, 1000, b, 1, 0, 0);
  R(submit(&r));
  r = cb(IOCB_CMD_PREAD, d, b, 1, 0, 0);
  R(submit(&r));
  r = cb(IOCB_CMD_NOOP, f, b, 1, 0, 0);
  R(submit(&r));
  r = cb(77, f, b, 1, 0, 0);
  R(submit(&r));
  r = cb(IOCB_CMD_PREAD, f, b, -1, 0, 0);
  R(submit(&r));
  r = cb(IOCB_CMD_FSYNC, f, b, 0, 0, 0);
  R(submit(&r));
  r = cb(IOCB_CMD_FSYNC, p[0], 0, 0, 0, 0);
  R(submit(&r));
  r = cb(IOCB_CMD_PREAD, f, b, 1, 0, 0), r.aio_reserved2 = 1;
  R(submit(&r));
  R(syscall(SYS_io_submit, ctx, -1, all));
  R(syscall(SYS_io_submit, ctx, 0, 8));
  R(syscall(SYS_io_submit, ctx, 1, 8));
  R(syscall(SYS_io_submit, 4096, 1, all));
  struct iocb *holes[] = {&s, 0};
  R(syscall(SYS_io_submit, ctx, 2, holes));
  events("up to the hole", 1);
  R(syscall(SYS_io_getevents, ctx, 2, 1, 0, 0));
  R(syscall(SYS_io_getevents, ctx, -1, 1, 0, 0));
  R(syscall(SYS_io_getevents, 4096, 0, 1, 0, 0));
  R(syscall(SYS_io_getevents, ctx, 0, 1, 0, 8));
  R(submit(&s));
  R(syscall(SYS_io_getevents, ctx, 1, 1, 8, 0));
  events("not lost", 1);
  events("none in time", 1);
  /* polls */
  r = cb(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0, 12);
  R(submit(&r));
  events("not yet", 0);
  write(p[1], "x", 1);
  events("readable", 1);
  R(submit(&r));
  events("already", 1);
  read(p[0], b, 1);
  struct io_event e;
  R(submit(&r));
  R(syscall(SYS_io_cancel, ctx, &r, &e));
  events("cancelled", 1);
  R(syscall(SYS_io_cancel, ctx, &r, &e));
  R(syscall(SYS_io_cancel, ctx, 0, &e));
  R(syscall(SYS_io_cancel, 4096, &r, &e));
  r.aio_nbytes = 1;
  R(submit(&r));
  r = cb(IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0, 13);
  R(submit(&r));
  fflush(stdout);
  pid_t c = fork();
  if (!c) {
    R(syscall(SYS_io_getevents, ctx, 0, 1, &e, 0)); /* the parent's */
    ms(50);
    write(p[1], "y", 1);
    fflush(stdout);
    _exit(0);
  }
  R(syscall(SYS_io_getevents, ctx, 1, 1, &e, 0));
  N(e.data);
  N(e.res);
  waitpid(c, 0, 0);
  struct sigaction sa = {.sa_handler = none};
  sigaction(SIGALRM, &sa, 0);
  struct itimerval it = {{0, 0}, {0, 50000}};
  setitimer(ITIMER_REAL, &it, 0);
  R(syscall(SYS_io_getevents, ctx, 1, 1, &e, 0));
  sigset_t none_ = {0};
  struct { const void *m; size_t n; } mask = {&none_, 8};
  struct timespec zero = {0};
  R(syscall(SYS_io_pgetevents, ctx, 0, 1, &e, &zero, &mask));
  mask.n = 3;
  R(syscall(SYS_io_pgetevents, ctx, 0, 1, &e, &zero, &mask));
  /* ends */
  read(p[0], b, 1);
  R(submit(&r));
  R(syscall(SYS_io_setup, 4, &second));
  R(syscall(SYS_io_destroy, second));
  R(syscall(SYS_io_destroy, second));
  R(syscall(SYS_io_destroy, ctx));
  events("gone", 0);
  R(syscall(SYS_io_destroy, 0));
  return 0;
}
