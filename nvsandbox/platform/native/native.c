/*
 * The Sentry's wait and reply loop. Single-threaded: the caller is the Sentry's one thread.
 * Allocates nothing per event; takes no value of a slot twice.
 */
#define _GNU_SOURCE
#include "ptrace.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAX_READY 64
#define MUST_SPIN 1000000u  /* nv_run: spins of a caller that won't sleep */
#define SPIN_LONG_NS 150000 /* how long it spins when answers come that quickly */
#define SPIN_SHORT_NS 3000
#define SPIN_AWAIT_NS 500000 /* for one that works for us on another core: a part of a walk */
#define SPIN_GAIN_NS 10000   /* what a spin that finds its event saves */
#define CREDIT_MAX_NS 1000000
#define HOLD_NS 150000      /* how long wakes may be put off while events come */
#define HOLD_QUIET_NS 20000 /* and without one */
#define POLL_EVERY 64       /* events between two looks at the descriptors */

static struct {
  int eventfd, epfd, ncpu;
  struct nv_kuser *kuser;
  struct nv_task **run; /* tasks whose thread runs the application */
  uint32_t nrun, caprun, next;
  uint32_t since_poll;
  uint64_t avg_ns;   /* moving average of how long a wait lasts */
  int64_t credit;    /* what spinning has saved of late, in ns, less what it has cost */
  uint32_t rest;     /* waits to go without spinning */
  uint32_t waited;   /* clock cycles the last event had been there */
  uint32_t awaiting; /* answers that are to come by a descriptor, soon */
  int32_t dying;     /* processes of ours that have been killed and are not gone yet */
  uint64_t held;     /* wakes are put off until then; 0: none are */
  struct epoll_event ready[MAX_READY];
  int nready;
  uint32_t hot_first, hot_factor;
} L;
struct nv_stats nv_stats;
uint32_t nv_xsize, nv_xall;
uint64_t nv_xfeatures;

static uint8_t widths[512][6], nargs[512];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Spinning pays while those waited for have cores to run on. Where others compute, a yield costs
 * all of their slice, while a sleeper would have been put before them when it wakes. */
static void spin_paid(void) {
  if (L.credit < CREDIT_MAX_NS)
    L.credit += SPIN_GAIN_NS;
}

static void spin_cost(uint64_t ns) {
  if (L.awaiting || L.dying > 0) /* it was our own gofer that computed, or an end of our own */
    return;
  L.credit -= (int64_t)(ns < 10 * CREDIT_MAX_NS ? ns : 10 * CREDIT_MAX_NS);
  if (L.credit < 0) {
    L.rest = (uint32_t)(-L.credit / (SPIN_GAIN_NS / 4));
    L.credit = 0;
  }
}

/* Clocks of two cores may differ a little: what seems to come out of the future has just come. */
static int came_late(void) { return (int32_t)L.waited > 0 && L.waited > NV_LATE_NS * NV_CYCLES; }

static int resting(void) { return L.rest || L.ncpu < 2; }

int nv_init(int eventfd, int epfd, struct nv_kuser *kuser, int ncpu) {
  L.eventfd = eventfd;
  L.epfd = epfd;
  L.kuser = kuser;
  L.ncpu = ncpu;
  L.avg_ns = 10000;
  L.kuser->spins = NV_SPINS;
  struct epoll_event e = {.events = EPOLLIN, .data.fd = eventfd};
  return epoll_ctl(epfd, EPOLL_CTL_ADD, eventfd, &e) ? -errno : 0;
}

void nv_set_widths(uint32_t nr, uint32_t packed) {
  if (nr >= 512)
    return;
  for (int i = 0; i < 6; i++)
    widths[nr][i] = (packed >> (2 * i)) & 3;
  nargs[nr] = packed >> 12 & 7;
}

void nv_set_intab(uint32_t nr, uint32_t how) {
  if (nr < 512)
    L.kuser->intab[nr] = (uint8_t)how;
}

struct nv_task *nv_task_new(uint32_t id, char *slots, char *cmds, uint64_t stub_slots,
                            uint32_t index) {
  if (index >= NV_SLOTS)
    return NULL;
  struct nv_task *t = calloc(1, sizeof *t);
  if (!t)
    return NULL;
  t->id = id;
  t->run = -1;
  t->slot = (struct nv_slot *)(slots + index * NV_SLOT_SIZE);
  t->cmd = (struct nv_cmds *)(cmds + index * NV_CMD_SIZE);
  t->stub_slot = stub_slots + index * NV_SLOT_SIZE;
  return t;
}

