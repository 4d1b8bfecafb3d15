/*
 * The tracer: system calls by PTRACE_SYSEMU.
 *
 * A traced thread is in one of two modes. In application mode it runs under SYSEMU, so none of its
 * system calls reach the host (nor the seccomp filter, which comes later in the kernel's entry
 * path); every stop is an event and its registers are here. In stub mode it runs `serve` in the
 * image and talks through its slot as on systrap; the breakpoint at NV_PTRACE_TRAP takes it back.
 * The application's registers are never in the slot in between, except rax, which a failed copy
 * changes.
 *
 * A slot is only listened to in stub mode: in application mode its content is the application's.
 */
#define _GNU_SOURCE
#include "ptrace.h"

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define KICK 62
#define OPTIONS                                                                                    \
  (PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)
#define EVENT_STOP 128
#define BUCKETS 1024u
#define PATIENCE 5000 /* looks at a thread that is to stop, some 60 us each */
#define BATCH 64      /* stops seen to before others get their turn */
#define EFLAGS_PLAIN 0x202u

enum mode { STUB, APP, STOPPED, FAULTED, GONE, FELL /* gone while it ran the application */ };

struct nv_pt {
  int tid; /* 0: not known yet, or gone */
  enum mode mode;
  int resuming;             /* stub mode ends with the operations at hand */
  int kick;                 /* came in stub mode */
  int muted;                /* nobody wants its events any more */
  int queued;               /* has an event that was not fetched */
  int fp_dirty;             /* the extended state in the slot is newer */
  int is_thread;            /* not the first of its process */
  uint32_t fp_size, fp_all; /* of the extended state, without tiles and with them */
  uint64_t image;
  struct user_regs_struct u;
  struct nv_task *next_event, *next_tid;
  struct nv_task *expect, *expected_by;
  int expect_thread;
};

struct nv_pt_state nv_pt;

static struct nv_task *by_tid[BUCKETS];
static uint32_t expecting;

/* Stops of threads that are nobody's yet: a child may be reported before its parent's clone. */
static struct stash { int tid, status; } * stash;
static uint32_t nstash, capstash;

/* nv_regs in NV_* order within user_regs_struct. */
#define U(f) offsetof(struct user_regs_struct, f)
static const uint16_t place[NV_NREG] = {U(r8),  U(r9),  U(r10), U(r11), U(r12), U(r13),
                                        U(r14), U(r15), U(rdi), U(rsi), U(rbp), U(rbx),
                                        U(rdx), U(rax), U(rcx), U(rsp), U(rip), U(eflags)};

static void *grown(void *p, uint32_t n, uint32_t *cap, size_t size) {
  if (n < *cap)
    return p;
  *cap = *cap ? 2 * *cap : 64;
  p = realloc(p, *cap * size);
  if (!p)
    abort();
  return p;
}

static long request(int req, const struct nv_pt *p, void *addr, void *data) {
  return ptrace((enum __ptrace_request)req, p->tid, addr, data);
}

static void resume(struct nv_pt *p, int req, int sig) {
  request(req, p, NULL, (void *)(intptr_t)sig); /* fails when it was killed: its end will be told */
}

static void set_mode(struct nv_pt *p, enum mode m) {
  nv_pt.napp -= p->mode == APP;
  p->mode = m;
  nv_pt.napp += p->mode == APP;
}

void nv_pt_init(int sigfd) {
  nv_pt.on = 1;
  nv_pt.sigfd = sigfd;
}

int nv_pt_new(struct nv_task *t, uint64_t image) {
  t->pt = calloc(1, sizeof *t->pt);
  if (!t->pt)
    return -ENOMEM;
  t->pt->image = image;
  t->pt->mode = STUB;
  return 0;
}

/* Threads by host id */
static struct nv_task *find_tid(int tid) {
  struct nv_task *t = by_tid[(unsigned)tid % BUCKETS];
  while (t && t->pt->tid != tid)
    t = t->pt->next_tid;
  return t;
}

