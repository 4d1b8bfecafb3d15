/* Client of libcuda: prints what it learns, one "key value" a line. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#define SYM(n) n = dlsym(h, #n); if (!n) { printf("missing %s\n", #n); return 1; }
int main(void)
{
    void *h = dlopen("libcuda.so.1", RTLD_NOW), *ctx;
    int (*cuInit)(unsigned), (*cuDeviceGetCount)(int *), (*cuDeviceGet)(int *, int);
    int (*cuDeviceGetName)(char *, int, int), (*cuDeviceTotalMem_v2)(size_t *, int);
    int (*cuDeviceGetAttribute)(int *, int, int), (*cuDeviceGetUuid)(unsigned char *, int);
    int (*cuDriverGetVersion)(int *), (*cuCtxCreate_v2)(void **, unsigned, int);
    int n = -1, v = -1, d, i;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (!h) { puts(dlerror()); return 1; }
    SYM(cuInit) SYM(cuDeviceGetCount) SYM(cuDeviceGet) SYM(cuDeviceGetName)
    SYM(cuDeviceTotalMem_v2) SYM(cuDeviceGetAttribute) SYM(cuDeviceGetUuid)
    SYM(cuDriverGetVersion) SYM(cuCtxCreate_v2)
    printf("init %d\n", cuInit(0));
    cuDriverGetVersion(&v); printf("driver %d\n", v);
    i = cuDeviceGetCount(&n); printf("count %d %d\n", i, n);
    for (d = 0; d < n; d++) {
        char name[100] = ""; size_t total = 0; unsigned char u[16]; int major, minor, sms, dev;
        if (cuDeviceGet(&dev, d) || cuDeviceGetName(name, 100, dev)) return 1;
        cuDeviceTotalMem_v2(&total, dev); cuDeviceGetUuid(u, dev);
        cuDeviceGetAttribute(&major, 75, dev); cuDeviceGetAttribute(&minor, 76, dev);
        cuDeviceGetAttribute(&sms, 16, dev);
        printf("device %s|%zu|%d.%d|%d|", name, total >> 20, major, minor, sms);
        for (i = 0; i < 16; i++) printf("%02x", u[i]);
        printf("\n");
    }
    if (n > 0) printf("context %d\n", cuCtxCreate_v2(&ctx, 0, 0));
    return 0;
}