void nv_listen(struct nv_task *t) {
  if (t->run >= 0)
    return;
  if (L.nrun == L.caprun) {
    uint32_t cap = L.caprun ? 2 * L.caprun : 64;
    struct nv_task **p = realloc(L.run, cap * sizeof *p);
    if (!p)
      abort();
    L.run = p;
    L.caprun = cap;
  }
  t->run = (int32_t)L.nrun;
  L.run[L.nrun++] = t;
}

void nv_unlisten(struct nv_task *t) {
  if (t->run < 0)
    return;
  struct nv_task *last = L.run[--L.nrun];
  L.run[t->run] = last;
  last->run = t->run;
  t->run = -1;
}

void nv_drop(struct nv_task *t) {
  nv_unlisten(t);
  if (t->pt)
    nv_pt_mute(t);
}

void nv_task_free(struct nv_task *t) {
  nv_unlisten(t);
  nv_lent_free(t);
  if (t->pt)
    nv_pt_free(t);
  free(t);
}

static int64_t widen(uint64_t v, unsigned how) {
  switch (how) {
    case 2:
      return (int32_t)v;
    case 3:
      return (uint32_t)v;
    default:
      return (int64_t)v;
  }
}

/* How often call sites have trapped: a small cache, where a collision only forgets. */
#define SITES 4096u
static struct {
  uint64_t key;
  uint32_t n, next;
} sites[SITES];

static uint32_t count_site(const struct nv_task *t) {
  uint64_t key = t->regs[NV_RIP] ^ (uint64_t)((uintptr_t)t->slot >> 30) << 48;
  uint32_t i = (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 52) % SITES;
  if (sites[i].key != key) {
    sites[i].key = key;
    sites[i].n = 0;
    sites[i].next = L.hot_first;
  }
  if (++sites[i].n < sites[i].next)
    return 0;
  sites[i].next *= L.hot_factor;
  return sites[i].n;
}

void nv_know_xstate(void) {
  uint32_t a = 0xd, b, c = 0, d;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  nv_xfeatures = (a | (uint64_t)d << 32) & NV_XSTATE;
  nv_xall = b;
  nv_xsize = 576; /* legacy area and header */
  for (uint32_t i = 2; i < 63; i++) {
    if (!(nv_xfeatures >> i & 1))
      continue;
    a = 0xd, c = i;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)); /* size and place of one */
    if (a + b > nv_xsize)
      nv_xsize = a + b;
  }
}

uint32_t nv_xstate_all(void) {
  if (!nv_xall)
    nv_know_xstate();
  return nv_xall;
}

int nv_can_patch(void) {
  if (!(getauxval(AT_HWCAP2) & 2)) /* HWCAP2_FSGSBASE */
    return 0;
  nv_know_xstate();
  return (nv_xfeatures & 3) == 3 && nv_xsize + 4 <= NV_IN_MAXBUF;
}

void nv_set_patching(uint32_t first, uint32_t factor) {
  L.kuser->patch = first != 0;
  L.hot_first = first;
  L.hot_factor = factor;
}

uint32_t nv_offset(int what) {
  switch (what) {
    case NV_KNOWN:
      return offsetof(struct nv_slot, entry);
    default:
      return (uint32_t)(offsetof(struct nv_slot, known) + 4u * (uint32_t)what);
  }
}

int nv_unsigned(const struct nv_task *t, int arg) {
  uint64_t nr = (uint64_t)t->ev[NV_E_NR];
  return widths[nr < 512 ? nr : 511][arg] == 0;
}

int nv_nargs(const struct nv_task *t) {
  uint64_t nr = (uint64_t)t->ev[NV_E_NR];
  return nargs[nr < 512 ? nr : 511];
}

void nv_own_gs(struct nv_task *t) { t->cmd->own_gs = 1; }

void nv_decode(struct nv_task *t) {
  static const uint8_t argreg[6] = {NV_RDI, NV_RSI, NV_RDX, NV_R10, NV_R8, NV_R9};
  uint64_t nr = t->regs[NV_RAX];
  t->ev[NV_E_NR] = (int64_t)nr;
  const uint8_t *w = widths[nr < 512 ? nr : 511];
  for (int i = 0; i < 6; i++)
    t->ev[NV_E_ARG0 + i] = widen(t->regs[argreg[i]], w[i]);
  if (t->ev[NV_E_KIND] == NV_EV_SYSCALL) {
    nv_stats.calls[nr < 512 ? nr : 511]++;
  } else if (t->ev[NV_E_KIND] == NV_EV_FAULT) {
    nv_stats.faults++;
  } else if (t->ev[NV_E_KIND] == NV_EV_KICK) {
    nv_stats.kicks++;
  }
}

