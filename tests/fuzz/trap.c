/*
 * The Sentry's side of the trap protocol against slots full of anything: what a stub may write there (hazard A5). Built with
 * -fsanitize=address,undefined; usage: trap SECONDS SEED
 */
#include "native.c"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/eventfd.h>

static uint64_t state = 1;
static uint64_t rnd(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

#define TASKS 8
static int exe;
#define CHECK(c) \
  do { \
    if (!(c)) fprintf(stderr, "failed: %s\n", #c), abort(); \
  } while (0)

static void scribble(struct nv_slot *s) {
  uint64_t *w = (uint64_t *)s;
  size_t n = sizeof *s / 8;
  for (size_t i = 0; i < n; i++)
    if (rnd() % 3) w[i] = rnd() % 4 ? rnd() : rnd() % 64;
  s->kind = rnd() % 4 ? (uint32_t)(rnd() % 8) : (uint32_t)rnd();
  s->asleep = 0;
  s->state = rnd() % 2 ? NV_ST_EVENT : (uint32_t)rnd() % 5;
}

static void messages(int a, int b) {
  char data[8];
  struct iovec v = {data, rnd() % 9};
  union {
    struct cmsghdr h;
    char c[256];
  } u;
  memset(&u, 0, sizeof u);
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
  int n = (int)(rnd() % 6);
  if (n) {
    m.msg_control = &u;
    m.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n);
    u.h.cmsg_level = SOL_SOCKET, u.h.cmsg_type = SCM_RIGHTS, u.h.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
    for (int i = 0; i < n; i++) ((int *)CMSG_DATA(&u.h))[i] = a;
  }
  sendmsg(b, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
  int r = nv_recv_pid(a);
  CHECK(r == getpid() || r <= 0);
  int fds[8] = {a, b, a, b, a, b, a, b};
  if (nv_send_fds(a, fds, (int)(rnd() % 12) - 1) == 0) nv_recv_pid(b);
}

static struct nv_files *tables[2];
static struct nv_file *files[4];

static void lending(struct nv_task *t) {
  struct nv_files **fs = &tables[rnd() % 2];
  struct nv_file **f = &files[rnd() % 4];
  if (!*fs) *fs = nv_files_new();
  if (!*f) *f = nv_file_new();
  switch (rnd() % 8) {
    case 0:
      nv_files_put(*fs);
      *fs = NULL;
      break;
    case 1:
      nv_file_put(*f);
      *f = NULL;
      break;
    case 2:
      nv_file_back(*f);
      break;
    case 3:
      nv_files_stop();
      break;
    case 4:
      nv_files_set(*fs, (uint32_t)(rnd() % 80), rnd() % 2 ? *f : NULL);
      break;
    case 5:
      nv_files_clear(*fs);
      break;
    default:
      if (rnd() % 4)
        CHECK(nv_file_lend(*f, rnd() % 8 ? exe : -1, (int64_t)(rnd() % 3 ? rnd() % 9999 : rnd() >> 1)) <= 0);
      else
        nv_file_null(*f, (uint32_t)rnd() % 8);
      nv_files_set(*fs, (uint32_t)(rnd() % 8), *f);
      nv_lend(t, rnd() % 4 ? *fs : NULL, (uint32_t)rnd() % 16);
  }
}

int main(int argc, char **argv) {
  uint64_t end = now_ns() + (argc > 1 ? strtoull(argv[1], 0, 0) : 5) * 1000000000ull, rounds = 0;
  state = (argc > 2 ? strtoull(argv[2], 0, 0) : 1) * 0x9e3779b97f4a7c15ull | 1;
  char *slots = mmap(0, NV_SLOT_SIZE * TASKS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char *cmds = mmap(0, NV_CMD_SIZE * TASKS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  static struct nv_kuser kuser;
  int sock[2], one = 1;
  socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock);
  setsockopt(sock[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
  CHECK(nv_init(eventfd(0, EFD_NONBLOCK), epoll_create1(0), &kuser, 4) == 0);
  for (uint32_t nr = 0; nr < 600; nr++) nv_set_widths(nr, (uint32_t)rnd()), nv_set_intab(nr, (uint32_t)rnd());
  CHECK(!nv_task_new(1, slots, cmds, 0, NV_SLOTS));
  struct nv_task *t[TASKS];
  CHECK((exe = open("/proc/self/exe", O_RDONLY)) >= 0);
  for (uint32_t i = 0; i < TASKS; i++) CHECK((t[i] = nv_task_new(i, slots, cmds, 0x7d0000000000, i)));
  while (now_ns() < end) {
    uint32_t i = (uint32_t)(rnd() % TASKS);
    struct nv_task *k = t[i];
    switch (rnd() % 12) {
      case 0:
        for (uint64_t n = rnd() % 50; n; n--) nv_op(k, (uint32_t)rnd(), (uint32_t)rnd(), (uint32_t)rnd(), rnd(), rnd(), rnd(), rnd(), rnd(), rnd());
        CHECK(k->nops <= NV_MAXOPS);
        break;
      case 1:
        nv_reply(k, (int64_t)rnd());
        break;
      case 2:
        nv_run(k, 3);
        break;
      case 3:
        nv_post(k);
        break;
      case 4:
        nv_drop(k);
        break;
      case 5:
        messages(sock[0], sock[1]);
        break;
      case 6:
        nv_task_free(k);
        CHECK((t[i] = nv_task_new(i, slots, cmds, 0x7d0000000000, i)));
        break;
      case 7:
        lending(k);
        break;
      default:
        scribble(k->slot);
        if (rnd() % 4 == 0) k->slot->regs[NV_RAX] = rnd() % 2 ? 0 : rnd() % 2 ? 17 : 8, k->slot->regs[NV_RDI] = rnd() % 8;
    }
    k = nv_wait((int64_t)now_ns());
    if (k) {
      CHECK(k->id < TASKS && k == t[k->id]);
      CHECK((uint64_t)k->ev[NV_E_INLEN0] <= NV_IN_MAXWRITE && (uint64_t)k->ev[NV_E_INLEN1] <= NV_IN_MAXWRITE);
      CHECK(!nv_running(k));
    }
    int32_t ready[8];
    nv_ready(ready, 8);
    rounds++;
  }
  for (int i = 0; i < TASKS; i++) nv_task_free(t[i]);
  for (int i = 0; i < 4; i++) nv_file_put(files[i]);
  for (int i = 0; i < 2; i++) nv_files_put(tables[i]);
  printf("%lu rounds\n", (unsigned long)rounds);
  return 0;
}
