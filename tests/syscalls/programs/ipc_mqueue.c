// gcc: -lrt
#include "t.h"
#include <mqueue.h>
int main(void) {
  struct mq_attr a = {0, 3, 20, 0};
  mq_unlink("/nvsandbox-test");
  mqd_t q = mq_open("/nvsandbox-test", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &a);
  char b[30] = "";
  unsigned pr;
  C(q >= 0);
  R(mq_send(q, "low", 3, 1));
  R(mq_send(q, "high", 4, 9));
  R(mq_send(q, "low2", 4, 1));
  R(mq_send(q, "full", 4, 1));
  R(mq_receive(q, b, 5, &pr));
  R(mq_receive(q, b, 30, &pr));
  printf("%s %u\n", b, pr);
  R(mq_getattr(q, &a));
  printf("%ld %ld %ld %ld\n", a.mq_flags, a.mq_maxmsg, a.mq_msgsize, a.mq_curmsgs);
  R(mq_send(q, b, 21, 1));
  R(mq_send(q, b, 1, 32768));
  R(mq_open("/nvsandbox-test", O_RDWR | O_CREAT | O_EXCL, 0600, 0));
  R(mq_open("noslash", O_RDWR));
  R(mq_open("/absent-nvsandbox", O_RDWR));
  mq_receive(q, b, 30, &pr), mq_receive(q, b, 30, &pr);
  R(mq_receive(q, b, 30, &pr));
  R(mq_unlink("/nvsandbox-test"));
  R(mq_unlink("/nvsandbox-test"));
  R(mq_close(q));
  R(mq_close(q));
  return 0;
}