/* Copies the event out of the slot. Every field is read once. */
static void take(struct nv_task *t) {
  struct nv_slot *s = t->slot;
  nv_unlisten(t);
  __atomic_store_n(&s->state, NV_ST_RUN, __ATOMIC_RELAXED);
  L.waited = (uint32_t)__builtin_ia32_rdtsc() - *(volatile uint32_t *)&s->posted;
  uint32_t late = s->late;
  if (late) {
    s->late = 0;
    if (!L.nrun) /* otherwise its core was given to one of the sandbox's own, perhaps */
      spin_cost(late / NV_CYCLES);
  }
  uint32_t kind = *(volatile uint32_t *)&s->kind;
  t->ev[NV_E_KIND] = kind & 0xff;
  t->ev[NV_E_CRET] = *(volatile int64_t *)&s->cret;
  t->ev[NV_E_FAIL] = *(volatile uint32_t *)&s->fail;
  if (t->pt && kind != NV_EV_ACK) { /* anything else can only be an invention of the stub's */
    t->ev[NV_E_KIND] = kind = NV_EV_CMDFAIL;
  }
  if (kind == NV_EV_ACK || kind == NV_EV_CMDFAIL) {
    t->ev[NV_E_TID] = s->host_tid;
    return;
  }
  for (int i = 0; i < NV_NREG; i++)
    t->regs[i] = *(volatile uint64_t *)&s->regs[i];
  nv_decode(t);
  t->ev[NV_E_SIG] = *(volatile uint32_t *)&s->sig;
  t->ev[NV_E_CODE] = (int32_t) * (volatile uint32_t *)&s->code;
  t->ev[NV_E_ADDR] = (int64_t) * (volatile uint64_t *)&s->fault_addr;
  t->ev[NV_E_TRAPNO] = (int64_t) * (volatile uint64_t *)&s->trapno;
  t->ev[NV_E_ERR] = (int64_t) * (volatile uint64_t *)&s->err;
  uint32_t fpoff = *(volatile uint32_t *)&s->fpoff;
  t->ev[NV_E_FPOFF] = fpoff;
  t->ev[NV_E_HOT] = 0;
  nv_stats.jumps += kind == NV_EV_SYSCALL && !fpoff;
  if (L.hot_first && kind == NV_EV_SYSCALL && fpoff && (t->ev[NV_E_HOT] = count_site(t)))
    t->ev[NV_E_KIND] |= NV_EV_UNCOMMON;
  for (int i = 0; i < NV_INPUTS; i++) {
    t->ev[NV_E_INADDR0 + 2 * i] = (int64_t) * (volatile uint64_t *)&s->in_addr[i];
    uint32_t n = *(volatile uint32_t *)&s->in_len[i];
    t->ev[NV_E_INLEN0 + 2 * i] = n <= NV_IN_MAXWRITE ? n : 0;
  }
  t->ev[NV_E_TID] = s->host_tid;
}

static struct nv_task *scan(void) {
  uint32_t n = L.nrun;
  if (!n)
    return NULL;
  uint32_t i = L.next % n;
  for (uint32_t k = 0; k < n; k++) {
    if (L.run[i]->slot->state == NV_ST_EVENT) {
      struct nv_task *t = L.run[i];
      L.next = i + 1;
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
      return t;
    }
    if (++i == n)
      i = 0;
  }
  return NULL;
}

/* The next event, copied into its task. */
static struct nv_task *find(void) {
  static int turn; /* busy applications must not keep acknowledgements waiting, nor they them */
  struct nv_task *t = NULL;
  turn ^= 1;
  if (!nv_pt.head || turn)
    t = scan();
  if (!t && nv_pt.head)
    t = nv_pt_next();
  if (t && t->run >= 0)
    take(t);
  return t;
}

/* Dead children are Python's to see to: it finds the signal descriptor ready. */
static int tell_deaths(void) {
  if (!nv_pt.ndeaths || L.nready == MAX_READY)
    return 0;
  L.ready[L.nready].data.fd = nv_pt.sigfd;
  L.ready[L.nready++].events = EPOLLIN;
  return 1;
}

