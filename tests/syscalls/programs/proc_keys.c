/* add_key(2), request_key(2), keyctl(2): keyrings of thread, process, session and user; permissions, quotas, time-outs. */
#include "t.h"
#include <sys/prctl.h>

#define add(...) syscall(SYS_add_key, __VA_ARGS__)
#define req(...) syscall(SYS_request_key, __VA_ARGS__)
#define ctl(...) syscall(SYS_keyctl, __VA_ARGS__)
enum { T = -1, P = -2, S = -3, U = -4, US = -5 };
enum {
  GET_ID, JOIN, UPDATE, REVOKE, CHOWN, SETPERM, DESCRIBE, CLEAR, LINK, UNLINK, SEARCH, READ, INSTANTIATE, NEGATE, SET_DEF,
  TIMEOUT, ASSUME, SECURITY, TO_PARENT, REJECT, INST_IOV, INVALIDATE, PERSISTENT, RESTRICT = 29, MOVE
};

static void describe(const char *what, long id) {
  char b[300];
  long n = ctl(DESCRIBE, id, b, sizeof b);
  printf("%s: %s (%ld)\n", what, n < 0 ? strerrorname_np(errno) : b, n);
  fflush(stdout);
}

static void content(long id) {
  char b[100] = {0};
  long n = ctl(READ, id, b, sizeof b);
  printf("%ld %s\n", n, n < 0 ? strerrorname_np(errno) : b);
  fflush(stdout);
}

static void *thread(void *a) {
  describe("thread's of another", T);
  describe("process's of another", P);
  OK(ctl(GET_ID, T, 1));
  describe("now", T);
  C(ctl(GET_ID, S, 0) == *(long *)a);
  return 0;
}

static void basics(void) {
  puts("- basics");
  C(ctl(JOIN, 0) > 0);
  describe("session", S);
  describe("user", U);
  describe("user session", US);
  describe("thread", T);
  OK(ctl(GET_ID, T, 0));
  OK(ctl(GET_ID, T, 1));
  OK(ctl(GET_ID, P, 1));
  describe("thread", T), describe("process", P);
  R(ctl(GET_ID, -6, 1));
  R(ctl(GET_ID, -7, 1));
  R(ctl(GET_ID, -9, 1));
  R(ctl(GET_ID, 0, 1));
  R(ctl(GET_ID, 77, 1));
  R(ctl(99, 0, 0));
  long k = add("user", "one", "value", 5, S), s = ctl(GET_ID, S, 0);
  describe("key", k);
  content(k);
  C(add("user", "one", "other", 5, S) == k);
  content(k);
  R(ctl(READ, k, 0, 0));
  char b[10] = "----";
  R(ctl(READ, k, b, 3));
  puts(b);
  R(ctl(READ, k, 1, 100));
  R(ctl(DESCRIBE, k, b, 3));
  R(ctl(DESCRIBE, k, 0, 0));
  R(ctl(SECURITY, k, b, 10) > 0);
  R(ctl(UPDATE, k, "third", 5));
  content(k);
  R(ctl(UPDATE, k, 0, 0));
  R(ctl(UPDATE, k, b, 5000));
  R(ctl(UPDATE, s, "x", 1));
  C(req("user", "one", 0, 0) == k);
  C(ctl(SEARCH, S, "user", "one", 0) == k);
  R(req("user", "none", 0, 0));
  R(req("nothing", "one", 0, 0));
  R(ctl(SEARCH, S, "user", "none", 0));
  R(ctl(SEARCH, S, "nothing", "none", 0));
  R(ctl(SEARCH, k, "user", "one", 0));
  C(req("user", "one", 0, P) == k);
  R(ctl(READ, P, b, 4) == 4 && *(int *)b == k);
  R(ctl(UNLINK, k, S));
  R(ctl(UNLINK, k, S));
  describe("still", k);
  R(ctl(UNLINK, k, P));
  puts("- bad arguments");
  R(add("user", "x", 0, 0, S));
  R(add("user", "", "a", 1, S));
  R(add("user", 0, "a", 1, S));
  R(add("user", "x", "a", 1 << 20, S));
  R(add("user", "x", 1, 5, S));
  R(add("user", 1, "a", 1, S));
  R(add("", "x", "a", 1, S));
  R(add(0, "x", "a", 1, S));
  R(add(".user", "x", "a", 1, S));
  R(add("nothing", "x", "a", 1, S));
  R(add("a type with a name that is much too long", "x", "a", 1, S));
  R(add("keyring", "x", "a", 1, S));
  R(add("keyring", ".x", 0, 0, S));
  R(add("user", "x", "a", 1, 0));
  R(add("user", "x", "a", 1, -20));
  R(add("logon", "plain", "a", 1, S));
  R(add("logon", ":plain", "a", 1, S));
  char *big = calloc(1, 40000);
  R(add("user", "x", big, 32768, S));
  OK(add("user", "x", big, 32767, S));
  memset(big, 'd', 5000);
  R(add("user", big, "x", 1, S));
  R(ctl(JOIN, ".x"));
  k = add("logon", "a:b", "secret", 6, S);
  describe("logon", k);
  R(ctl(READ, k, b, 10));
  R(ctl(INSTANTIATE, k, "x", 1, 0));
  R(ctl(NEGATE, k, 10, 0));
  R(ctl(ASSUME, 0));
  R(ctl(ASSUME, -1));
  R(ctl(ASSUME, k));
  R(ctl(SET_DEF, -1));
  R(ctl(SET_DEF, 3));
  R(ctl(SET_DEF, 6));
  R(ctl(SET_DEF, 99));
  R(ctl(SET_DEF, 0));
  pthread_t p;
  pthread_create(&p, 0, thread, &s), pthread_join(p, 0);
}

