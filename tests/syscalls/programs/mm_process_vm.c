/* process_vm_readv and process_vm_writev: own memory, a child's, rights, faults half-way. */
#include "t.h"
static char mine[64] = "parent's", other[64];
static long rd(pid_t p, void *l, size_t ln, void *r, size_t rn) {
  struct iovec a = {l, ln}, b = {r, rn};
  return process_vm_readv(p, &a, 1, &b, 1, 0);
}
static long wr(pid_t p, void *l, size_t ln, void *r, size_t rn) {
  struct iovec a = {l, ln}, b = {r, rn};
  return process_vm_writev(p, &a, 1, &b, 1, 0);
}
int main(void) {
  char *page = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(page, 'p', 3 * 4096);
  int up[2], down[2];
  pipe(up), pipe(down);
  fflush(stdout);
  pid_t c = fork();
  if (!c) {
    strcpy(mine, "child's");
    memset(page, 'c', 4096);
    mprotect(page + 4096, 4096, PROT_READ);
    munmap(page + 8192, 4096);
    write(up[1], "r", 1);
    read(down[0], mine + 32, 1);
    printf("child sees %s, %c%c\n", mine, page[0], page[4096]);
    fflush(stdout);
    _exit(7);
  }
  char b[16];
  read(up[0], b, 1);
  R(rd(getpid(), other, 9, mine, 9));
  puts(other);
  R(rd(c, other, 8, mine, 8));
  puts(other);
  char big[3 * 4096];
  memset(big, 0, sizeof big);
  R(rd(c, big, sizeof big, page, sizeof big));
  N(big[0]), N(big[4096]), N(big[8192]);
  R(rd(c, big, 100, page + 8192 - 50, 100));
  R(rd(c, big, 100, page + 8192, 100));
  R(rd(c, big, 100, (void *)8, 100));
  R(rd(c, (void *)8, 100, page, 100));
  strcpy(other, "rewritten");
  R(wr(c, other, 10, mine, 10));
  R(wr(c, "xyz", 3, page, 3));
  R(wr(c, "xyz", 3, page + 4096, 3)); /* read-only there: obeyed */
  R(wr(c, big, 100, page + 4096 - 10, 100));
  /* vectors */
  struct iovec l[3] = {{big, 2}, {big + 100, 3}, {big + 200, 4}}, r[2] = {{mine, 4}, {mine + 5, 20}};
  R(process_vm_readv(c, l, 3, r, 2, 0));
  printf("%.2s %.3s %.4s\n", big, big + 100, big + 200);
  R(process_vm_readv(c, l, 0, r, 2, 0));
  R(process_vm_readv(c, l, 3, r, 0, 0));
  R(process_vm_readv(c, l, 3, r, 2, 1));
  R(process_vm_readv(c, l, 1025, r, 2, 0));
  R(process_vm_readv(c, l, 3, r, 1025, 0));
  R(process_vm_readv(c, (void *)8, 1, r, 1, 0));
  R(process_vm_readv(c, l, 1, (void *)8, 1, 0));
  r[0].iov_len = -1;
  R(process_vm_readv(c, l, 3, r, 1, 0));
  R(rd(0x3ffffff, big, 1, mine, 1));
  R(rd(-1, big, 1, mine, 1));
  R(rd(0, big, 1, mine, 1));
  CHILD("not mine", setresuid(65534, 65534, 65534); R(rd(c, big, 1, mine, 1)); R(wr(c, big, 1, mine, 1)); R(rd(getpid(), big, 1, mine, 1)));
  write(down[1], "!", 1);
  int st;
  waitpid(c, &st, 0);
  status_("child", st);
  R(rd(c, big, 1, mine, 1));
  fflush(stdout);
  if (!(c = fork())) _exit(0);
  siginfo_t si;
  waitid(P_PID, c, &si, WEXITED | WNOWAIT);
  R(rd(c, big, 1, mine, 1)); /* a zombie has no memory */
  waitpid(c, &st, 0);
  return 0;
}
