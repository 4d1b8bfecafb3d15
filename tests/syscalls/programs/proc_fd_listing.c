/* /proc/self/fd and /proc/self/task listed in small pieces while their entries go. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct entry {
  unsigned long ino, off;
  unsigned short len;
  unsigned char type;
  char name[];
};

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int i = 3; i < 60; i++)
    dup2(1, i);
  int d = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
  char buf[200];
  long n;
  int closed = 0;
  while ((n = syscall(SYS_getdents64, d, buf, sizeof buf)) > 0)
    for (long at = 0; at < n;) {
      struct entry *e = (struct entry *)(buf + at);
      at += e->len;
      int fd = atoi(e->name);
      if (e->name[0] != '.' && fd > 2 && fd != d)
        closed += close(fd) == 0;
    }
  printf("closed %d\n", closed >= 57);
  int left = 0;
  for (int i = 3; i < 60; i++)
    left += fcntl(i, F_GETFD) == 0;
  printf("left %d\n", left);
  lseek(d, 0, SEEK_SET);
  DIR *dir = fdopendir(d);
  long where = -1;
  struct dirent *e;
  while ((e = readdir(dir)))
    if (!strcmp(e->d_name, "1"))
      where = telldir(dir);
  seekdir(dir, where);
  e = readdir(dir);
  printf("after 1: %s\n", e ? e->d_name : "nothing");
  close(2);
  seekdir(dir, where);
  e = readdir(dir);
  printf("after 1: %d\n", e && !strcmp(e->d_name, "2"));
  closedir(dir);
  dir = opendir("/proc");
  int last = 0, up = 1, me = 0;
  while ((e = readdir(dir))) {
    int pid = atoi(e->d_name);
    if (pid) {
      up &= pid > last;
      last = pid;
      me += pid == getpid();
    }
  }
  printf("pids go up %d, me %d\n", up, me);
  return 0;
}
