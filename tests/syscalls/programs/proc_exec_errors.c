#include "t.h"

static char *av[] = {"x", 0};
static void e(const char *path) {
  int r = execve(path, av, environ);
  printf("%s: %d %s\n", path, r, strerrorname_np(errno));
  fflush(stdout);
}
int main(void) {
  e("absent");
  e("");
  e(".");
  put("plain", "#!/bin/true\n");
  setuid(0);
  e("plain");
  chmod("plain", 0755);
  put("noexec", "hello there, this is not a program\n");
  chmod("noexec", 0755);
  e("noexec");
  put("empty", "");
  chmod("empty", 0755);
  e("empty");
  put("short", "\177ELF");
  chmod("short", 0755);
  e("short");
  put("nointerp", "#!/no/such/interpreter\n");
  chmod("nointerp", 0755);
  e("nointerp");
  put("dirinterp", "#!/tmp\n");
  chmod("dirinterp", 0755);
  e("dirinterp");
  put("blank", "#!   \n");
  chmod("blank", 0755);
  e("blank");
  e("plain/x");
  symlink("loop", "loop");
  e("loop");
  int fd = open("busy", O_WRONLY | O_CREAT, 0755);
  write(fd, "#!/bin/true\n", 12);
  e("busy");
  close(fd);
  char big[5000];
  memset(big, 'a', 4999);
  big[4999] = 0;
  int r = execve(big, av, environ);
  printf("%d %s\n", r, strerrorname_np(errno));
  R(execve((char *)8, av, environ));
  R(execve("/bin/true", (char **)8, environ));
  R(execve("/bin/true", av, (char **)8));
  char *bad[] = {(char *)8, 0};
  R(execve("/bin/true", bad, environ));
  CHILD("true", execve("plain", av, environ));
  return 0;
}