static void unbind(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  if (!p->tid)
    return;
  struct nv_task **at = &by_tid[(unsigned)p->tid % BUCKETS];
  while (*at != t)
    at = &(*at)->pt->next_tid;
  *at = p->next_tid;
  p->tid = 0;
}

static void handle(struct nv_task *t, int status);

static int unstash(int tid, int *status) {
  for (uint32_t i = 0; i < nstash; i++)
    if (stash[i].tid == tid) {
      *status = stash[i].status;
      stash[i] = stash[--nstash];
      return 1;
    }
  return 0;
}

static void bind_tid(struct nv_task *t, int tid) {
  struct nv_pt *p = t->pt;
  int status;
  unbind(t);
  p->tid = tid;
  p->next_tid = by_tid[(unsigned)tid % BUCKETS];
  by_tid[(unsigned)tid % BUCKETS] = t;
  if (unstash(tid, &status))
    handle(t, status);
}

int nv_pt_seize(struct nv_task *t, int pid) {
  if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(uintptr_t)OPTIONS))
    return -errno;
  bind_tid(t, pid);
  return 0;
}

static void no_longer_expect(struct nv_pt *p) {
  if (p->expect) {
    p->expect->pt->expected_by = NULL;
    p->expect = NULL;
    expecting--;
  }
}

/* A thread that stopped and that no order of ours made, now that none is under way: made by a stub
 * that was tampered with. It never runs. */
static void kill_strangers(void) {
  if (expecting)
    return;
  while (nstash)
    ptrace(PTRACE_KILL, stash[--nstash].tid, NULL, NULL);
}

void nv_pt_expect(struct nv_task *parent, struct nv_task *child, int thread) {
  if (!parent->pt)
    return;
  no_longer_expect(parent->pt);
  if (child && child->pt) {
    parent->pt->expect = child;
    parent->pt->expect_thread = thread;
    child->pt->expected_by = parent;
    expecting++;
  } else {
    kill_strangers();
  }
}

/* Events */
static void queue(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  if (p->muted)
    return;
  p->queued = 1;
  p->next_event = NULL;
  if (nv_pt.tail)
    nv_pt.tail->pt->next_event = t;
  else
    nv_pt.head = t;
  nv_pt.tail = t;
}

struct nv_task *nv_pt_next(void) {
  struct nv_task *t = nv_pt.head;
  nv_pt.head = t->pt->next_event;
  if (!nv_pt.head)
    nv_pt.tail = NULL;
  t->pt->queued = 0;
  return t;
}

static void unqueue(struct nv_task *t) {
  struct nv_task *prev = NULL;
  if (!t->pt->queued)
    return;
  for (struct nv_task *u = nv_pt.head; u != t; u = u->pt->next_event)
    prev = u;
  if (prev)
    prev->pt->next_event = t->pt->next_event;
  else
    nv_pt.head = t->pt->next_event;
  if (nv_pt.tail == t)
    nv_pt.tail = prev;
  t->pt->queued = 0;
}

void nv_pt_mute(struct nv_task *t) {
  t->pt->muted = 1;
  unqueue(t);
}

void nv_pt_free(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  unqueue(t);
  unbind(t);
  set_mode(p, GONE);
  no_longer_expect(p);
  if (p->expected_by)
    no_longer_expect(p->expected_by->pt);
  t->pt = NULL;
  free(p);
}

/* The application's registers become the event's. */
static void show_regs(struct nv_task *t) {
  const char *u = (const char *)&t->pt->u;
  for (int i = 0; i < NV_NREG; i++)
    memcpy(&t->regs[i], u + place[i], 8);
  for (int i = 0; i < NV_E_N; i++)
    t->ev[i] = 0;
  t->ev[NV_E_TID] = t->pt->tid;
}

static void system_call(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  struct __ptrace_syscall_info si;
  memset(&si, 0, sizeof si);
  request(PTRACE_GET_SYSCALL_INFO, p, (void *)sizeof si, &si);
  show_regs(t);
  t->regs[NV_RAX] = (uint32_t)p->u.orig_rax;
  t->ev[NV_E_KIND] = si.arch == AUDIT_ARCH_X86_64 ? NV_EV_SYSCALL : NV_EV_BADARCH;
  t->ev[NV_E_SIG] = 31;
  nv_decode(t);
  queue(t);
}

