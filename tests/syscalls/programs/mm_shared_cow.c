/* A shared mapping of a file made before a write sees everything after it; private ones keep what they copied. (Of a file
   that lies in the lower layer: integration/test_hazards.py.) */
#include "t.h"
int main(void) {
  char b[16];
  for (int i = 0; i < 4; i++) {
    char n[20], text[5000];
    memset(text, 'a' + i, 4999), text[4999] = 0;
    sprintf(n, "./file%d", i);
    put(n, text);
  }
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