static void rings(void) {
  puts("- keyrings");
  ctl(JOIN, 0);
  long a = add("keyring", "a", 0, 0, S), b = add("keyring", "b", 0, 0, a), k = add("user", "deep", "1", 1, b);
  describe("ring", a);
  C(ctl(SEARCH, S, "user", "deep", 0) == k);
  C(ctl(SEARCH, S, "keyring", "b", 0) == b);
  C(ctl(SEARCH, S, "user", "deep", S) == k);
  R(ctl(UNLINK, k, S));
  R(ctl(LINK, a, b));
  R(ctl(LINK, a, a));
  R(ctl(LINK, k, k));
  R(ctl(LINK, k, a));
  R(ctl(LINK, k, a));
  int ids[10];
  N(ctl(READ, a, ids, 40));
  R(ctl(CLEAR, k));
  R(ctl(CLEAR, a));
  N(ctl(READ, a, ids, 40));
  a = add("keyring", "a", 0, 0, S);
  k = add("user", "m", "1", 1, S);
  R(ctl(MOVE, k, S, a, 0));
  R(ctl(MOVE, k, S, a, 0));
  R(ctl(MOVE, k, a, a, 0));
  C(add("user", "m", "2", 1, S) != k);
  R(ctl(MOVE, k, a, S, 1));
  R(ctl(MOVE, k, a, S, 2));
  R(ctl(MOVE, k, a, S, 0));
  C(ctl(SEARCH, S, "user", "m", 0) == k);
  C(add("keyring", "a", 0, 0, S) != a); /* takes its place */
  a = ctl(SEARCH, S, "keyring", "a", 0);
  R(ctl(RESTRICT, a, 0, 0));
  R(add("user", "no", "1", 1, a));
  R(ctl(LINK, k, a));
  R(ctl(RESTRICT, k, 0, 0));
  puts("- revoked, expired, invalidated");
  a = add("keyring", "r", 0, 0, S), k = add("user", "r", "1", 1, a);
  R(ctl(REVOKE, k));
  describe("revoked", k);
  content(k);
  R(ctl(UPDATE, k, "x", 1));
  R(ctl(SEARCH, S, "user", "r", 0));
  R(req("user", "r", 0, 0));
  R(ctl(LINK, k, S));
  R(ctl(REVOKE, k));
  R(ctl(REVOKE, a));
  R(add("user", "q", "1", 1, a));
  R(ctl(CLEAR, a));
  R(ctl(UNLINK, a, S));
  k = add("user", "t", "1", 1, S);
  R(ctl(TIMEOUT, k, 1));
  content(k);
  ms(1100);
  content(k);
  describe("expired", k);
  R(ctl(SEARCH, S, "user", "t", 0));
  R(ctl(TIMEOUT, k, 0));
  k = add("user", "i", "1", 1, S);
  R(ctl(INVALIDATE, k));
  describe("invalidated", k);
  puts("- asked for and not there");
  R(ctl(CLEAR, S));
  R(req("user", "who", "info", 0));
  R(ctl(READ, S, ids, 40));
  k = ids[0];
  describe("none", k);
  content(k);
  R(req("user", "who", 0, 0));
  R(ctl(SEARCH, S, "user", "who", 0));
  R(ctl(LINK, k, S));
  R(ctl(REVOKE, k));
  C(add("user", "who", "1", 1, S) == k);
  content(k);
  R(ctl(SET_DEF, 2));
  R(req("user", "whoever", "info", 0));
  R(ctl(READ, P, ids, 40));
  R(ctl(SETPERM, ctl(GET_ID, P, 0), 0x1b000000));
  R(req("user", "whatever", "info", 0));
  R(req("user", "whatever", "info", P));
  R(ctl(SET_DEF, 0));
  puts("- permissions");
  k = add("user", "p", "1", 1, S);
  R(ctl(SETPERM, k, 0x40000000));
  R(ctl(SETPERM, k, 0x3f010000 & ~(2u << 24)));
  content(k); /* possession is enough to read */
  R(ctl(SETPERM, k, 0x01010000 | 32 << 24));
  content(k);
  describe("seen", k);
  R(ctl(UPDATE, k, "x", 1));
  R(ctl(LINK, k, P));
  R(ctl(SETPERM, k, 0x21010000));
  R(ctl(SEARCH, S, "user", "p", 0));
  R(ctl(SETPERM, k, 0));
  describe("nothing", k);
  R(ctl(SETPERM, k, 0x3f3f0000));
  R(ctl(UNLINK, k, S));
  k = add("user", "o", "1", 1, S);
  R(ctl(CHOWN, k, -1, -1));
  R(ctl(CHOWN, k, 1000, 1000));
  describe("another's", k);
  R(ctl(SETPERM, k, 0x3f3f3f3f));
  R(ctl(CHOWN, k, 0, 0));
}

