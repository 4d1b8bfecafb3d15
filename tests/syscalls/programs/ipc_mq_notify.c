// gcc: -lrt
/* Notification of message queues by a thread, names that are too long, no queue without a descriptor. */
#include "t.h"
#include <linux/netlink.h>
#include <mqueue.h>

static int told[2];

static void arrived(union sigval v) {
  char b[20];
  ssize_t n = mq_receive(v.sival_int, b, sizeof b, 0);
  printf("told of %zd\n", n);
  fflush(stdout);
  write(told[1], "x", 1);
}

int main(void) {
  struct mq_attr a = {0, 3, 20, 0};
  const char *name = "/nvsandbox-notify";
  mq_unlink(name);
  mqd_t q = mq_open(name, O_RDWR | O_CREAT, 0600, &a);
  struct sigevent ev = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = arrived, .sigev_value.sival_int = q};
  char c, cookie[32] = "0123456789abcdef0123456789abcde", got[64] = "";
  if (pipe(told)) return 1;
  R(mq_notify(q, &ev));
  R(mq_notify(q, &ev));
  R(mq_notify(q, 0));
  R(mq_notify(q, &ev));
  int sent = mq_send(q, "abc", 3, 1); /* said after what the other thread says of it */
  R(read(told[0], &c, 1));
  N(sent);
  int s = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, 0), u = socket(AF_INET, SOCK_DGRAM, 0);
  struct sigevent raw = {.sigev_notify = SIGEV_THREAD, .sigev_signo = s, .sigev_value.sival_ptr = cookie};
  R(syscall(SYS_mq_notify, q, &raw));
  R(recv(s, got, sizeof got, 0));
  R(syscall(SYS_mq_notify, q, 0));
  R(recv(s, got, sizeof got, 0));
  printf("%.31s %d\n", got, got[31]);
  R(syscall(SYS_mq_notify, q, &raw));
  R(mq_send(q, "abc", 3, 1));
  R(recv(s, got, sizeof got, 0));
  N(got[31]);
  mq_receive(q, got, sizeof got, 0);
  raw.sigev_signo = u;
  R(syscall(SYS_mq_notify, q, &raw));
  raw.sigev_signo = 1;
  R(syscall(SYS_mq_notify, q, &raw));
  raw.sigev_signo = 99;
  R(syscall(SYS_mq_notify, q, &raw));
  raw.sigev_value.sival_ptr = (void *)8;
  R(syscall(SYS_mq_notify, q, &raw));
  raw.sigev_notify = 3;
  R(syscall(SYS_mq_notify, q, &raw));
  raw.sigev_notify = SIGEV_SIGNAL;
  raw.sigev_signo = 65;
  R(syscall(SYS_mq_notify, q, &raw));
  R(mq_unlink(name));
  char big[300] = "/";
  memset(big + 1, 'x', 256);
  R(mq_unlink(big));
  R(mq_open(big, O_RDWR));
  R(syscall(SYS_mq_unlink, "a/b"));
  R(syscall(SYS_mq_unlink, ""));
  struct rlimit l = {0, 1000};
  getrlimit(RLIMIT_NOFILE, &l);
  rlim_t was = l.rlim_cur;
  l.rlim_cur = 0;
  setrlimit(RLIMIT_NOFILE, &l);
  R(mq_open(name, O_RDWR | O_CREAT, 0600, &a));
  R(open("no-room", O_CREAT | O_RDWR, 0600));
  l.rlim_cur = was;
  setrlimit(RLIMIT_NOFILE, &l);
  R(mq_unlink(name));
  R(access("no-room", F_OK));
  return 0;
}
