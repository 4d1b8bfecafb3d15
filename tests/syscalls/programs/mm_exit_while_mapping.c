/* A process that ends while its threads map files ends as it said. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd;

static void *mapping(void *arg) {
  (void)arg;
  for (;;) {
    char *p = mmap(NULL, 16384, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
      abort();
    munmap(p, 16384);
  }
  return NULL;
}

int main(void) {
  char path[] = "/tmp/mapXXXXXX";
  fd = mkstemp(path);
  if (fd < 0 || ftruncate(fd, 16384))
    return 1;
  unlink(path);
  int bad = 0;
  for (int i = 0; i < 40; i++) {
    pid_t p = fork();
    if (p == 0) {
      pthread_t t;
      for (int k = 0; k < 4; k++)
        pthread_create(&t, NULL, mapping, NULL);
      usleep(500 + 300 * (i % 7));
      if (i % 2)
        _exit(7);
      kill(getpid(), 9);
      pause();
    }
    int st;
    waitpid(p, &st, 0);
    if (i % 2 ? !WIFEXITED(st) || WEXITSTATUS(st) != 7 : !WIFSIGNALED(st) || WTERMSIG(st) != 9)
      printf("%d: %x\n", bad++, st);
  }
  printf("%d\n", bad);
  return 0;
}
