// gcc: -static
#include "t.h"
#include <sys/auxv.h>
int main(int argc, char **argv) {
  N(getauxval(AT_BASE));
  C(getauxval(AT_ENTRY) != 0);
  C(time(0) > 1600000000);
  CHILD("exec self", if (argc == 1) execl("/proc/self/exe", "again", "x", NULL));
  if (argc > 1) puts(argv[1]);
  return argc;
}