/* The state's header says that there are none. */
static void drop_tiles(char *state) {
  uint64_t present;
  memcpy(&present, state + 512, 8);
  present &= NV_XSTATE;
  memcpy(state + 512, &present, 8);
}

static void get_fp(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  static char buf[NV_STACK_LEN];
  struct iovec iov = {buf, sizeof buf};
  if (request(PTRACE_GETREGSET, p, (void *)NT_X86_XSTATE, &iov) || iov.iov_len < 576)
    return;
  if (!nv_xsize)
    nv_know_xstate();
  /* It goes to the window's place for inlined input, which is not used here. */
  uint32_t size = (uint32_t)iov.iov_len, kept = size < nv_xsize ? size : nv_xsize;
  if (kept + 4 > NV_IN_MAXBUF)
    return;
  uint64_t xcr0; /* here the first word of what sigframes use for struct _fpx_sw_bytes */
  memcpy(&xcr0, buf + 464, 8);
  drop_tiles(buf);
  memcpy((char *)t->slot + NV_WIN_OFF, buf, kept);
  nv_fp_describe((char *)t->slot + NV_WIN_OFF, kept, xcr0 & NV_XSTATE);
  p->fp_all = size;
  p->fp_size = kept;
  t->ev[NV_E_FPOFF] = NV_WIN_OFF;
}

/* The trap number and error code that a frame shows. A tracer is not told them, but a signal frame
 * holds them: the host is made to build one for the stub's handler, and the thread is stopped at
 * the handler's first instruction (a single step that delivers a signal ends there). The frame lies
 * in the slot, so it is read here. What building it changed is put back: registers and extended
 * state with the next answer, the mask at once. What is found is the thread's to forge, as on
 * systrap. */
static void ask_trap(struct nv_task *t, int sig) {
  struct nv_pt *p = t->pt;
  get_fp(t);
  p->fp_dirty = p->fp_size != 0;
  t->ev[NV_E_FPOFF] = p->fp_dirty ? NV_WIN_OFF : 0;
  if (!p->fp_dirty) {
    queue(t);
    return;
  }
  set_mode(p, FAULTED);
  resume(p, PTRACE_SINGLESTEP, sig);
}

#define FRAME_ERR 200 /* offsets in struct rt_sigframe (asm/sigframe.h) */
#define FRAME_TRAPNO 208

/* The stop that ask_trap asked for. */
static void trap_asked(struct nv_task *t, int sig) {
  struct nv_pt *p = t->pt;
  struct user_regs_struct u;
  uint64_t mask = 0, at;
  set_mode(p, STOPPED);
  if (sig == SIGTRAP && !request(PTRACE_GETREGS, p, NULL, &u)) {
    at = u.rsp - t->stub_slot;
    if (at >= NV_STACK_OFF && at + FRAME_TRAPNO + 8 <= NV_STACK_OFF + NV_STACK_LEN) {
      memcpy(&t->ev[NV_E_ERR], (char *)t->slot + at + FRAME_ERR, 8);
      memcpy(&t->ev[NV_E_TRAPNO], (char *)t->slot + at + FRAME_TRAPNO, 8);
    }
  }
  request(PTRACE_SETSIGMASK, p, (void *)sizeof mask, &mask);
  queue(t);
}

static int is_fault(int sig) {
  return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP;
}

/* A signal for a thread that runs the application. */
static void app_signal(struct nv_task *t, int sig) {
  struct nv_pt *p = t->pt;
  siginfo_t si;
  if (request(PTRACE_GETSIGINFO, p, NULL, &si))
    memset(&si, 0, sizeof si);
  if (sig != KICK && !is_fault(sig)) { /* from outside the sandbox */
    resume(p, PTRACE_SYSEMU, sig);
    return;
  }
  set_mode(p, STOPPED);
  request(PTRACE_GETREGS, p, NULL, &p->u);
  show_regs(t);
  t->ev[NV_E_SIG] = sig;
  t->ev[NV_E_CODE] = si.si_code;
  t->ev[NV_E_KIND] = NV_EV_KICK;
  if (sig != KICK) {
    t->ev[NV_E_KIND] = NV_EV_FAULT;
    t->ev[NV_E_ADDR] = (int64_t)(uintptr_t)si.si_addr;
    ask_trap(t, sig);
    return;
  }
  queue(t);
}

