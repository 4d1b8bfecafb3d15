/* Text as the program itself reads it, by loads or through calls: the bytes of the file, however hot the system calls in it are. */
#include "t.h"
#include <cpuid.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>

extern char site_mov[], site_xor[], site_path[], site_end[];
long hot_mov(void);
long hot_xor(long fd, void *buf, long n);
__asm__(".text\n.globl hot_mov, hot_xor, site_mov, site_xor, site_path, site_end\n"
        ".balign 4096\n"
        "hot_mov:\n"
        "site_mov: mov $39,%eax\n  syscall\n  ret\n"
        "hot_xor:\n"
        "site_xor: xor %eax,%eax\n  syscall\n  cmp $-4096,%rax\n  ja 1f\n  ret\n"
        "1: mov $-77,%rax\n  ret\n"
        "site_path: .asciz \"/dev/zero\"\n"
        "site_end:\n  .balign 4096\n");
static const unsigned char expected[] = {0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3, 0x31, 0xc0, 0x0f, 5, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff};

/* Without protection keys loads see what is there; with them they see the file's bytes. */
static int keys;

static void heat(void) {
  char c;
  int fd = open("/dev/zero", O_RDONLY), bad = 0;
  for (int i = 0; i < 300; i++)
    bad += hot_mov() != getpid() || hot_xor(fd, &c, 1) != 1 || getppid() <= 0 || read(fd, &c, 1) != 1;
  close(fd);
  N(bad);
}

static unsigned char *libc_at, *libc_own;
static size_t libc_len;
static int find(struct dl_phdr_info *info, size_t size, void *arg) {
  int file;
  if (!strstr(info->dlpi_name, "libc.so") || (file = open(info->dlpi_name, O_RDONLY)) < 0) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *h = &info->dlpi_phdr[i];
    if (h->p_type != PT_LOAD || !(h->p_flags & PF_X)) continue;
    libc_at = (void *)(info->dlpi_addr + h->p_vaddr), libc_len = h->p_filesz;
    libc_own = malloc(libc_len);
    if (pread(file, libc_own, libc_len, (off_t)h->p_offset) != (ssize_t)libc_len) perror("file");
  }
  close(file);
  return 0;
}

static size_t differing(const volatile unsigned char *at, const unsigned char *own, size_t n) {
  size_t bad = 0;
  for (size_t i = 0; i < n; i++) bad += at[i] != own[i];
  return keys ? bad : 0;
}

static void look(const char *who) {
  printf("%s\n", who);
  N((int)differing((void *)site_mov, expected, sizeof expected));
  N((int)differing(libc_at + 4096 * 30, libc_own + 4096 * 30, 5000));
  N((int)differing(libc_at, libc_own, libc_len));
}

static void calls(void) {
  int p[2], s[2];
  char b[64] = {0};
  pipe(p);
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  R(write(p[1], site_mov, sizeof expected));
  R(read(p[0], b, sizeof b));
  C(!keys || !memcmp(b, expected, sizeof expected));
  struct iovec iov[2] = {{b + 60, 2}, {site_mov, sizeof expected}};
  R(writev(p[1], iov, 2));
  R(read(p[0], b, sizeof b));
  C(!keys || !memcmp(b + 2, expected, sizeof expected));
  struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
  R(sendmsg(s[0], &m, 0));
  R(read(s[1], b, sizeof b));
  C(!keys || !memcmp(b + 2, expected, sizeof expected));
  R(access(site_path, R_OK));
  struct stat st;
  R(stat(site_path, &st));
  int fd = open(site_path, O_RDONLY);
  C(fd >= 0);
  close(fd);
  char name[] = "selfXXXXXX";
  fd = mkstemp(name);
  C(write(fd, libc_at, libc_len) == (ssize_t)libc_len);
  unsigned char *back = malloc(libc_len);
  C(pread(fd, back, libc_len, 0) == (ssize_t)libc_len);
  N((int)differing(back, libc_own, libc_len));
  free(back), close(fd), unlink(name);
  close(p[0]), close(p[1]), close(s[0]), close(s[1]);
}

static sigjmp_buf env;
static volatile int code;
static void segv(int sig, siginfo_t *i, void *u) {
  code = i->si_code;
  siglongjmp(env, 1);
}
static void try_write(volatile char *at) {
  code = 0;
  if (!sigsetjmp(env, 1)) *at = 0;
  N(code);
}

static volatile int stop;
static void *caller(void *arg) {
  long bad = 0;
  while (!stop) bad += hot_mov() != getpid() || getppid() <= 0;
  return (void *)bad;
}

int main(void) {
  unsigned a, b, c = 0, d;
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  keys = c >> 4 & 1;
  dl_iterate_phdr(find, 0);
  struct sigaction sa = {.sa_sigaction = segv, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &sa, 0);
  try_write(site_mov);
  heat();
  try_write(site_mov);
  try_write((char *)libc_at + 4096 * 30);
  fflush(stdout);
  if (!fork()) { /* the first to read is a call */
    calls();
    heat();
    look("after calls");
    fflush(stdout);
    _exit(0);
  }
  wait(0);
  fflush(stdout);
  if (!fork()) {
    look("a child");
    heat();
    look("a child again");
    /* a copy of a hot function works as the function does */
    char *copy = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(copy, site_mov, (size_t)(site_end - site_mov));
    int bad = 0;
    for (int i = 0; i < 100; i++) bad += keys && ((long (*)(void))copy)() != getpid();
    N(bad);
    fflush(stdout);
    _exit(0);
  }
  wait(0);
  pthread_t t[3];
  for (int i = 0; i < 3; i++) pthread_create(&t[i], 0, caller, 0);
  usleep(20000);
  for (int i = 0; i < 3; i++) look("with threads");
  calls();
  stop = 1;
  for (int i = 0; i < 3; i++) {
    void *bad;
    pthread_join(t[i], &bad);
    N((int)(long)bad);
  }
  heat();
  look("the parent");
  char *page = (char *)((uintptr_t)site_mov & ~4095ul);
  R(mprotect(page, 4096, PROT_READ));
  N((int)differing((void *)site_mov, expected, sizeof expected));
  R(mprotect(page, 4096, PROT_READ | PROT_EXEC));
  heat();
  R(mprotect(page, 4096, PROT_READ | PROT_EXEC));
  look("after mprotect");
  return 0;
}