static int poll_fds(int timeout_ms) {
  int n = epoll_wait(L.epfd, L.ready, MAX_READY, timeout_ms);
  L.since_poll = 0;
  L.nready = 0;
  if (n <= 0)
    return 0;
  int woken = 0;
  for (int i = 0; i < n; i++) {
    if (L.ready[i].data.fd == L.eventfd) {
      uint64_t v;
      if (read(L.eventfd, &v, 8) < 0) { /* somebody else's wake: nothing to do */
      }
      woken = 1;
    } else if (nv_pt.on && L.ready[i].data.fd == nv_pt.sigfd) {
      struct signalfd_siginfo si;
      while (read(nv_pt.sigfd, &si, sizeof si) > 0) {
      }
      while (nv_pt_poll()) { /* the signal has come for all of them: none may be left behind */
      }
    } else {
      L.ready[L.nready++] = L.ready[i];
    }
  }
  (void)woken;
  return L.nready;
}

void (*nv_before_sleep)(void);

void nv_await(uint32_t n) { L.awaiting = n; }

void nv_dying(int32_t more) { L.dying += more; }

void nv_hold(int on) { L.held = on ? now_ns() + HOLD_NS : 0; }

int nv_ready(int32_t *out, int max) {
  int n = L.nready < max / 2 ? L.nready : max / 2;
  for (int i = 0; i < n; i++) {
    out[2 * i] = L.ready[i].data.fd;
    out[2 * i + 1] = (int32_t)L.ready[i].events;
  }
  L.nready = 0;
  return n;
}

static struct nv_task *got(struct nv_task *t, uint64_t waited) {
  if (waited > 1000000)
    waited = 1000000;
  L.avg_ns = (L.avg_ns * 7 + waited) / 8;
  L.since_poll++;
  nv_stats.events++;
  return t;
}

/* Sleeps in epoll until a stub writes the eventfd, a descriptor is ready or the deadline comes. */
static int sleep_once(int64_t deadline, uint64_t now) {
  int ms = -1;
  if (deadline >= 0) {
    if ((uint64_t)deadline <= now)
      return poll_fds(0);
    uint64_t left = ((uint64_t)deadline - now + 999999) / 1000000;
    ms = left > 60000 ? 60000 : (int)left;
    if ((uint64_t)deadline - now < 900000) { /* epoll_wait's milliseconds are too coarse here */
      struct timespec ts = {0, (long)((uint64_t)deadline - now)};
      int n = (int)syscall(SYS_epoll_pwait2, L.epfd, L.ready, MAX_READY, &ts, NULL, 0);
      if (n <= 0)
        return 0;
      ms = 0; /* ready now: let poll_fds sort it out (level-triggered) */
    }
  }
  return poll_fds(ms);
}

/* The next event; NULL: descriptors are ready or the deadline has come. */
static struct nv_task *next_event(int64_t deadline) {
  uint64_t t0 = now_ns();
  struct nv_task *t;
  if (nv_pt.on)
    nv_pt_poll();
  if (L.held && L.held <= t0)
    return NULL;
  if (L.since_poll < POLL_EVERY) {
    if ((t = find()))
      return got(t, 0);
  } else if (poll_fds(0)) {
    return NULL;
  }
  if (deadline >= 0 && (uint64_t)deadline <= t0) {
    L.since_poll++; /* timers that are always due must not keep descriptors waiting */
    return NULL;
  }
  if ((t = find()))
    return got(t, 0);
  if (tell_deaths())
    return NULL;
  uint64_t budget = resting() || !(L.nrun + nv_pt.napp + L.awaiting) ? 0
                    : L.awaiting                                     ? SPIN_AWAIT_NS
                    : L.avg_ns < SPIN_LONG_NS                        ? SPIN_LONG_NS
                                                                     : SPIN_SHORT_NS;
  if (L.rest)
    L.rest--;
  L.kuser->spins = resting() ? NV_SPINS_FEW : L.awaiting ? NV_SPINS_MANY : NV_SPINS;
  uint64_t gap = 0;
  for (uint32_t i = 1; budget; i++) {
    if ((t = find())) {
      if (gap > NV_LATE_NS && came_late()) /* others had this core while it was there */
        spin_cost(L.waited / NV_CYCLES);
      else
        spin_paid();
      return got(t, now_ns() - t0);
    }
    gap = 0;
    __asm__ volatile("pause");
    if (i % 32)
      continue;
    if (nv_pt.on) {
      nv_pt_poll();
      if (tell_deaths())
        return NULL;
    }
    uint64_t before = now_ns();
    if (before - t0 > budget || (deadline >= 0 && (uint64_t)deadline <= before))
      break;
    if (L.held && (L.held <= before || before - t0 > HOLD_QUIET_NS))
      break;
    nv_stats.spins++;
    if (L.awaiting && poll_fds(0)) {
      spin_paid();
      return NULL;
    }
    sched_yield(); /* the thread we wait for may share this core */
    gap = now_ns() - before;
  }
  if (L.held)
    return NULL;
  for (;;) {
    __atomic_exchange_n(&L.kuser->sentry_asleep, 1, __ATOMIC_SEQ_CST);
    if ((t = find())) {
      L.kuser->sentry_asleep = 0;
      return got(t, now_ns() - t0);
    }
    nv_stats.sleeps++;
    if (nv_before_sleep)
      nv_before_sleep();
    int ready = sleep_once(deadline, now_ns());
    L.kuser->sentry_asleep = 0;
    if (ready + tell_deaths())
      return NULL;
    if ((t = find()))
      return got(t, now_ns() - t0);
    if (deadline >= 0 && (uint64_t)deadline <= now_ns())
      return NULL;
  }
}

