/* Bare calls on device files: descriptors that move about, filters of one's own, bad pointers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
static int probe(int fd)
{
    char v[72] = {0}; uint32_t a[12] = {0};
    strcpy(v + 8, "535.261.03");
    if (ioctl(fd, 0xc04846d2, v)) return -errno;
    if (ioctl(fd, 0xc030462b, a)) return -errno;
    return a[2] && !a[10] ? 0 : 1;
}
static void filter(int action)
{
    struct sock_filter f[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1), BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog p = {4, f};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p)) perror("seccomp");
}
static void *thread(void *arg)
{
    int fd = open("/dev/nvidiactl", O_RDWR); long r = probe(fd) | probe((int)(long)arg);
    (void)arg; close(fd);
    return (void *)r;
}
static void child(const char *what, int fd, int action)
{
    fflush(stdout);
    if (!fork()) { if (action) filter(action); printf("%s %d\n", what, probe(fd)); fflush(stdout); _exit(0); }
    wait(NULL);
}
int main(int argc, char **argv)
{
    int fd, d, d2, nul, i, ep; long bad = 0; pthread_t t[8]; struct stat st; char buf[64];
    struct epoll_event ev = {.events = EPOLLIN}; struct pollfd pfd;
    if (argc > 1) { printf("exec %d\n", probe(atoi(argv[1]))); return 0; }
    fd = open("/dev/nvidiactl", O_RDWR); printf("open %d\n", probe(fd));
    fstat(fd, &st); printf("fstat %d %u %u\n", S_ISCHR(st.st_mode), major(st.st_rdev), minor(st.st_rdev));
    d = dup(fd); printf("dup %d\n", probe(d)); close(d);
    nul = open("/dev/null", O_RDWR); d2 = fcntl(fd, F_DUPFD_CLOEXEC, 100); dup2(nul, d2);
    printf("replaced %d\n", probe(d2));
    child("fork", fd, 0);
    fflush(stdout);
    if (!fork()) { sprintf(buf, "%d", fd); execl(argv[0], argv[0], buf, NULL); _exit(1); }
    wait(NULL);
    for (i = 0; i < 8; i++) pthread_create(t + i, 0, thread, (void *)(long)fd);
    for (i = 0; i < 8; i++) { void *r; pthread_join(t[i], &r); bad |= (long)r; }
    printf("threads %ld\n", bad);
    child("allowing-filter", fd, SECCOMP_RET_ALLOW);
    child("refusing-filter", fd, SECCOMP_RET_ERRNO | EPERM);
    errno = 0; i = ioctl(fd, 0xc04846d2, (void *)8); printf("bad-pointer %d %d\n", i, errno);
    errno = 0; i = ioctl(fd, 0x5401, buf); printf("tty-ioctl %d %d\n", i, errno);
    pfd.fd = fd; pfd.events = POLLIN; printf("poll %d\n", poll(&pfd, 1, 20));
    ep = epoll_create1(0); printf("epoll %d", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
    printf(" %d\n", epoll_wait(ep, &ev, 1, 20));
    chdir("/dev"); d = open("nvidia0", O_RDWR); printf("relative %d\n", probe(d));
    return 0;
}