static void families(void) {
  puts("- processes");
  long s = ctl(JOIN, 0);
  ctl(GET_ID, T, 1), ctl(GET_ID, P, 1);
  CHILD("child", C(ctl(GET_ID, S, 0) == s); describe("thread", T); describe("process", P); C(ctl(JOIN, 0) != s));
  C(ctl(GET_ID, S, 0) == s);
  describe("kept", s);
  long n = ctl(JOIN, "by name");
  describe("named", S);
  CHILD("again", ctl(JOIN, 0); C(ctl(JOIN, "by name") == n));
  CHILD("to parent", long mine = ctl(JOIN, 0); add("user", "from child", "1", 1, S); R(ctl(TO_PARENT)));
  ms(10);
  C(ctl(GET_ID, S, 0) != n);
  OK(ctl(SEARCH, S, "user", "from child", 0));
  long p = ctl(PERSISTENT, -1, S);
  describe("persistent", p);
  C(ctl(PERSISTENT, -1, S) == p);
  R(ctl(PERSISTENT, -1, 0));
  ctl(JOIN, 0);
  long k = add("user", "root's", "1", 1, S);
  CHILD("other user", setresgid(1000, 1000, 1000); setresuid(1000, 1000, 1000); describe("session", S); content(k);
        R(ctl(REVOKE, k)); ctl(JOIN, 0); describe("its session", S); describe("its user", U); describe("root's", k); content(k);
        R(ctl(PERSISTENT, 0, S)); R(ctl(CHOWN, add("user", "c", "1", 1, S), 0, -1)); R(ctl(LINK, k, S)); R(ctl(JOIN, "by name") > 0);
        R(ctl(TO_PARENT)););
  CHILD("quota", setresgid(1003, 1003, 1003); setresuid(1003, 1003, 1003); ctl(JOIN, 0); int i = 0; char d[20];
        for (; i < 300; i++) {
          sprintf(d, "k%d", i);
          if (add("user", d, "1", 1, S) < 0) break;
        } printf("after many: %s\n", strerrorname_np(errno));
        C(i > 150 && i < 200); static char big[20000];
        R(add("user", "big", big, 20000, S)););
  CHILD("exec", ctl(GET_ID, P, 1); OK(add("user", "e", "1", 1, P)); char a[30]; sprintf(a, "%ld", (long)ctl(GET_ID, S, 0));
        execl("/proc/self/exe", "x", a, 0));
}

int main(int argc, char **argv) {
  if (argc > 1) {
    C(ctl(GET_ID, S, 0) == atol(argv[1]));
    describe("process's", P);
    return 0;
  }
  CHILD("basics", basics());
  CHILD("rings", rings());
  CHILD("families", families());
  return 0;
}