struct nv_task *nv_wait(int64_t deadline) {
  for (;;) {
    struct nv_task *t = next_event(deadline);
    if (!t || !nv_lent(t))
      return t;
  }
}

static void send_reply(struct nv_task *t, uint32_t flags) {
  struct nv_slot *s = t->slot;
  t->cmd->n = t->nops;
  t->cmd->flags = flags;
  t->cmd->patience = NV_P_USUAL;
  t->cmd->replied = (uint32_t)__builtin_ia32_rdtsc();
  t->nops = 0;
  nv_listen(t);
  __atomic_exchange_n(&s->state, NV_ST_REPLY, __ATOMIC_SEQ_CST);
  if (t->pt)
    nv_pt_answered(t, flags & NV_CF_RESUME);
  if (s->asleep) {
    nv_stats.wakes++;
    syscall(SYS_futex, &s->state, FUTEX_WAKE, 1, 0, 0, 0);
  }
}

/* Extended state of a thread that waits in a trampoline, once NV_OP_XSAVE has put it in its place:
 * described as in the host's signal frames (struct _fpx_sw_bytes). */
void nv_fp_describe(char *at, uint32_t size, uint64_t features) {
  uint32_t magic1 = 0x46505853, magic2 = 0x46505845, extended = size + 4;
  memset(at + 464, 0, 48);
  memcpy(at + 464, &magic1, 4);
  memcpy(at + 468, &extended, 4);
  memcpy(at + 472, &features, 8);
  memcpy(at + 480, &size, 4);
  at[512] |= 3; /* as in the host's frames, x87 and SSE count even in their initial state */
  memcpy(at + size, &magic2, 4);
}

void nv_fp_saved(struct nv_task *t) {
  nv_fp_describe((char *)t->slot + NV_WIN_OFF, nv_xsize, nv_xfeatures);
  t->ev[NV_E_FPOFF] = NV_WIN_OFF;
  t->ev[NV_E_INLEN0] = t->ev[NV_E_INLEN1] = t->ev[NV_E_INLEN2] = 0; /* it lies where those were */
}

void nv_get_ready(struct nv_task *t) {
  t->cmd->patience = NV_P_READY;
  if (t->slot->asleep)
    syscall(SYS_futex, &t->slot->state, FUTEX_WAKE, 1, 0, 0, 0);
}

void nv_resume(struct nv_task *t) {
  if (t->pt && !t->nops && nv_pt_in_app(t)) {
    nv_pt_enter_app(t);
    return;
  }
  for (int i = 0; i < NV_NREG; i++)
    t->slot->regs[i] = t->regs[i];
  send_reply(t, NV_CF_RESUME);
}

void nv_reply(struct nv_task *t, int64_t rax) {
  t->regs[NV_RAX] = (uint64_t)rax;
  nv_resume(t);
}

