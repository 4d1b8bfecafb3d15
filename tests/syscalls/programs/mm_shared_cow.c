/* A shared mapping of a file made before its first write sees everything after it; private ones keep what they copied. */
#include "t.h"
int main(void) {
  /* /etc/services or another file that nobody wrote to yet: inside, it still lies in the lower layer */
  const char *names[] = {"/etc/debian_version", "/etc/shells", "/etc/login.defs", "/etc/profile"};
  char copy[200], b[16];
  for (int i = 0; i < 4; i++) {
    sprintf(copy, "cp %s ./file%d", names[i], i);
    system(copy);
  }
  (void)b;
  for (int i = 0; i < 4; i++) {
    char n[20];
    sprintf(n, "./file%d", i);
    int ro = open(n, O_RDONLY);
    char *sh = mmap(0, 4096, PROT_READ, MAP_SHARED, ro, 0), *pr = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0);
    char c0 = sh[0];
    pr[1] = 'P';
    int w = open(n, O_RDWR);
    pwrite(w, "NEW", 3, 0);
    printf("%d: shared %.3s, private second %c\n", i, sh, pr[1]);
    char *rw = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, w, 0);
    rw[0] = 'M';
    printf("%d: shared %.3s\n", i, sh);
    CHILD("child", printf("%.3s\n", sh); rw[2] = 'C');
    printf("%d: shared %.3s\n", i, sh);
    N(msync(rw, 4096, MS_SYNC));
    pread(ro, b, 3, 0);
    printf("read %.3s\n", b);
    munmap(sh, 4096), munmap(pr, 4096), munmap(rw, 4096), close(ro), close(w);
    (void)c0;
  }
  return 0;
}
