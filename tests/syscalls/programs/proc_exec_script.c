#include "t.h"

#include <libgen.h>
int main(int argc, char **argv) {
  if (argc > 1) {
    for (int i = 1; i < argc; i++) printf("[%s]", argv[i]);
    puts("");
    return 3;
  }
  char self[400] = "", text[600];
  readlink("/proc/self/exe", self, 399);
  symlink(self, "me");
  char dir[400];
  getcwd(dir, 400);
  sprintf(text, "#!%s/me  one arg with  spaces \nrest\n", dir);
  put("s1", text);
  chmod("s1", 0755);
  CHILD("script", execl("./s1", "s1", "a", "b", NULL));
  puts("");
  put("s2", "#!./s1 chained\n");
  chmod("s2", 0755);
  int p[2];
  pipe(p);
  fflush(stdout);
  if (!fork()) {
    dup2(p[1], 1);
    execl("./s2", "s2", "z", NULL);
    _exit(1);
  }
  close(p[1]);
  char b[1000] = "";
  for (ssize_t k, off = 0; (k = read(p[0], b + off, 900 - off)) > 0; off += k) {
  }
  printf("%s", b);
  int st;
  wait(&st);
  status_("chain", st);
  put("r0", "#!/bin/sh\nexit 4\n");
  chmod("r0", 0755);
  for (int i = 1; i < 8; i++) {
    char a[20], t[40];
    sprintf(a, "r%d", i);
    sprintf(t, "#!./r%d\n", i - 1);
    put(a, t);
    chmod(a, 0755);
  }
  for (int i = 3; i < 8; i++) {
    char a[20];
    sprintf(a, "./r%d", i);
    CHILD(a, execl(a, a, NULL); printf("%s\n", strerrorname_np(errno)));
  }
  put("crlf", "#!/bin/sh\r\nexit 4\n");
  chmod("crlf", 0755);
  CHILD("crlf", execl("./crlf", "crlf", NULL); printf("%s\n", strerrorname_np(errno)));
  return 0;
}
