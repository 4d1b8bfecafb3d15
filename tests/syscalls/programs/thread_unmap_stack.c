/* Whoever has joined a thread may unmap its stack, and all that the C library keeps there, at once. */
#include "t.h"
#define SIZE (128 << 10)
static void *run(void *a) { return a; }
static void *round_(void *a) {
  for (int i = 0; i < 150; i++) {
    char *m = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_attr_t at;
    pthread_t t;
    void *r;
    pthread_attr_init(&at);
    pthread_attr_setstack(&at, m, SIZE);
    if (pthread_create(&t, &at, run, m) || pthread_join(t, &r) || r != m || munmap(m, SIZE)) _exit(9);
  }
  return 0;
}
int main(void) {
  pthread_t t[4];
  for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, round_, 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
  CHILD("after fork", round_(0));
  puts("done");
  return 0;
}
