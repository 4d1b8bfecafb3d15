#include "t.h"

#include <sys/sendfile.h>
int main(int argc, char **argv) {
  if (argc > 1) {
    R(open("copy", O_WRONLY));
    R(open("copy", O_RDWR));
    R(open("copy", O_RDONLY) >= 0);
    R(truncate("copy", 0));
    R(open("copy", O_WRONLY | O_TRUNC));
    CHILD("fork", R(open("copy", O_WRONLY)));
    return 0;
  }
  int in = open("/proc/self/exe", O_RDONLY), out = open("copy", O_WRONLY | O_CREAT, 0755);
  while (sendfile(out, in, 0, 1 << 20) > 0) {
  }
  char *av[] = {"copy", "x", 0};
  R(execv("./copy", av));
  close(out);
  CHILD("run", execv("./copy", av));
  R(open("copy", O_WRONLY) >= 0);
  return 0;
}
