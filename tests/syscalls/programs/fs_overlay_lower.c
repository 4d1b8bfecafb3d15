#include "t.h"

/* Files of the root that the program did not make: changed, removed, renamed. On the host they are copies. */
static void show(const char *p) {
  struct stat st;
  char b[20] = "";
  int r = stat(p, &st), fd = open(p, O_RDONLY);
  if (fd >= 0) read(fd, b, 2), close(fd);
  b[strcspn(b, "\n")] = 0;
  printf("%s: %s %o nlink %ld %s\n", p, r ? strerrorname_np(errno) : "ok", r ? 0 : st.st_mode, r ? 0 : (long)st.st_nlink, b);
}
int main(void) {
  system("mkdir -p root/etc; cp -a /etc/debian_version /etc/issue /etc/issue.net /etc/host.conf root/etc/ 2>/dev/null; touch -r /etc/issue stamp");
  int lower = access("/.complete", F_OK) == 0;
  const char *base = lower ? "/etc" : "root/etc";
  chdir(base);
  show("issue");
  int ro = open("issue", O_RDONLY);
  int fd = open("issue", O_RDWR);
  R(pwrite(fd, "Z", 1, 0));
  show("issue");
  char b[3] = "";
  pread(ro, b, 1, 0);
  printf("old descriptor %s\n", b);
  R(chmod("debian_version", 0600));
  show("debian_version");
  R(unlink("debian_version"));
  show("debian_version");
  R(mkdir("debian_version", 0755));
  show("debian_version");
  R(rmdir("debian_version"));
  R(rename("issue.net", "moved"));
  show("issue.net");
  show("moved");
  R(link("host.conf", "hl"));
  show("hl");
  put("hl", "changed\n");
  show("host.conf");
  R(truncate("moved", 3));
  show("moved");
  R(rename("../etc", "../etc2"));
  show("../etc2/moved");
  show("../etc/moved");
  R(rename("../etc2", "../etc"));
  fflush(stdout);
  system("ls -1 | grep -E '^(issue|moved|hl|host.conf|debian_version)' | tr '\\n' ' '; echo");
  return 0;
}
