#include "t.h"

int main(void) {
  int p[2];
  pipe(p);
  close(p[0]);
  CHILD("write", write(p[1], "x", 1));
  signal(SIGPIPE, SIG_IGN);
  R(write(p[1], "x", 1));
  int s[2];
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  close(s[0]);
  R(write(s[1], "x", 1));
  signal(SIGPIPE, SIG_DFL);
  R(send(s[1], "x", 1, MSG_NOSIGNAL));
  CHILD("socket", write(s[1], "x", 1));
  sigset_t b, q;
  sigemptyset(&b);
  sigaddset(&b, SIGPIPE);
  sigprocmask(SIG_BLOCK, &b, 0);
  R(write(p[1], "x", 1));
  sigpending(&q);
  N(sigismember(&q, SIGPIPE));
  R(write(p[1], "", 0));
  return 0;
}
