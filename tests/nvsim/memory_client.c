/* Client of libcuda: memory, copies, events, streams. Prints "what result", 0 is success. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define N (3u << 20)
static void *h;
static void *sym(const char *n) { void *p = dlsym(h, n); if (!p) { printf("missing %s\n", n); exit(1); } return p; }
#define F(n, ...) ((int (*)(__VA_ARGS__))sym(#n))
typedef unsigned long long dptr;
int main(int argc, char **argv)
{
    void *ctx, *stream, *e1, *e2, *pinned; dptr d, d2, m; unsigned char *a = malloc(N), *b = calloc(1, N);
    size_t free0, free1, total; unsigned i; float ms = -1; int r;
    const char *only = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IONBF, 0);
    h = dlopen("libcuda.so.1", RTLD_NOW); if (!h) { puts(dlerror()); return 1; }
    printf("init %d\n", F(cuInit, unsigned)(0));
    printf("context %d\n", F(cuCtxCreate_v2, void **, unsigned, int)(&ctx, 0, 0));
    F(cuMemGetInfo_v2, size_t *, size_t *)(&free0, &total);
    r = F(cuMemAlloc_v2, dptr *, size_t)(&d, 64u << 20);
    F(cuMemGetInfo_v2, size_t *, size_t *)(&free1, &total);
    printf("alloc %d %zu\n", r, (free0 - free1) >> 20);
    for (i = 0; i < N; i++) a[i] = (unsigned char)(i * 7 + (i >> 9));
    printf("htod %d\n", F(cuMemcpyHtoD_v2, dptr, const void *, size_t)(d + 4096, a, N));
    printf("dtoh %d", F(cuMemcpyDtoH_v2, void *, dptr, size_t)(b, d + 4096, N));
    printf(" %d\n", memcmp(a, b, N));
    printf("small %d", F(cuMemcpyHtoD_v2, dptr, const void *, size_t)(d, "hello", 6));
    memset(b, 0, 6); F(cuMemcpyDtoH_v2, void *, dptr, size_t)(b, d, 6); printf(" %s\n", b);
    r = F(cuMemAlloc_v2, dptr *, size_t)(&d2, N);
    r = F(cuStreamCreate, void **, unsigned)(&stream, 0); printf("stream %d\n", r);
    r = F(cuEventCreate, void **, unsigned)(&e1, 0) | F(cuEventCreate, void **, unsigned)(&e2, 0);
    r |= F(cuEventRecord, void *, void *)(e1, stream);
    r |= F(cuMemcpyHtoDAsync_v2, dptr, const void *, size_t, void *)(d2, a, N, stream);
    r |= F(cuEventRecord, void *, void *)(e2, stream);
    r |= F(cuStreamSynchronize, void *)(stream); r |= F(cuEventSynchronize, void *)(e2);
    r |= F(cuEventElapsedTime, float *, void *, void *)(&ms, e1, e2);
    printf("events %d %d\n", r, ms >= 0 && ms < 10000);
    r = F(cuMemAllocHost_v2, void **, size_t)(&pinned, N); printf("pinned %d", r);
    memset(pinned, 0x5a, N); r = F(cuMemcpyHtoD_v2, dptr, const void *, size_t)(d2, pinned, N);
    F(cuMemcpyDtoH_v2, void *, dptr, size_t)(b, d2, N); printf(" %d\n", memcmp(pinned, b, N) | r);
    r = F(cuMemHostRegister_v2, void *, size_t, unsigned)((void *)(((size_t)a + 4095) & ~4095ul), 1 << 20, 0);
    printf("register %d\n", r);
    r = F(cuMemAllocManaged, dptr *, size_t, unsigned)(&m, N, 1); printf("managed %d", r);
    if (!r) { memset((void *)m, 0x33, N); printf(" %d", ((unsigned char *)m)[N - 1]); }
    printf("\n");
    if (!strcmp(only, "kernel")) {
        /* libcuda fills and copies within a card by kernels of its own */
        r = F(cuMemcpyDtoD_v2, dptr, dptr, size_t)(d2, d + 4096, N);
        if (!r) r = F(cuCtxSynchronize, void)();
        printf("kernel %d\n", r);
        return 0;
    }
    if (!strcmp(only, "fill")) {
        unsigned i, bad = 0;
        r = F(cuMemsetD32_v2, dptr, unsigned, size_t)(d, 0xdeadbeef, 1000);
        if (!r) r = F(cuMemcpyDtoH_v2, void *, dptr, size_t)(b, d, 4000);
        for (i = 0; i < 1000; i++) bad += ((unsigned *)b)[i] != 0xdeadbeef;
        printf("memset32 %d %u\n", r, bad); bad = 0;
        r = F(cuMemsetD8_v2, dptr, unsigned char, size_t)(d, 0x77, N);
        if (!r) r = F(cuMemcpyDtoH_v2, void *, dptr, size_t)(b, d, N);
        for (i = 0; i < N; i++) bad += b[i] != 0x77;
        printf("memset8 %d %u\n", r, bad);
        return 0;
    }
    r = F(cuMemFree_v2, dptr)(d) | F(cuMemFree_v2, dptr)(d2); printf("free %d\n", r);
    printf("destroy %d\n", F(cuCtxDestroy_v2, void *)(ctx));
    return 0;
}
