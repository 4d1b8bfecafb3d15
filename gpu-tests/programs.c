/* CUDA programs on the driver API alone, kernels as PTX: no toolkit is needed to build or run them. Prints results, never addresses or
 * times, so that native and sandboxed output can be compared. programs NAME [ARG] */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef unsigned long long dptr;
typedef struct { char bytes[64]; } handle;
static void *lib;

static void *sym(const char *name) {
  void *p = dlsym(lib, name);
  if (!p) { printf("no %s\n", name); exit(1); }
  return p;
}
#define F(name, ...) ((int (*)(__VA_ARGS__))sym(#name))
#define OK(what, call) do { int r_ = (call); if (r_) { printf("%s: CUDA error %d\n", what, r_); exit(1); } } while (0)

static const char *PTX =
    ".version 6.4\n.target sm_70\n.address_size 64\n"
    ".visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n) {\n"
    ".reg .pred %p; .reg .f32 %f<4>; .reg .b32 %r<6>; .reg .b64 %d<8>;\n"
    "ld.param.u64 %d1,[a]; ld.param.u64 %d2,[b]; ld.param.u64 %d3,[c]; ld.param.u32 %r1,[n];\n"
    "mov.u32 %r2,%ctaid.x; mov.u32 %r3,%ntid.x; mov.u32 %r4,%tid.x; mad.lo.s32 %r5,%r2,%r3,%r4;\n"
    "setp.ge.u32 %p,%r5,%r1; @%p bra done;\n"
    "mul.wide.u32 %d4,%r5,4; add.s64 %d5,%d1,%d4; add.s64 %d6,%d2,%d4; add.s64 %d7,%d3,%d4;\n"
    "ld.f32 %f1,[%d5]; ld.f32 %f2,[%d6]; add.f32 %f3,%f1,%f2; st.f32 [%d7],%f3;\n"
    "done: ret; }\n";

static void *ctx, *add;

static void start(int kernels) {
  void *module;
  OK("init", F(cuInit, unsigned)(0));
  OK("context", F(cuCtxCreate_v2, void **, unsigned, int)(&ctx, 0, 0));
  if (kernels) {
    OK("module", F(cuModuleLoadData, void **, const void *)(&module, PTX));
    OK("function", F(cuModuleGetFunction, void **, void *, const char *)(&add, module, "add"));
  }
}

static void launch(dptr a, dptr b, dptr c, unsigned n, void *stream) {
  void *args[] = {&a, &b, &c, &n};
  OK("launch", F(cuLaunchKernel, void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **)(
                   add, (n + 255) / 256, 1, 1, 256, 1, 1, 0, stream, args, NULL));
}

static double sum(const float *p, unsigned n) {
  double s = 0;
  for (unsigned i = 0; i < n; i++)
    s += p[i];
  return s;
}

static int vecadd(void) {
  enum { N = 1 << 20 };
  float *h = malloc(4 * N);
  dptr a, b, c;
  start(1);
  OK("alloc", F(cuMemAlloc_v2, dptr *, size_t)(&a, 4 * N) | F(cuMemAlloc_v2, dptr *, size_t)(&b, 4 * N) |
                  F(cuMemAlloc_v2, dptr *, size_t)(&c, 4 * N));
  for (int i = 0; i < N; i++)
    h[i] = (float)(i % 1000);
  OK("copy", F(cuMemcpyHtoD_v2, dptr, const void *, size_t)(a, h, 4 * N) | F(cuMemcpyHtoD_v2, dptr, const void *, size_t)(b, h, 4 * N));
  launch(a, b, c, N, NULL);
  OK("wait", F(cuCtxSynchronize, void)());
  OK("back", F(cuMemcpyDtoH_v2, void *, dptr, size_t)(h, c, 4 * N));
  printf("vecadd %.0f\n", sum(h, N));
  return 0;
}

static int streams(void) {
  enum { N = 1 << 18, S = 4 };
  void *stream[S], *e1, *e2;
  float *h[S];
  dptr d[S];
  float ms;
  start(1);
  OK("events", F(cuEventCreate, void **, unsigned)(&e1, 0) | F(cuEventCreate, void **, unsigned)(&e2, 0));
  OK("record", F(cuEventRecord, void *, void *)(e1, NULL));
  for (int s = 0; s < S; s++) {
    OK("stream", F(cuStreamCreate, void **, unsigned)(&stream[s], 1));
    OK("pinned", F(cuMemAllocHost_v2, void **, size_t)((void **)&h[s], 4 * N));
    OK("alloc", F(cuMemAlloc_v2, dptr *, size_t)(&d[s], 4 * N));
    for (int i = 0; i < N; i++)
      h[s][i] = (float)(s + 1);
    OK("to", F(cuMemcpyHtoDAsync_v2, dptr, const void *, size_t, void *)(d[s], h[s], 4 * N, stream[s]));
    launch(d[s], d[s], d[s], N, stream[s]);
    OK("from", F(cuMemcpyDtoHAsync_v2, void *, dptr, size_t, void *)(h[s], d[s], 4 * N, stream[s]));
  }
  for (int s = 0; s < S; s++) {
    OK("sync", F(cuStreamSynchronize, void *)(stream[s]));
    printf("stream %d %.0f\n", s, sum(h[s], N));
  }
  OK("end", F(cuEventRecord, void *, void *)(e2, NULL) | F(cuEventSynchronize, void *)(e2));
  OK("elapsed", F(cuEventElapsedTime, float *, void *, void *)(&ms, e1, e2));
  printf("elapsed %d\n", ms >= 0);
  return 0;
}