/* Extended state that the Sentry changed in the slot. */
static void put_fp(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  static char buf[NV_STACK_LEN];
  struct iovec iov = {buf, p->fp_all};
  if (!p->fp_dirty)
    return;
  memcpy(buf, (char *)t->slot + NV_WIN_OFF, p->fp_size);
  drop_tiles(buf);
  request(PTRACE_SETREGSET, p, (void *)NT_X86_XSTATE, &iov);
  p->fp_dirty = 0;
}

/* The breakpoint at the end of stub mode. */
static void served(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  if (!p->resuming) { /* not at our word: the stub was tampered with */
    request(PTRACE_KILL, p, NULL, NULL);
    return;
  }
  p->resuming = 0;
  nv_unlisten(t);
  t->regs[NV_RAX] = *(volatile uint64_t *)&t->slot->regs[NV_RAX];
  set_mode(p, STOPPED);
  put_fp(t);
  if (!p->kick) {
    nv_pt_enter_app(t);
    return;
  }
  p->kick = 0;
  for (int i = 0; i < NV_E_N; i++)
    t->ev[i] = 0;
  t->ev[NV_E_TID] = p->tid;
  t->ev[NV_E_SIG] = KICK;
  t->ev[NV_E_KIND] = NV_EV_KICK;
  queue(t);
}

static void stub_signal(struct nv_task *t, int sig) {
  struct nv_pt *p = t->pt;
  if (sig == SIGTRAP) {
    request(PTRACE_GETREGS, p, NULL, &p->u);
    if (p->u.rip == p->image + NV_PTRACE_TRAP + 1) {
      served(t);
      return;
    }
  }
  if (sig == KICK) {
    p->kick = 1;
    sig = 0;
  }
  resume(p, PTRACE_CONT, sig);
}

static void cloned(struct nv_task *t, int thread) {
  struct nv_pt *p = t->pt;
  struct nv_task *child = p->expect;
  unsigned long tid = 0;
  request(PTRACE_GETEVENTMSG, p, NULL, &tid);
  resume(p, PTRACE_CONT, 0);
  if (!child || p->expect_thread != thread || !tid)
    return; /* not by our order: see kill_strangers */
  no_longer_expect(p);
  child->pt->is_thread = thread;
  bind_tid(child, (int)tid);
}

static void handle(struct nv_task *t, int status) {
  struct nv_pt *p = t->pt;
  int event = status >> 16, sig = WSTOPSIG(status);
  if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK) {
    cloned(t, event == PTRACE_EVENT_CLONE);
  } else if (event) {
    if (p->mode == FAULTED) /* its signal is lost: it faults again */
      set_mode(p, APP);
    resume(p, p->mode == APP ? PTRACE_SYSEMU : PTRACE_CONT, 0);
  } else if (sig == (SIGTRAP | 0x80)) {
    request(PTRACE_GETREGS, p, NULL, &p->u);
    set_mode(p, STOPPED);
    system_call(t);
  } else if (p->mode == APP) {
    app_signal(t, sig);
  } else if (p->mode == FAULTED) {
    trap_asked(t, sig);
  } else {
    stub_signal(t, sig);
  }
}

static void died(int tid, int status) {
  struct nv_task *t = find_tid(tid);
  int thread = t && t->pt->is_thread, old;
  unstash(tid, &old);
  if (t) {
    enum mode was = t->pt->mode;
    unbind(t);
    set_mode(t->pt, was == APP || was == FAULTED ? FELL : GONE);
  }
  if (thread)
    return;
  nv_pt.deaths = grown(nv_pt.deaths, nv_pt.ndeaths, &nv_pt.capdeaths, sizeof *nv_pt.deaths);
  nv_pt.deaths[nv_pt.ndeaths].pid = tid;
  nv_pt.deaths[nv_pt.ndeaths++].status = status;
}

