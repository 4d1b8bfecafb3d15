/* Mappings at their edges: files that shrink, refusals of mmap, mprotect, mremap and their kin,
 * /dev/zero, seals. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#define R(x)                                                                                       \
  do {                                                                                             \
    errno = 0;                                                                                     \
    long r_ = (long)(x);                                                                           \
    printf("%s = %ld %s\n", #x,                                                                    \
           r_<0 && r_> - 4096       ? -1                                                           \
           : (r_ > 65536 || r_ < 0) ? 1                                                            \
                                    : r_,                                                          \
           (r_ < 0 && r_ > -4096) ? strerrorname_np(errno) : "");                                  \
  } while (0)
static sigjmp_buf jb;
static int sg, code;
static void *ad;
static void h(int s, siginfo_t *i, void *u) {
  sg = s;
  code = i->si_code;
  ad = i->si_addr;
  siglongjmp(jb, 1);
}
#define T(x)                                                                                       \
  do {                                                                                             \
    sg = 0;                                                                                        \
    if (!sigsetjmp(jb, 1)) {                                                                       \
      x;                                                                                           \
    }                                                                                              \
    printf("%s: sig %d code %d\n", #x, sg, code);                                                  \
    code = 0;                                                                                      \
  } while (0)
int main(void) {
  setvbuf(stdout, 0, _IONBF, 0);
  struct sigaction sa = {.sa_sigaction = h, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &sa, 0);
  sigaction(SIGBUS, &sa, 0);
  int f = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600);
  char b[10000];
  memset(b, 'x', sizeof b);
  write(f, b, 5000);
  volatile char *p;
  p = mmap(0, 16384, 3, MAP_SHARED, f, 0);
  T(p[4999] = 'y');
  T(p[5000] = 'z');
  T(p[8191] = 'z');
  T(p[8192] = 'z');
  ftruncate(f, 100);
  T(p[0] = 1);
  T(p[4096] = 1);
  ftruncate(f, 10000);
  T(p[4096] = 1);
  pread(f, b, 10, 4096);
  printf("%d %d\n", b[0], b[1]);
  pread(f, b, 1, 99);
  printf("%c\n", b[0]);
  R(munmap((void *)p, 16384));
  R(mmap(0, 0, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  R(mmap(0, 4096, 3, 0, -1, 0));
  R(mmap(0, 4096, 3, MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) < 0);
  R(mmap(0, 4096, 3, MAP_PRIVATE, f, 100));
  R(mmap((void *)1, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  R(mmap((void *)0x7ffffffff000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  R(mmap(0, -4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  R(mmap(0, 1ul << 47, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  R(mmap(0, 4096, 3, MAP_SHARED_VALIDATE | MAP_SYNC, f, 0));
  R(mmap(0, 4096, 3, MAP_SHARED_VALIDATE | 0x8000000, f, 0));
  int ro = open("f", O_RDONLY), wo = open("f", O_WRONLY), pa = open("f", O_PATH),
      d = open(".", O_RDONLY);
  R(mmap(0, 4096, 3, MAP_SHARED, ro, 0));
  R(mmap(0, 4096, 2, MAP_PRIVATE, ro, 0));
  R(mmap(0, 4096, 1, MAP_SHARED, wo, 0));
  R(mmap(0, 4096, 1, MAP_PRIVATE, wo, 0));
  R(mmap(0, 4096, 1, MAP_PRIVATE, pa, 0));
  R(mmap(0, 4096, 1, MAP_PRIVATE, d, 0));
  R(mmap(0, 4096, 1, MAP_PRIVATE, 0x5000, 0));
  int pp[2];
  pipe(pp);
  R(mmap(0, 4096, 1, MAP_PRIVATE, pp[0], 0));
  int z = open("/dev/zero", O_RDWR);
  R(mmap(0, 4096, 3, MAP_PRIVATE, z, 0));
  R(mmap(0, 4096, 3, MAP_SHARED, z, 0));
  char *zz = mmap(0, 8192, 3, MAP_SHARED, z, 0);
  if (!fork()) {
    zz[4096] = 7;
    _exit(0);
  }
  wait(0);
  printf("zero %d %d\n", zz[0], zz[4096]);
  int zr = open("/dev/zero", O_RDONLY);
  zz = mmap(0, 4096, 1, MAP_SHARED, zr, 0);
  R(mprotect(zz, 4096, 3));
  zz = mmap(0, 4096, 3, MAP_PRIVATE, zr, 0);
  zz[5] = 1;
  int nl = open("/dev/null", O_RDWR);
  R(mmap(0, 4096, 3, MAP_PRIVATE, nl, 0));
  p = mmap(0, 4096, 1, MAP_SHARED, ro, 0);
  R(mprotect((void *)p, 4096, 3));
  R(mprotect((void *)p, 0, 3));
  R(mprotect((void *)p + 1, 10, 1));
  R(mprotect((void *)p, 4096, 0x80));
  R(mprotect((void *)p, 4096, PROT_GROWSDOWN | 1));
  p = mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap((void *)p + 8192, 4096);
  R(mprotect((void *)p, 65536, 1));
  T(p[0] = 1);
  T(p[16384] = 1);
  R(mprotect((void *)p, 4096, 0));
  T(b[0] = p[0]);
  R(madvise((void *)p, 65536, MADV_DONTNEED));
  R(madvise((void *)p, 4096, 99));
  R(madvise((void *)p + 1, 4096, MADV_NORMAL));
  R(madvise((void *)p + 8192, 4096, MADV_NORMAL));
  R(madvise((void *)p, 0, MADV_NORMAL));
  R(msync((void *)p, 65536, MS_SYNC));
  R(msync((void *)p, 4096, MS_SYNC | MS_ASYNC));
  R(msync((void *)p, 4096, 8));
  R(msync((void *)p + 1, 4096, 1));
  unsigned char v[16];
  R(mincore((void *)p, 65536, v));
  R(mincore((void *)p + 1, 4096, v));
  R(mincore((void *)p, 4096, (void *)1));
  R(mlock((void *)p, 65536));
  R(munlock((void *)p, 4096));
  R(mlock2((void *)p, 4096, 7));
  R(mremap((void *)p, 4096, 8192, 0));
  R(mremap((void *)p, 4096, 8192, 2));
  R(mremap((void *)p, 0, 4096, 1));
  R(mremap((void *)p + 1, 4096, 8192, 1));
  R(mremap((void *)p, 4096, 0, 1));
  R(mremap((void *)p + 12288, 4096, 4096 * 64, MREMAP_MAYMOVE) < 0);
  void *q =
      mremap((void *)p + 16384, 8192, 12288, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x10000000);
  printf("%p\n", q);
  R(mremap(q, 12288, 4096, 0) == q);
  R(mremap(q, 4096, 4096, MREMAP_FIXED | MREMAP_MAYMOVE, q));
  R(mremap((void *)p + 8192, 4096, 4096, 1));
  R(mremap(q, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP) > 0);
  p = mmap(0, 8192, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  p[0] = 5;
  q = mremap((void *)p, 0, 8192, MREMAP_MAYMOVE);
  printf("%d\n", q != MAP_FAILED ? ((char *)q)[0] : -1);
  if (!fork()) {
    p[0] = 9;
    _exit(0);
  }
  wait(0);
  printf("%d\n", p[0]);
  int m = memfd_create("x", MFD_ALLOW_SEALING);
  ftruncate(m, 8192);
  p = mmap(0, 8192, 3, MAP_SHARED, m, 0);
  p[0] = 1;
  R(fcntl(m, F_ADD_SEALS, F_SEAL_WRITE));
  R(fcntl(m, F_ADD_SEALS, F_SEAL_SHRINK));
  R(ftruncate(m, 100));
  R(ftruncate(m, 16384));
  munmap((void *)p, 8192);
  R(fcntl(m, F_ADD_SEALS, F_SEAL_WRITE));
  R(mmap(0, 4096, 3, MAP_SHARED, m, 0));
  R(mmap(0, 4096, 1, MAP_SHARED, m, 0));
  R(write(m, "x", 1));
  R(memfd_create("x", 0x1000));
  R(memfd_create((char *)1, 0));
  char ln[300];
  memset(ln, 'a', 299);
  ln[299] = 0;
  R(memfd_create(ln, 0));
  R(brk((void *)1));
  R(sbrk(0) != (void *)-1);
  R(mmap((void *)0x20000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  R(mmap((void *)0x20000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  R(mmap((void *)0x20000800, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  R(mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0) < 0x80000000ul);
  R(mmap(0, 1 << 21, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
  p = mmap(0, 12288, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  R(write(nl, (void *)p, 12288));
  mprotect((void *)p + 4096, 4096, 0);
  R(write(pp[1], (void *)p, 12288));
  fcntl(pp[0], F_SETFL, O_NONBLOCK);
  R(read(pp[0], (void *)p + 2048, 12288));
  R(read(pp[0], (void *)p + 4096, 12288));
  R(readlink("/proc/self/exe", (char *)p + 4090, 100));
  R(getcwd((char *)p + 4095, 100));
  R(stat("f", (struct stat *)(p + 4000)));
  R(open((char *)p + 4096, 0));
  memset((char *)p, '/', 4096);
  R(open((char *)p, 0));
  p[4095] = 0;
  R(open((char *)p, O_RDONLY | O_DIRECTORY) > 2);
  return 0;
}