static int managed(void) {
  enum { N = 1 << 20 };
  dptr a;
  float *p;
  start(1);
  OK("managed", F(cuMemAllocManaged, dptr *, size_t, unsigned)(&a, 4 * N, 1));
  p = (float *)a;
  for (int i = 0; i < N; i++)
    p[i] = 1;
  for (int round = 0; round < 3; round++) {
    launch(a, a, a, N, NULL);
    OK("wait", F(cuCtxSynchronize, void)());
    p[round] += 1; /* faults back to the host */
  }
  printf("managed %.0f\n", sum(p, N));
  return 0;
}

static int registered(void) {
  enum { N = 1 << 20 };
  float *p = aligned_alloc(4096, 4 * N);
  dptr d;
  start(1);
  for (int i = 0; i < N; i++)
    p[i] = 2;
  OK("register", F(cuMemHostRegister_v2, void *, size_t, unsigned)(p, 4 * N, 2));
  OK("pointer", F(cuMemHostGetDevicePointer_v2, dptr *, void *, unsigned)(&d, p, 0));
  launch(d, d, d, N, NULL);
  OK("wait", F(cuCtxSynchronize, void)());
  printf("registered %.0f\n", sum(p, N));
  if (fork() == 0) { /* a child's copy is its own */
    p[0] = 100;
    _exit(p[1] == 4 ? 0 : 1);
  }
  int status;
  wait(&status);
  printf("after fork %.0f %d\n", p[0], WEXITSTATUS(status));
  OK("unregister", F(cuMemHostUnregister, void *)(p));
  printf("unregistered %.0f\n", sum(p, N));
  return 0;
}

static int ipc_child(const char *hex) {
  handle h;
  dptr d;
  unsigned v[4] = {0};
  for (int i = 0; i < 64; i++) {
    unsigned b;
    sscanf(hex + 2 * i, "%2x", &b);
    h.bytes[i] = (char)b;
  }
  start(0);
  OK("open", F(cuIpcOpenMemHandle_v2, dptr *, handle, unsigned)(&d, h, 1));
  OK("read", F(cuMemcpyDtoH_v2, void *, dptr, size_t)(v, d, 16));
  printf("child sees %u %u\n", v[0], v[3]);
  v[0] = 77;
  OK("write", F(cuMemcpyHtoD_v2, dptr, const void *, size_t)(d, v, 4));
  OK("wait", F(cuCtxSynchronize, void)());
  return 0;
}

static int ipc(const char *self) {
  handle h;
  dptr d;
  unsigned v[4] = {1, 2, 3, 4};
  char hex[129];
  start(0);
  OK("alloc", F(cuMemAlloc_v2, dptr *, size_t)(&d, 2 << 20));
  OK("write", F(cuMemcpyHtoD_v2, dptr, const void *, size_t)(d, v, 16));
  OK("handle", F(cuIpcGetMemHandle, handle *, dptr)(&h, d));
  for (int i = 0; i < 64; i++)
    sprintf(hex + 2 * i, "%02x", (unsigned char)h.bytes[i]);
  fflush(stdout);
  if (fork() == 0)
    execl(self, self, "ipc_child", hex, NULL);
  wait(NULL);
  OK("read", F(cuMemcpyDtoH_v2, void *, dptr, size_t)(v, d, 16));
  printf("parent sees %u\n", v[0]);
  return 0;
}

static int memory(void) {
  size_t before, after, total;
  dptr d;
  start(0);
  OK("info", F(cuMemGetInfo_v2, size_t *, size_t *)(&before, &total));
  OK("alloc", F(cuMemAlloc_v2, dptr *, size_t)(&d, 256u << 20));
  OK("info", F(cuMemGetInfo_v2, size_t *, size_t *)(&after, &total));
  printf("memory %d %d\n", before - after >= 256u << 20, before - after < 300u << 20);
  return 0;
}

static int large(void) {
  size_t n = 512u << 20;
  char *p = malloc(n), *q = malloc(n);
  dptr d;
  start(0);
  memset(p, 0x5a, n);
  OK("alloc", F(cuMemAlloc_v2, dptr *, size_t)(&d, n));
  OK("to", F(cuMemcpyHtoD_v2, dptr, const void *, size_t)(d, p, n));
  OK("from", F(cuMemcpyDtoH_v2, void *, dptr, size_t)(q, d, n));
  printf("large %d\n", memcmp(p, q, n));
  return 0;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  setvbuf(stdout, NULL, _IOLBF, 0);
  lib = dlopen("libcuda.so.1", RTLD_NOW);
  if (!lib) {
    puts(dlerror());
    return 1;
  }
  if (!strcmp(what, "vecadd")) return vecadd();
  if (!strcmp(what, "streams")) return streams();
  if (!strcmp(what, "managed")) return managed();
  if (!strcmp(what, "registered")) return registered();
  if (!strcmp(what, "ipc")) return ipc(argv[0]);
  if (!strcmp(what, "ipc_child") && argc > 2) return ipc_child(argv[2]);
  if (!strcmp(what, "memory")) return memory();
  if (!strcmp(what, "large")) return large();
  return 2;
}
