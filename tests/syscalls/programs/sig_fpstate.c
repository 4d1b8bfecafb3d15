#include "t.h"

/* Vector registers survive handlers that use them, from faults, from signals of others and at every system call. */
#include <immintrin.h>
static volatile int n;
static void h(int s) {
  volatile double x = 1.0;
  for (int i = 0; i < 100; i++) x = x * 1.5 + i;
  __asm__ volatile("pxor %%xmm0,%%xmm0; pxor %%xmm8,%%xmm8; pxor %%xmm15,%%xmm15; fninit" ::: "xmm0", "xmm8", "xmm15");
  if (__builtin_cpu_supports("avx2")) __asm__ volatile("vpcmpeqd %%ymm8,%%ymm8,%%ymm8; vzeroall" ::: "memory");
  n++;
}
__attribute__((target("avx2"))) static int avx(void) {
  long in[4] = {1, 2, 3, 4}, out[4];
  __asm__ volatile("vmovdqu %1,%%ymm8; mov %2,%%edi; mov $10,%%esi; mov $62,%%eax; syscall; vmovdqu %%ymm8,%0"
                   : "=m"(out)
                   : "m"(in), "r"(getpid())
                   : "rax", "rdi", "rsi", "rcx", "r11", "memory", "ymm8");
  return memcmp(in, out, sizeof in) == 0;
}
int main(void) {
  signal(SIGUSR1, h);
  signal(SIGALRM, h);
  signal(SIGTRAP, h);
  double in[2] = {1.25, -3.5}, out[2];
  __asm__ volatile("movupd %1,%%xmm8; int3; movupd %%xmm8,%0" : "=m"(out) : "m"(in) : "xmm8");
  printf("%g %g\n", out[0], out[1]);
  C(!__builtin_cpu_supports("avx2") || avx());
  long double ld = 3.25L;
  __asm__ volatile("fldt %1; int3; fstpt %0" : "=m"(ld) : "m"(ld));
  printf("%Lg\n", ld);
  unsigned mx = _mm_getcsr();
  _mm_setcsr(mx | 0x6000);
  raise(SIGUSR1);
  C((_mm_getcsr() & 0x6000) == 0x6000);
  _mm_setcsr(mx);
  struct itimerval t = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &t, 0);
  double s = 0;
  long long k = 0;
  while (n < 50) {
    s = 0;
    for (int i = 1; i < 1000; i++) s += 1.0 / i;
    if (s < 7.484470860 || s > 7.484470861) k++;
  }
  N(k);
  CHILD("inherited", double o[2]; o[0] = 0; printf("%.3f\n", s));
  return 0;
}
