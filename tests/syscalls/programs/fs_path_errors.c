#include "t.h"

int main(void) {
  char big[5000], mid[300];
  memset(big, 'a', sizeof big);
  big[4999] = 0;
  memset(mid, 'b', 299);
  mid[299] = 0;
  mkdir("d", 0755);
  put("f", "x");
  symlink("l2", "l1");
  symlink("l1", "l2");
  symlink("f", "lf");
  symlink("d", "ld");
  symlink("absent", "dangling");
  struct stat st;
  const char *p[] = {"", "absent", "absent/x", "f/x", "f/", "f/..", "f/.", "d/", "d/.", "d/../f", "l1", "l1/x", "lf", "lf/", "ld/", "dangling", "dangling/", "//", "././f", big, mid};
  for (int i = 0; i < 21; i++) {
    printf("%.20s: ", p[i]);
    int r = stat(p[i], &st), e = errno;
    printf("stat %s ", r ? strerrorname_np(e) : "ok");
    r = lstat(p[i], &st), e = errno;
    printf("lstat %s ", r ? strerrorname_np(e) : S_ISLNK(st.st_mode) ? "link" : "ok");
    r = open(p[i], O_RDWR), e = errno;
    printf("open %s ", r < 0 ? strerrorname_np(e) : "ok");
    r = mkdir(p[i], 0755), e = errno;
    printf("mkdir %s ", r ? strerrorname_np(e) : "ok");
    r = rmdir(p[i]), e = errno;
    printf("rmdir %s ", r ? strerrorname_np(e) : "ok");
    mkdir("d", 0755);
    char b[10];
    r = readlink(p[i], b, 10), e = errno;
    printf("readlink %s\n", r < 0 ? strerrorname_np(e) : "ok");
  }
  char loop[2000] = "";
  for (int i = 0; i < 41; i++) {
    char a[20], t[20];
    sprintf(a, "c%d", i);
    sprintf(t, "c%d", i + 1);
    symlink(t, a);
  }
  put("c41", "end");
  R(stat("c0", &st));
  R(stat("c1", &st));
  R(stat("c2", &st));
  R(chdir("f"));
  R(chdir("absent"));
  R(chroot("f"));
  R(symlink("", "e"));
  R(symlink("x", "f"));
  R(link("d", "d2"));
  R(link("absent", "x"));
  R(link("lf", "hl"));
  lstat("hl", &st);
  C(S_ISLNK(st.st_mode));
  struct { unsigned size; int type; char h[128]; } h = {128};
  int id;
  R(syscall(SYS_name_to_handle_at, 99, "x", &h, &id, 0));
  R(syscall(SYS_name_to_handle_at, AT_FDCWD, "absent", &h, &id, 0));
  R(syscall(SYS_name_to_handle_at, AT_FDCWD, "f/x", &h, &id, 0));
  R(syscall(SYS_name_to_handle_at, AT_FDCWD, "", &h, &id, 0));
  R(syscall(SYS_name_to_handle_at, AT_FDCWD, (void *)8, &h, &id, 0));
  R(syscall(SYS_name_to_handle_at, AT_FDCWD, "f", &h, &id, 0x8000));
  R(syscall(SYS_open_by_handle_at, AT_FDCWD, (void *)8, O_RDONLY));
  h.size = 129;
  R(syscall(SYS_open_by_handle_at, AT_FDCWD, &h, O_RDONLY));
  h.size = 0;
  R(syscall(SYS_open_by_handle_at, AT_FDCWD, &h, O_RDONLY));
  h.size = 16;
  R(syscall(SYS_open_by_handle_at, 99, &h, O_RDONLY));
  return 0;
}
