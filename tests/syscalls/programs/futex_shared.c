#include "t.h"

#include <linux/futex.h>
int main(void) {
  int fd = memfd_create("x", 0);
  ftruncate(fd, 4096);
  unsigned *a = mmap(0, 4096, 3, MAP_SHARED, fd, 0), *b = mmap(0, 4096, 3, MAP_SHARED, fd, 0);
  pid_t p = fork();
  if (!p) {
    long r = syscall(SYS_futex, b + 3, FUTEX_WAIT, 0, 0, 0, 0);
    _exit(r == 0 ? 7 : 8);
  }
  ms(100);
  R(syscall(SYS_futex, a + 3, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0));
  R(syscall(SYS_futex, a + 3, FUTEX_WAKE, 1, 0, 0, 0));
  int st;
  waitpid(p, &st, 0);
  status_("child", st);
  unsigned *s = mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_t at;
  pthread_mutexattr_init(&at);
  pthread_mutexattr_setpshared(&at, PTHREAD_PROCESS_SHARED);
  pthread_mutex_t *m = (void *)(s + 16);
  pthread_mutex_init(m, &at);
  fflush(stdout);
  for (int i = 0; i < 4; i++)
    if (!fork()) {
      for (int k = 0; k < 500; k++) pthread_mutex_lock(m), s[0]++, pthread_mutex_unlock(m);
      _exit(0);
    }
  while (wait(0) > 0) {
  }
  N(s[0]);
  char *bad = mmap(0, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(bad + 4096, 4096);
  R(syscall(SYS_futex, bad, FUTEX_WAKE, 1, 0, 0, 0));
  R(syscall(SYS_futex, bad + 4096, FUTEX_WAKE, 1, 0, 0, 0));
  R(syscall(SYS_futex, bad, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0));
  R(syscall(SYS_futex, s, FUTEX_REQUEUE, 1, 1, bad, 0));
  R(syscall(SYS_futex, s, FUTEX_REQUEUE, 1, 1, bad + 4096, 0));
  R(syscall(SYS_futex, bad, FUTEX_REQUEUE, 1, 1, s, 0));
  mprotect(bad, 4096, PROT_READ);
  R(syscall(SYS_futex, bad, FUTEX_WAKE, 1, 0, 0, 0));
  return 0;
}
