#include "t.h"

#include <elf.h>
static unsigned char img[1 << 20];
static ssize_t n;
static void t(const char *what) {
  unlink("x");
  int fd = open("x", O_WRONLY | O_CREAT | O_TRUNC, 0755);
  write(fd, img, n);
  close(fd);
  char *av[] = {"x", 0};
  fflush(stdout);
  pid_t p = fork();
  if (!p) {
    execve("./x", av, environ);
    printf("%s: %s\n", what, strerrorname_np(errno));
    fflush(stdout);
    _exit(99);
  }
  int st;
  waitpid(p, &st, 0);
  status_(what, st);
}
static void load(void) {
  int fd = open("/bin/true", O_RDONLY);
  n = read(fd, img, sizeof img);
  close(fd);
}
int main(void) {
  Elf64_Ehdr *h = (void *)img;
  load(), t("good");
  load(), n = 100, t("cut after the header");
  load(), n = 40, t("cut in the header");
  load(), h->e_machine = EM_AARCH64, t("other machine");
  load(), h->e_type = ET_REL, t("relocatable");
  load(), h->e_phentsize = 3, t("phentsize");
  load(), h->e_phnum = 0, t("phnum 0");
  load(), h->e_phoff = 1 << 30, t("phoff");
  load();
  Elf64_Phdr *p = (void *)(img + h->e_phoff);
  for (int i = 0; i < h->e_phnum; i++)
    if (p[i].p_type == PT_INTERP) strcpy((char *)img + p[i].p_offset, "/absent");
  t("interpreter absent");
  load();
  for (int i = 0; i < h->e_phnum; i++)
    if (p[i].p_type == PT_INTERP) p[i].p_filesz = 5000;
  t("interpreter name too long");
  load();
  for (int i = 0; i < h->e_phnum; i++)
    if (p[i].p_type == PT_INTERP) strcpy((char *)img + p[i].p_offset, "/etc/passwd");
  t("interpreter is text");
  return 0;
}
