// gcc: -static-pie
#include "t.h"
static int data = 7, *ptr = &data;
int main(void) {
  N(*ptr);
  char *p = malloc(100000);
  memset(p, 1, 100000);
  CHILD("fork", N(*ptr));
  return 3;
}
