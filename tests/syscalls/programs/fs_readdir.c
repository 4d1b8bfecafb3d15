#include "t.h"

#include <dirent.h>
static int cmp(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
int main(void) {
  char n[40];
  for (int i = 0; i < 300; i++) sprintf(n, "file-%03d", i), put(n, "");
  mkdir("dir", 0755);
  symlink("x", "link");
  mkfifo("fifo", 0600);
  DIR *d = opendir(".");
  struct dirent *e;
  char *names[400];
  int k = 0;
  while ((e = readdir(d))) {
    sprintf(n, "%s:%d", e->d_name, e->d_type);
    names[k++] = strdup(n);
  }
  qsort(names, k, sizeof *names, cmp);
  for (int i = 0; i < k; i++)
    if (i < 3 || i > k - 3 || names[i][0] != 'f') puts(names[i]);
  N(k);
  rewinddir(d);
  int gone = 0;
  while ((e = readdir(d)))
    if (!strncmp(e->d_name, "file-", 5)) gone += unlink(e->d_name) == 0;
  N(gone);
  closedir(d);
  d = opendir(".");
  k = 0;
  while ((e = readdir(d))) k++;
  N(k);
  long pos = telldir(d);
  seekdir(d, 0);
  C(readdir(d) != NULL);
  C(pos != 0);
  int fd = open(".", O_RDONLY);
  char b[20];
  R(syscall(SYS_getdents64, fd, b, 10));
  R(syscall(SYS_getdents64, fd, 8, 1000));
  R(syscall(SYS_getdents64, 0, b, 10));
  R(read(fd, b, 1));
  R(lseek(fd, 0, SEEK_SET));
  return 0;
}
