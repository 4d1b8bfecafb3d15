#include "t.h"

int main(void) {
  char b[300];
  mkdir("r", 0755);
  mkdir("r/in", 0755);
  put("r/f", "in the root");
  C(getcwd(b, 300) != NULL);
  R(getcwd(b, 2) ? 0 : -1);
  R(syscall(SYS_getcwd, b, 0));
  int out = open(".", O_RDONLY);
  CHILD("chroot", R(chroot("r")); R(access("/f", F_OK)); R(chdir("/in")); puts(getcwd(b, 300)); R(chdir("../../..")); puts(getcwd(b, 300));
        R(access("/etc/passwd", F_OK)); R(fchdir(out)); C(syscall(SYS_getcwd, b, 300) > 0 && !strncmp(b, "(unreachable)", 13)); R(access("r/f", F_OK)));
  CHILD("other user", setuid(5); R(chroot("/")));
  R(chroot("absent"));
  R(fchdir(99));
  return 0;
}
