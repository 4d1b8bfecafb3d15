#include "t.h"

#include <elf.h>
#include <sys/auxv.h>
int main(int argc, char **argv) {
  (void)argc;
  N(getauxval(AT_PAGESZ));
  N(getauxval(AT_CLKTCK));
  C(getauxval(AT_SYSINFO_EHDR) != 0);
  C(memcmp((void *)getauxval(AT_SYSINFO_EHDR), ELFMAG, SELFMAG) == 0);
  C(getauxval(AT_RANDOM) != 0);
  C(strcmp((char *)getauxval(AT_EXECFN), argv[0]) == 0);
  puts((char *)getauxval(AT_PLATFORM));
  N(getauxval(AT_SECURE));
  N(getauxval(AT_UID));
  N(getauxval(AT_EUID));
  N(getauxval(AT_GID));
  N(getauxval(AT_EGID));
  N(getauxval(AT_PHENT));
  C(getauxval(AT_PHNUM) > 5);
  C(getauxval(AT_PHDR) != 0);
  C(getauxval(AT_ENTRY) != 0);
  C(getauxval(AT_BASE) != 0);
  C(getauxval(AT_HWCAP) != 0);
  N(getauxval(AT_FLAGS));
  char b[4096];
  int fd = open("/proc/self/auxv", O_RDONLY);
  ssize_t n = read(fd, b, sizeof b);
  C(n > 200 && n % 16 == 0);
  Elf64_auxv_t *a = (void *)b;
  int found = 0;
  for (; (char *)a < b + n; a++) found += a->a_type == AT_ENTRY && a->a_un.a_val == getauxval(AT_ENTRY);
  N(found);
  C(((uintptr_t)__builtin_frame_address(0) & 15) == 0);
  return 0;
}
