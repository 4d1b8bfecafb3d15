/* UTS, IPC, network, cgroup and time namespaces: what is in them is theirs alone. */
#include "t.h"
#include <arpa/inet.h>
#include <mqueue.h>
#include <net/if.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/utsname.h>

static void name(void) {
  struct utsname u;
  uname(&u);
  printf("%s %s\n", u.nodename, u.domainname);
  char b[80] = "";
  int fd = open("/proc/sys/kernel/hostname", O_RDONLY);
  read(fd, b, 79), close(fd);
  printf("%s", b);
  fflush(stdout);
}

static int flags(const char *dev) {
  struct ifreq r = {0};
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  strcpy(r.ifr_name, dev);
  int n = ioctl(s, SIOCGIFFLAGS, &r);
  close(s);
  return n < 0 ? -1 : r.ifr_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING);
}

static int up(const char *dev, int on) {
  struct ifreq r = {0};
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  strcpy(r.ifr_name, dev);
  r.ifr_flags = on ? IFF_UP : 0;
  int n = ioctl(s, SIOCSIFFLAGS, &r), e = errno;
  close(s);
  errno = e;
  return n;
}

int main(void) {
  key_t key = 0x4e530001;
  int m = msgget(key, IPC_CREAT | 0600), s = semget(key, 1, IPC_CREAT | 0600), h = shmget(key, 4096, IPC_CREAT | 0600);
  int kept = shmget(IPC_PRIVATE, 4096, 0600);
  char *mem = shmat(kept, 0, 0);
  strcpy(mem, "shared");
  struct mq_attr at = {.mq_maxmsg = 2, .mq_msgsize = 8};
  mqd_t q = mq_open("/nstest", O_CREAT | O_RDWR, 0600, &at);
  C(q >= 0);
  struct sockaddr_un a = {AF_UNIX, "\0nstest"};
  int us = socket(AF_UNIX, SOCK_STREAM, 0);
  R(bind(us, (void *)&a, 9));
  R(listen(us, 1));
  fflush(stdout);
  if (!fork()) {
    puts("- uts");
    R(unshare(CLONE_NEWUTS));
    R(sethostname("inside", 6));
    R(setdomainname("domain", 6));
    name();
    fflush(stdout);
    if (!fork()) {
      name();
      exit(0);
    }
    wait(0);
    put("/proc/sys/kernel/hostname", "other");
    name();
    puts("- ipc");
    R(unshare(CLONE_NEWIPC));
    R(msgget(key, 0));
    R(semget(key, 1, 0));
    R(shmget(key, 0, 0));
    puts(mem);
    struct shmid_ds d;
    R(shmctl(kept, IPC_STAT, &d));
    R(shmdt(mem));
    R(mq_open("/nstest", O_RDWR));
    OK(msgget(key, IPC_CREAT | 0600));
    OK(mq_open("/nstest", O_CREAT | O_RDWR, 0600, &at));
    OK(mq_send(q, "x", 1, 0)); /* the open queue is still the old one */
    puts("- net");
    R(unshare(CLONE_NEWNET));
    N(flags("lo"));
    N(if_nametoindex("lo"));
    N(if_nametoindex("eth0"));
    struct sockaddr_in in = {AF_INET, htons(80)};
    in.sin_addr.s_addr = htonl(0x7f000001);
    int t = socket(AF_INET, SOCK_STREAM, 0);
    R(connect(t, (void *)&in, sizeof in));
    int v = socket(AF_UNIX, SOCK_STREAM, 0);
    R(connect(v, (void *)&a, 9));
    R(bind(v, (void *)&a, 9));
    R(up("lo", 1));
    R(up("eth0", 1));
    N(flags("lo"));
    close(t);
    t = socket(AF_INET, SOCK_STREAM, 0);
    R(bind(t, (void *)&in, sizeof in));
    R(listen(t, 1));
    int c = socket(AF_INET, SOCK_STREAM, 0);
    R(connect(c, (void *)&in, sizeof in));
    in.sin_addr.s_addr = htonl(0x08080808);
    int u = socket(AF_INET, SOCK_DGRAM, 0);
    R(connect(u, (void *)&in, sizeof in));
    struct sockaddr_in6 six = {AF_INET6, htons(99), 0, IN6ADDR_LOOPBACK_INIT};
    int w = socket(AF_INET6, SOCK_DGRAM, 0);
    R(bind(w, (void *)&six, sizeof six));
    R(up("lo", 0));
    N(flags("lo"));
    R(connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&in, sizeof in));
    char line[200];
    FILE *f = fopen("/proc/self/net/dev", "r");
    while (fgets(line, 200, f)) printf("%.6s\n", line);
    puts("- cgroup, time");
    R(unshare(CLONE_NEWCGROUP));
    R(unshare(0x80000000));
    exit(0);
  }
  wait(0);
  struct shmid_ds d;
  R(shmctl(kept, IPC_STAT, &d));
  N(d.shm_nattch);
  C(msgget(key, 0) == m && semget(key, 1, 0) == s && shmget(key, 0, 0) == h);
  char b[8];
  R(mq_receive(q, b, 8, 0));
  R(mq_unlink("/nstest"));
  msgctl(m, IPC_RMID, 0), semctl(s, 0, IPC_RMID), shmctl(h, IPC_RMID, 0), shmctl(kept, IPC_RMID, 0);
  fflush(stdout);
  if (!fork()) {
    setresgid(1000, 1000, 1000), setresuid(1000, 1000, 1000);
    R(unshare(CLONE_NEWUTS));
    R(unshare(CLONE_NEWIPC));
    R(unshare(CLONE_NEWNET));
    R(unshare(CLONE_NEWNS));
    R(unshare(CLONE_NEWPID));
    R(unshare(CLONE_NEWCGROUP));
    R(up("lo", 0));
    R(unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWUTS));
    R(sethostname("mine", 4));
    R(up("lo", 1));
    struct sockaddr_in in = {AF_INET, htons(80)};
    in.sin_addr.s_addr = htonl(0x7f000001);
    int t = socket(AF_INET, SOCK_STREAM, 0);
    R(bind(t, (void *)&in, sizeof in));
    exit(0);
  }
  wait(0);
  return 0;
}
