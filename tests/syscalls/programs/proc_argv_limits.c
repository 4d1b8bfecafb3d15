#include "t.h"


int main(void) {
  int n = 100000;
  char **av = calloc(n + 2, sizeof *av);
  av[0] = "true";
  for (int i = 1; i < n; i++) av[i] = "abcde";
  CHILD("100000 arguments", execv("/bin/true", av); puts(strerrorname_np(errno)));
  char *big = malloc(200000);
  memset(big, 'x', 199999);
  big[199999] = 0;
  char *two[] = {"true", big, 0};
  CHILD("one of 200000", execv("/bin/true", two); puts(strerrorname_np(errno)));
  big[131071] = 0;
  CHILD("one of 131071", execv("/bin/true", two); puts(strerrorname_np(errno)));
  big[131071] = 'x';
  big[131072] = 0;
  CHILD("one of 131072", execv("/bin/true", two); puts(strerrorname_np(errno)));
  big[100000] = 0;
  for (int i = 1; i < 40; i++) av[i] = big;
  av[40] = 0;
  CHILD("4 MB", execv("/bin/true", av); puts(strerrorname_np(errno)));
  CHILD("a quarter of the stack", struct rlimit l; getrlimit(RLIMIT_STACK, &l); l.rlim_cur = 1 << 20;
        setrlimit(RLIMIT_STACK, &l); execv("/bin/true", av); puts(strerrorname_np(errno)));
  char *none[] = {0};
  CHILD("no argv", execve("/bin/true", none, none); puts(strerrorname_np(errno)));
  return 0;
}
