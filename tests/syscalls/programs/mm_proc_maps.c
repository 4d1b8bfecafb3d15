#include "t.h"

/* The lines of /proc/self/maps that cover what we mapped, without addresses and inodes. */
static void show(char *from, size_t size) {
  char line[400];
  FILE *f = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, f)) {
    unsigned long a, b, off;
    char perm[5];
    sscanf(line, "%lx-%lx %4s %lx", &a, &b, perm, &off);
    if (a < (uintptr_t)from + size && b > (uintptr_t)from)
      printf("%ld-%ld %s %lx\n", (long)((a - (uintptr_t)from) / 4096), (long)((b - (uintptr_t)from) / 4096), perm, off);
  }
  fclose(f);
  puts("--");
}
int main(void) {
  char *r = mmap(0, 40 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char *p = r + 10 * 4096;
  size_t n = 20 * 4096;
  munmap(r, 40 * 4096);
  mmap(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  show(p, n);
  mprotect(p + 4096, 4096, PROT_READ);
  show(p, n);
  mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE);
  show(p, n);
  munmap(p + 3 * 4096, 4096);
  show(p, n);
  put("file", "abc");
  int fd = open("file", O_RDWR);
  mmap(p + 5 * 4096, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
  mmap(p + 6 * 4096, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 4096);
  show(p, n);
  mremap(p + 6 * 4096, 4096, 4096, MREMAP_FIXED | MREMAP_MAYMOVE, p + 12 * 4096);
  show(p, n);
  char line[400];
  FILE *f = fopen("/proc/self/maps", "r");
  int stack = 0, heap = 0, vdso = 0, file = 0;
  malloc(10);
  while (fgets(line, sizeof line, f)) {
    if (strstr(line, "[stack]")) stack++;
    if (strstr(line, "[heap]")) heap++;
    if (strstr(line, "[vdso]")) vdso++;
    if (strstr(line, "/file\n")) file++;
  }
  N(stack);
  N(heap);
  N(vdso);
  N(file);
  return 0;
}
