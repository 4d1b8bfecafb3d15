/* Reading a directory while it changes: telldir, seekdir, removal and creation between two reads, a removed directory. */
#include "t.h"
#include <dirent.h>
static int cmp(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
static void list(DIR *d) {
  char *n[3000];
  int k = 0;
  struct dirent *e;
  while ((e = readdir(d))) n[k++] = strdup(e->d_name);
  qsort(n, k, sizeof *n, cmp);
  printf("%d:", k);
  for (int i = 0; i < k && i < 12; i++) printf(" %s", n[i]);
  puts("");
}
int main(void) {
  mkdir("d", 0755);
  char n[50];
  for (int i = 0; i < 1500; i++) sprintf(n, "d/file%04d", i), put(n, "");
  DIR *d = opendir("d");
  list(d);
  struct dirent *e = readdir(d);
  C(e == 0);
  rewinddir(d);
  list(d);
  /* every file that is there all the time is seen exactly once */
  rewinddir(d);
  char seen[1500] = "";
  int many = 0;
  for (int k = 0; (e = readdir(d)); k++) {
    int i;
    if (sscanf(e->d_name, "file%d", &i) == 1) {
      many += seen[i]++ > 0;
      if (i % 3 == 0) sprintf(n, "d/%s", e->d_name), unlink(n);
    }
    if (k % 100 == 0) sprintf(n, "d/new%04d", k), put(n, "");
  }
  N(many);
  int missed = 0;
  for (int i = 0; i < 1500; i++) missed += i % 3 && !seen[i];
  N(missed);
  rewinddir(d);
  int left = 0;
  while ((e = readdir(d))) left += !strncmp(e->d_name, "file", 4);
  N(left);
  /* places */
  rewinddir(d);
  for (int i = 0; i < 10; i++) readdir(d);
  long at = telldir(d);
  char *a = strdup(readdir(d)->d_name);
  for (int i = 0; i < 20; i++) readdir(d);
  seekdir(d, at);
  C(!strcmp(a, readdir(d)->d_name));
  int fd = dirfd(d);
  R(lseek(fd, -1, SEEK_SET));
  R(lseek(fd, 0, SEEK_SET));
  R(read(fd, n, 10));
  R(write(fd, n, 10));
  closedir(d);
  /* removed under us */
  mkdir("gone", 0755), put("gone/x", "");
  d = opendir("gone");
  unlink("gone/x"), rmdir("gone");
  list(d);
  R(openat(dirfd(d), "y", O_CREAT | O_WRONLY, 0600));
  R(mkdirat(dirfd(d), "y", 0700));
  R(fchdir(dirfd(d)));
  R((long)getcwd(n, 50) ? 0 : -1);
  R(open("..", O_RDONLY) >= 0);
  R(access("x", F_OK));
  struct stat s;
  fstat(dirfd(d), &s);
  N(s.st_nlink);
  chdir("/");
  int f = open("/etc/passwd", O_RDONLY);
  R(syscall(SYS_getdents64, f, n, 50));
  R(syscall(SYS_getdents64, 1000, n, 50));
  d = opendir("/");
  R(syscall(SYS_getdents64, dirfd(d), n, 10));
  return 0;
}
