/* Text as another process, or the process itself through the kernel, reads it: the bytes of the file, however hot the system
 * calls in it are. */
#include "t.h"
#include <link.h>

extern char site_mov[], site_xor[], site_end[];
long hot_mov(void);
long hot_xor(long fd, void *buf, long n);
__asm__(".text\n.globl hot_mov, hot_xor, site_mov, site_xor, site_end\n"
        "hot_mov:\n"
        "site_mov: mov $39,%eax\n  syscall\n  ret\n"
        "hot_xor:\n"
        "site_xor: xor %eax,%eax\n  syscall\n  cmp $-4096,%rax\n  ja 1f\n  ret\n"
        "1: mov $-77,%rax\n  ret\n"
        "site_end:\n");
static const unsigned char expected[] = {0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3, 0x31, 0xc0, 0x0f, 5, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff};

static void heat(void) {
  char c;
  int fd = open("/dev/zero", O_RDONLY), bad = 0;
  for (int i = 0; i < 300; i++)
    bad += hot_mov() != getpid() || hot_xor(fd, &c, 1) != 1 || getppid() <= 0 || read(fd, &c, 1) != 1;
  close(fd);
  N(bad);
}

/* All text of the C library against its file. */
static int differs, compared;
static int compare(struct dl_phdr_info *info, size_t size, void *arg) {
  int mem = *(int *)arg, file;
  if (!strstr(info->dlpi_name, "libc.so") || (file = open(info->dlpi_name, O_RDONLY)) < 0) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *h = &info->dlpi_phdr[i];
    if (h->p_type != PT_LOAD || !(h->p_flags & PF_X)) continue;
    char *a = malloc(h->p_filesz), *b = malloc(h->p_filesz);
    ssize_t n = pread(file, a, h->p_filesz, (off_t)h->p_offset);
    if (n != (ssize_t)h->p_filesz) perror("file");
    for (size_t at = 0; at < h->p_filesz; at += 65536) {
      size_t part = h->p_filesz - at < 65536 ? h->p_filesz - at : 65536;
      if (pread(mem, b + at, part, (off_t)(info->dlpi_addr + h->p_vaddr + at)) != (ssize_t)part) perror("mem");
    }
    compared++;
    for (size_t at = 0; at < h->p_filesz; at++) differs += a[at] != b[at];
    free(a), free(b);
  }
  close(file);
  return 0;
}

static void look(const char *who, pid_t pid) {
  char path[64];
  unsigned char b[sizeof expected];
  sprintf(path, "/proc/%d/mem", pid);
  int mem = open(path, O_RDONLY);
  printf("%s\n", who);
  R(pread(mem, b, sizeof b, (off_t)site_mov));
  C(!memcmp(b, expected, sizeof b));
  for (size_t i = 0; i < sizeof b; i++) { /* byte by byte: a part of a site */
    if (pread(mem, b + i, 1, (off_t)site_mov + (off_t)i) != 1) perror("pread");
  }
  C(!memcmp(b, expected, sizeof b));
  memset(b, 0, sizeof b);
  struct iovec to = {b, sizeof b}, from = {site_mov, sizeof b};
  R(process_vm_readv(pid, &to, 1, &from, 1, 0));
  C(!memcmp(b, expected, sizeof b));
  differs = compared = 0;
  dl_iterate_phdr(compare, &mem);
  N(compared);
  N(differs);
  close(mem);
}

int main(void) {
  heat();
  look("own", getpid());
  int up[2], down[2];
  char c;
  pipe(up), pipe(down);
  fflush(stdout);
  pid_t child = fork();
  if (!child) {
    heat();
    write(up[1], "", 1);
    read(down[0], &c, 1);
    _exit(0);
  }
  read(up[0], &c, 1);
  look("another's", child);
  write(down[1], "", 1);
  waitpid(child, 0, 0);
  /* what is written over text stays */
  int mem = open("/proc/self/mem", O_RDWR);
  unsigned char was[2] = {0}, nr = SYS_getppid;
  R(pwrite(mem, &nr, 1, (off_t)site_mov + 1));
  R(pread(mem, was, 2, (off_t)site_mov));
  C(was[0] == 0xb8 && was[1] == SYS_getppid);
  C(hot_mov() == getppid());
  int bad = 0;
  for (int i = 0; i < 300; i++) bad += hot_mov() != getppid();
  N(bad);
  return 0;
}