int nv_op(struct nv_task *t, uint32_t op, uint32_t flags, uint32_t nr, uint64_t a0, uint64_t a1,
          uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
  if (t->nops >= NV_MAXOPS)
    return -1;
  struct nv_op *o = &t->cmd->op[t->nops++];
  o->op = op;
  o->flags = (uint16_t)flags;
  o->nr = (uint16_t)nr;
  o->a[0] = a0;
  o->a[1] = a1;
  o->a[2] = a2;
  o->a[3] = a3;
  o->a[4] = a4;
  o->a[5] = a5;
  return 0;
}

int nv_copyout(struct nv_task *t, uint64_t addr, uint32_t off, const char *data, uint32_t n,
               uint32_t flags) {
  if (off > NV_WIN_LEN || n > NV_WIN_LEN - off)
    return -1;
  memcpy((char *)t->slot + NV_WIN_OFF + off, data, n);
  return nv_op(t, NV_OP_COPYOUT, flags, 0, addr, off, n, 0, 0, 0);
}

int64_t nv_read_window(struct nv_task *t, int fd, uint32_t size, int64_t offset, int *cached) {
  struct iovec iov = {(char *)t->slot + NV_WIN_OFF + NV_IN_MAXBUF, size};
  struct stat st;
  ssize_t n = *cached ? -1 : preadv2(fd, &iov, 1, offset, RWF_NOWAIT);
  if (n < 0 && (*cached || errno == EOPNOTSUPP)) { /* a memory file: always there */
    *cached = 1;
    n = pread(fd, iov.iov_base, size, offset);
  } else if (n > 0 && n < size) {
    if (fstat(fd, &st) || offset + n < st.st_size)
      return -EAGAIN;
  }
  return n < 0 ? -errno : n;
}

int64_t nv_read_out(struct nv_task *t, int fd, uint64_t addr, uint32_t size, int64_t offset) {
  int cached = 0;
  struct stat st;
  if (size > NV_WIN_LEN - NV_IN_MAXBUF) { /* many programs have big buffers for small files */
    if (fstat(fd, &st) || st.st_size - offset > (int64_t)(NV_WIN_LEN - NV_IN_MAXBUF) || !st.st_size)
      return -EMSGSIZE; /* a size of 0 may be that of a file of procfs */
    if (st.st_size <= offset)
      return 0;
    size = (uint32_t)(st.st_size - offset);
  }
  int64_t n = nv_read_window(t, fd, size, offset, &cached);
  if (n > 0 && nv_op(t, NV_OP_COPYOUT, NV_OF_EFAULT, 0, addr, NV_IN_MAXBUF, (uint64_t)n, 0, 0, 0))
    return -EAGAIN;
  return n;
}

int nv_run(struct nv_task *t, uint32_t spins) {
  /* Copies queued for the reply are done early: their faults are the handler's to see. */
  for (uint32_t i = 0; i < t->nops; i++)
    t->cmd->op[i].flags &= (uint16_t)~NV_OF_EFAULT;
  send_reply(t, 0);
  return nv_done(t, spins);
}

int nv_done(struct nv_task *t, uint32_t spins) {
  if (resting() && spins < MUST_SPIN) /* a caller that can't leave (remote.py) has to spin */
    spins = NV_SPINS_FEW;
  for (uint32_t i = 0; i < spins; i++) {
    if (t->slot->state == NV_ST_EVENT) {
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
      take(t);
      return 1;
    }
    if (t->pt && i % 64 == 63)
      nv_pt_poll(); /* a clone, a fault that a copy expects */
    if (i % 64 == 63) {
      uint64_t before = now_ns();
      sched_yield(); /* the stub may be waiting for this very core */
      if (t->slot->state == NV_ST_EVENT && now_ns() - before > NV_LATE_NS) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        take(t);
        if (came_late())
          spin_cost(L.waited / NV_CYCLES);
        return 1;
      }
    }
    __asm__ volatile("pause");
  }
  return 0;
}

void nv_post(struct nv_task *t) {
  t->cmd->n = t->nops;
  t->cmd->flags = 0;
  t->cmd->replied = (uint32_t)__builtin_ia32_rdtsc();
  t->nops = 0;
  __atomic_exchange_n(&t->slot->state, NV_ST_REPLY, __ATOMIC_SEQ_CST);
  if (t->pt)
    nv_pt_answered(t, 0);
  if (t->slot->asleep)
    syscall(SYS_futex, &t->slot->state, FUTEX_WAKE, 1, 0, 0, 0);
}

int nv_running(const struct nv_task *t) { return t->run >= 0 || (t->pt && nv_pt_running(t)); }

uint32_t nv_slot_tid(struct nv_task *t) { return t->slot->host_tid; }
