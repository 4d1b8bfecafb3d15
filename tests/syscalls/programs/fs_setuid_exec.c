#include "t.h"

#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
int main(int argc, char **argv) {
  if (argc > 1) {
    printf("uid %d euid %d gid %d egid %d secure %ld\n", getuid(), geteuid(), getgid(), getegid(), getauxval(AT_SECURE));
    return 0;
  }
  chmod(".", 0755);
  int in = open("/proc/self/exe", O_RDONLY), out = open("p", O_WRONLY | O_CREAT, 0755);
  while (sendfile(out, in, 0, 1 << 20) > 0) {
  }
  close(out);
  char *av[] = {"p", "x", 0};
#define RUN(mode, ...) chown("p", 500, 600), chmod("p", mode); CHILD(#mode, __VA_ARGS__; setresgid(7, 7, 7); setresuid(8, 8, 8); execv("./p", av); puts(strerrorname_np(errno)))
  RUN(0755, );
  RUN(04755, );
  RUN(02755, );
  RUN(06755, );
  RUN(02745, );
  RUN(06755, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  RUN(0700, );
  chown("p", 0, 0), chmod("p", 04755);
  CHILD("root", setresuid(8, 8, 8); execv("./p", av));
  put("script", "#!/bin/sh\nid -u\n"), chmod("script", 04755);
  CHILD("script", setresuid(8, 8, 8); execv("./script", av));
  return 0;
}
