#include "t.h"

#include <grp.h>
#include <sys/fsuid.h>
static void show(const char *w) {
  uid_t a, b, c;
  gid_t x, y, z;
  getresuid(&a, &b, &c);
  getresgid(&x, &y, &z);
  printf("%s: %d %d %d fs %d, %d %d %d fs %d\n", w, a, b, c, setfsuid(-1), x, y, z, setfsgid(-1));
  fflush(stdout);
}
int main(void) {
  show("start");
  gid_t g[3] = {10, 20, 30}, o[10];
  R(setgroups(3, g));
  int n = getgroups(10, o);
  for (int i = 0; i < n; i++) printf("%d ", o[i]);
  puts("");
  R(getgroups(0, 0));
  R(getgroups(1, o));
  R(getgroups(-1, o));
  CHILD("a", R(setresuid(1, 2, 3)); show("a"); R(seteuid(3)); show("a"); R(setuid(1)); show("a"); R(setuid(0)); R(setreuid(-1, 9)));
  CHILD("b", R(setuid(7)); show("b"); R(setuid(0)); R(setgid(5)); R(setgroups(0, 0)));
  CHILD("c", R(setreuid(5, 6)); show("c"); R(setreuid(6, 5)); show("c"); R(setreuid(0, -1)));
  CHILD("d", R(setgid(8)); show("d"); R(setregid(9, -1)); show("d"); R(setresgid(-1, 4, -1)); show("d"));
  chmod(".", 0777);
  CHILD("e", N(setfsuid(44)); show("e"); put("f", ""); struct stat st; stat("f", &st); N(st.st_uid); N(setfsuid(0)));
  CHILD("f", chmod(".", 0777); R(seteuid(1000)); R(mkdir("d", 0700)); R(chown("d", 0, 0)); R(seteuid(0)); show("f"));
  CHILD("g", R(setresuid(-1, -1, -1)); R(setresuid(-2, -1, -1)); show("g"));
  return 0;
}