int nv_pt_death(int32_t *out) {
  if (!nv_pt.ndeaths)
    return 0;
  struct nv_death d = nv_pt.deaths[--nv_pt.ndeaths];
  out[0] = d.pid;
  out[1] = d.status;
  return 1;
}

int nv_pt_poll(void) {
  int i;
  for (i = 0; i < BATCH; i++) {
    int status;
    pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);
    if (tid <= 0)
      break;
    if (!WIFSTOPPED(status)) {
      died(tid, status);
      continue;
    }
    struct nv_task *t = find_tid(tid);
    if (t) {
      handle(t, status);
      continue;
    }
    stash = grown(stash, nstash, &capstash, sizeof *stash);
    stash[nstash++] = (struct stash){tid, status};
  }
  if (nstash)
    kill_strangers();
  return i == BATCH;
}

int nv_pt_running(const struct nv_task *t) {
  const struct nv_pt *p = t->pt;
  if (p->mode == FELL) /* no handler is at work that would notice; until it is dropped */
    return !p->muted;
  return p->mode == APP || p->mode == FAULTED || p->queued;
}

/* Answers */
int nv_pt_in_app(struct nv_task *t) { return t->pt->mode == STOPPED; }

static void set_regs(struct nv_pt *p, struct user_regs_struct *u) {
  u->orig_rax = (unsigned long long)-1; /* no system call that the host could want to restart */
  u->cs = 0x33;
  u->ss = 0x2b;
  request(PTRACE_SETREGS, p, NULL, u);
}

void nv_pt_enter_app(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  p->muted = 0;
  put_fp(t);
  char *u = (char *)&p->u;
  for (int i = 0; i < NV_NREG; i++)
    memcpy(u + place[i], &t->regs[i], 8);
  set_regs(p, &p->u);
  set_mode(p, APP);
  resume(p, PTRACE_SYSEMU, 0);
}

void nv_pt_enter_stub(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  struct user_regs_struct u = p->u;
  u.rip = p->image + NV_PTRACE_ENTRY;
  u.rsp = t->stub_slot + NV_STACK_OFF + NV_STACK_LEN - 64;
  u.rbp = 0;
  u.eflags = EFLAGS_PLAIN; /* no TF, AC or DF of the application's */
  set_regs(p, &u);
  set_mode(p, STUB);
  resume(p, PTRACE_CONT, 0);
}

/* The slot holds operations. */
void nv_pt_answered(struct nv_task *t, int resume_app) {
  struct nv_pt *p = t->pt;
  p->muted = 0;
  p->resuming = resume_app;
  if (p->mode == STOPPED)
    nv_pt_enter_stub(t);
}

/* Extended state */
int nv_fp_load(struct nv_task *t) {
  struct nv_pt *p = t->pt;
  int status;
  if (!p || t->ev[NV_E_FPOFF])
    return 0;
  if (p->mode == STUB && p->tid) { /* it waits in `serve`, the state untouched: stop it there */
    if (request(PTRACE_INTERRUPT, p, NULL, NULL))
      return 0;
    /* Not for ever: the first thread of a process that is being killed can be waited for only when
     * all others have been, and that is nv_pt_poll's. Whoever gets no state is about to die. */
    int got = 0;
    for (int i = 0; i < PATIENCE && !got; i++) {
      got = waitpid(p->tid, &status, __WALL | WNOHANG);
      if (!got && i > 64)
        usleep(10);
    }
    if (got != p->tid)
      return 0;
    if (!WIFSTOPPED(status)) {
      died(p->tid, status);
      return 0;
    }
    get_fp(t);
    handle(t, status);
  } else if (p->mode == STOPPED) {
    get_fp(t);
  }
  return 0;
}

void nv_fp_store(struct nv_task *t) {
  if (t->pt && t->pt->fp_size)
    t->pt->fp_dirty = 1;
}
