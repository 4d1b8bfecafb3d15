/*
 * The stub: the only code of ours inside an application's address space.
 *
 * It is one position-independent image without data, so that it can be mapped anywhere. Its SIGSYS
 * handler writes the application's registers into the thread's slot, waits for the Sentry's answer,
 * runs the host calls that answer asks for and returns. It trusts nobody and decides nothing: what
 * it may ask of the host is bounded by the seccomp filter, since the application can jump to any
 * instruction in here.
 *
 * Built with general registers only: the application's vector state stays in place while this code
 * runs.
 */
#include "proto.h"

#include <asm/prctl.h>
#include <asm/sigcontext.h>
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>

#define INLINE static inline __attribute__((always_inline))
#define NORETURN __attribute__((noreturn))
#define LABEL __attribute__((visibility("hidden")))

#define SIG_ILL 4
#define SIG_TRAP 5
#define SIG_BUS 7
#define SIG_FPE 8
#define SIG_SEGV 11
#define SIG_SYS 31
#define SIG_KICK 62

#define K_PROT_READ 1
#define K_PROT_WRITE 2
#define K_PROT_EXEC 4
#define K_MAP_SHARED 1
#define K_MAP_PRIVATE 2
#define K_MAP_FIXED 0x10
#define K_MAP_ANON 0x20
#define K_MREMAP_MOVE 3 /* MAYMOVE|FIXED */
#define K_EFAULT 14
#define EFLAGS_AC 0x40000ul
#define TASK_TOP 0x7ffffffff000ul

extern char nv_image[] LABEL; /* start of the image, from the linker script */
extern char nv_image_end[] LABEL;
extern char nv_copy_insn[] LABEL, nv_copy_fault[] LABEL;
extern char nv_load_insn[] LABEL, nv_load_fault[] LABEL;
extern char nv_cas_insn[] LABEL;
extern char nv_restorer[] LABEL;
extern char nv_tramp_entry[] LABEL, nv_tramp_exit[] LABEL, nv_tramp_end[] LABEL;

struct k_sigaction {
  void *handler;
  unsigned long flags;
  void *restorer;
  uint64_t mask;
};
struct k_stack {
  void *sp;
  int flags;
  size_t size;
};
struct k_iovec {
  void *base;
  size_t len;
};
struct k_msghdr {
  void *name;
  int namelen;
  struct k_iovec *iov;
  size_t iovlen;
  void *control;
  size_t controllen;
  int flags;
};
struct k_ucontext {
  unsigned long flags;
  void *link;
  struct k_stack stack;
  struct sigcontext_64 mc;
  uint64_t mask;
};
struct k_siginfo {
  int signo, err, code, pad;
  uint64_t addr; /* SIGSYS: si_call_addr */
  int sys;
  unsigned arch;
};

INLINE long sys6(long nr, long a, long b, long c, long d, long e, long f) {
  long ret;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(ret)
                   : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return ret;
}
#define SYS0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define SYS1(n, a) sys6(n, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(n, a, b) sys6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(n, a, b, c) sys6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(n, a, b, c, d) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

INLINE int failed(long r) { return (unsigned long)r >= (unsigned long)-4095l; }

INLINE struct nv_slot *slot_of_stack(void) {
  return (struct nv_slot *)((uintptr_t)__builtin_frame_address(0) & ~(NV_SLOT_SIZE - 1));
}
INLINE char *region(void) { return nv_image; }
INLINE struct nv_kuser *kuser(void) { return (struct nv_kuser *)(region() + NV_KUSER_OFF); }
INLINE struct nv_cmds *cmds_of(struct nv_slot *s) {
  uintptr_t i = ((uintptr_t)s - ((uintptr_t)region() + NV_SLOT_OFF)) / NV_SLOT_SIZE;
  return (struct nv_cmds *)(region() + NV_CMD_OFF + i * NV_CMD_SIZE);
}

NORETURN static void die(void) {
  for (;;)
    SYS1(__NR_exit_group, 99);
}

/*
 * Copies that may fault: the SIGSEGV handler sends a fault at nv_copy_insn to nv_copy_fault with
 * rcx telling what is left.
 */
size_t nv_copy(void *dst, const void *src, size_t n) LABEL; /* returns the bytes NOT copied */
long nv_load8(const void *p) LABEL;                         /* a byte, or -1 */
__asm__(".text\n"
        ".globl nv_copy, nv_copy_insn, nv_copy_fault, nv_load8, nv_load_insn, nv_load_fault\n"
        ".hidden nv_copy, nv_copy_insn, nv_copy_fault, nv_load8, nv_load_insn, nv_load_fault\n"
        "nv_copy:\n"
        "  mov %rdx,%rcx\n"
        "nv_copy_insn:\n"
        "  rep movsb\n"
        "nv_copy_fault:\n"
        "  mov %rcx,%rax\n"
        "  ret\n"
        "nv_load8:\n"
        "  xor %eax,%eax\n"
        "nv_load_insn:\n"
        "  movb (%rdi),%al\n"
        "  ret\n"
        "nv_load_fault:\n"
        "  mov $-1,%rax\n"
        "  ret\n"
        ".globl nv_load32, nv_load32_insn, nv_cas32, nv_cas_insn\n"
        ".hidden nv_load32, nv_load32_insn, nv_cas32, nv_cas_insn\n"
        "nv_load32:\n"
        "  xor %eax,%eax\n"
        "nv_load32_insn:\n"
        "  movl (%rdi),%eax\n"
        "  ret\n"
        "nv_cas32:\n" /* rdi address, esi old, edx new -> value found, or -1 */
        "  mov %esi,%eax\n"
        "nv_cas_insn:\n"
        "  lock cmpxchgl %edx,(%rdi)\n"
        "  mov %eax,%eax\n"
        "  ret\n"
        ".globl nv_restorer\n.hidden nv_restorer\n"
        "nv_restorer:\n"
        "  mov $15,%eax\n"
        "  syscall\n");
extern char nv_load32_insn[] LABEL;
long nv_load32(const void *p) LABEL;
long nv_cas32(void *p, uint32_t old, uint32_t new) LABEL;

static size_t copy_str(char *dst, const char *src, size_t max) {
  size_t i = 0;
  while (i < max) {
    long c = nv_load8(src + i);
    if (c < 0)
      break;
    dst[i++] = (char)c;
    if (!c)
      break;
  }
  return i;
}

static void copy_strings(char *to, const char *list, size_t room) {
  size_t n = 0;
  uint64_t result, p;
  for (;; list += sizeof p) {
    result = n;
    if (nv_copy(&p, list, sizeof p))
      break;
    if (!p) {
      result |= NV_ALL;
      break;
    }
    size_t len = copy_str(to + sizeof result + n, (const char *)p, room - n);
    if (!len || to[sizeof result + n + len - 1])
      break;
    n += len;
  }
  *(uint64_t *)to = result;
}

/* Posting: the xchg is a full barrier, so the Sentry that went to sleep before it is seen asleep.
 */
static void post(struct nv_slot *s) {
  s->posted = (uint32_t)__builtin_ia32_rdtsc();
  __atomic_exchange_n(&s->state, NV_ST_EVENT, __ATOMIC_SEQ_CST);
  if (kuser()->sentry_asleep) {
    uint64_t one = 1;
    SYS3(__NR_write, NV_FD_EVENT, &one, 8);
  }
}

static void wait_reply(struct nv_slot *s) {
  const volatile uint32_t *patience = &cmds_of(s)->patience;
again:
  for (uint32_t n = 1;; n++) { /* the Sentry changes both while it waits itself */
    if (s->state == NV_ST_REPLY)
      goto out;
    if (n > (*patience == NV_P_READY ? NV_SPINS_MANY : kuser()->spins))
      break;
    if (n % 64) {
      __asm__ volatile("pause");
    } else {
      SYS0(__NR_sched_yield); /* the Sentry may be waiting for this very core */
      if (*patience == NV_P_REST)
        break;
      uint32_t late = (uint32_t)__builtin_ia32_rdtsc() - cmds_of(s)->replied;
      if (s->state == NV_ST_REPLY && late > NV_LATE_NS * NV_CYCLES && (int32_t)late > 0)
        s->late = late;
    }
  }
  for (;;) {
    __atomic_exchange_n(&s->asleep, 1, __ATOMIC_SEQ_CST);
    uint32_t v = s->state;
    if (v == NV_ST_REPLY)
      break;
    SYS4(__NR_futex, &s->state, FUTEX_WAIT, v, 0);
    if (*patience == NV_P_READY) { /* woken for what is about to come */
      s->asleep = 0;
      goto again;
    }
  }
  s->asleep = 0;
out:
  __atomic_store_n(&s->state, NV_ST_RUN, __ATOMIC_SEQ_CST);
}

static long recv_fds(struct nv_slot *s, uint32_t want, uint32_t at) {
  struct {
    size_t len;
    int level, type;
    int fd[4];
  } c;
  char byte;
  struct k_iovec iov = {&byte, 1};
  struct k_msghdr m;
  m.name = 0;
  m.namelen = 0;
  m.iov = &iov;
  m.iovlen = 1;
  m.control = &c;
  m.controllen = sizeof c;
  m.flags = 0;
  c.len = 0;
  long r;
  do
    r = SYS3(__NR_recvmsg, NV_FD_SOCK, &m, 0);
  while (r == -4);
  if (failed(r))
    return r;
  if (want > 4 || c.len < 16 + 4 * want)
    return -5;
  for (uint32_t i = 0; i < want; i++)
    s->fdreg[(at + i) & 3] = (uint32_t)c.fd[i];
  return 0;
}

NORETURN static void thread_entry(void);
__attribute__((noinline)) static long serve(struct nv_slot *s, struct sigcontext_64 *mc);

/* A new application thread: runs on the signal stack of its slot from the first instruction on. */
static long clone_thread(uint64_t slot, uint64_t tls, uint64_t use_tls) {
  struct nv_slot *n = (struct nv_slot *)slot;
  long ret;
  if (!use_tls)
    SYS2(__NR_arch_prctl, ARCH_GET_FS, &tls);
  register long r10 __asm__("r10") = (long)&n->host_tid;
  register long r8 __asm__("r8") = (long)tls;
  __asm__ volatile(
      "syscall\n"
      "test %%rax,%%rax\n"
      "jnz 1f\n"
      "xor %%ebp,%%ebp\n"
      "jmp thread_entry\n"
      "1:"
      : "=a"(ret)
      : "a"((long)__NR_clone),
        "D"((long)(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                   CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)),
        "S"(slot + NV_STACK_OFF + NV_STACK_LEN - 64), "d"((long)&n->host_tid), "r"(r10), "r"(r8)
      : "rcx", "r11", "memory");
  return ret;
}

static const uint32_t handled[] = {SIG_SYS, SIG_SEGV, SIG_BUS, SIG_FPE,
                                   SIG_ILL, SIG_TRAP, SIG_KICK};

static void handler_entry(void);

/* gs finds the slot for patched call sites, unless the application uses gs itself. */
INLINE void set_gs(struct nv_slot *s) {
  s->self = (uint64_t)s;
  s->entry = (uint64_t)nv_tramp_entry;
  s->inside = s->kicked = 0;
  if (kuser()->patch && !cmds_of(s)->own_gs)
    __asm__ volatile("wrgsbase %0" : : "r"(s));
}

INLINE void set_altstack(struct nv_slot *s) {
  struct k_stack st;
  st.sp = (char *)s + NV_STACK_OFF;
  st.flags = 0;
  st.size = NV_STACK_LEN;
  SYS2(__NR_sigaltstack, &st, 0);
}

/* A clean stub after its move: handlers, then the filter, then it is as locked as it will ever be.
 */
NORETURN __attribute__((noinline, used)) static void clean_finish(uint64_t nfilter) {
  struct nv_slot *s = slot_of_stack();
  SYS2(__NR_munmap, 0x1000, NV_LOW_TABLE - 0x1000);
  SYS2(__NR_munmap, NV_LOW_END, (uintptr_t)region() - NV_LOW_END);
  char *top = region() + NV_REGION_LEN;
  SYS2(__NR_munmap, top, TASK_TOP - (uintptr_t)top);
  SYS1(__NR_close, NV_FD_IMAGE);
  SYS1(__NR_close, NV_FD_KUSER);
  for (uint32_t i = 0; i < sizeof handled / sizeof *handled; i++) {
    struct k_sigaction sa;
    sa.handler = handler_entry;
    /* SA_SIGINFO | SA_ONSTACK | SA_RESTORER, and SA_NODEFER where a fault inside the handler must
     * be fixed up */
    sa.flags = 0x04000000ul | 4 | 0x08000000ul;
    if (handled[i] != SIG_SYS && handled[i] != SIG_KICK)
      sa.flags |= 0x40000000ul;
    sa.restorer = nv_restorer;
    sa.mask = ~((1ull << (SIG_SEGV - 1)) | (1ull << (SIG_BUS - 1)) | (1ull << (SIG_FPE - 1)) |
                (1ull << (SIG_ILL - 1)) | (1ull << (SIG_TRAP - 1)));
    if (failed(SYS4(__NR_rt_sigaction, handled[i], &sa, 0, 8)))
      die();
  }
  struct sock_fprog p;
  p.len = (unsigned short)nfilter;
  p.filter = (struct sock_filter *)((char *)s + NV_WIN_OFF + 48);
  if (failed(sys6(__NR_prctl, 38 /* NO_NEW_PRIVS */, 1, 0, 0, 0, 0)))
    die();
  if (failed(SYS3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p)))
    die();
  thread_entry();
}

/*
 * A forked child of the zygote becomes a clean stub at a random place. a: new base, number of
 * filter instructions. The window of slot 0 holds three (start, length) pairs of the host's vvar
 * and vdso mappings and then the filter.
 */
NORETURN __attribute__((noinline)) static void become_clean(struct nv_slot *s, const uint64_t *a) {
  char *b = (char *)a[0];
  const uint64_t *vd = (const uint64_t *)((char *)s + NV_WIN_OFF);
  long image = nv_image_end - nv_image, bad = 0;
  long ro_fixed = K_MAP_SHARED | K_MAP_FIXED;
  bad |=
      failed(sys6(__NR_mmap, (long)b, image, K_PROT_READ | K_PROT_EXEC, ro_fixed, NV_FD_IMAGE, 0));
  bad |= failed(
      sys6(__NR_mmap, (long)(b + NV_KUSER_OFF), 0x1000, K_PROT_READ, ro_fixed, NV_FD_KUSER, 0));
  bad |= failed(
      sys6(__NR_mmap, (long)(b + NV_CMD_OFF), NV_CMD_LEN, K_PROT_READ, ro_fixed, s->fdreg[1], 0));
  bad |= failed(sys6(__NR_mmap, (long)(b + NV_SLOT_OFF), NV_SLOT_LEN, K_PROT_READ | K_PROT_WRITE,
                     ro_fixed, s->fdreg[0], 0));
  SYS1(__NR_close, s->fdreg[0]);
  SYS1(__NR_close, s->fdreg[1]);
  for (int i = 0; i < 3; i++) /* their distances matter: the vdso finds vvar relative to itself */
    if (vd[2 * i + 1])
      bad |= failed(sys6(__NR_mremap, (long)vd[2 * i], (long)vd[2 * i + 1], (long)vd[2 * i + 1],
                         K_MREMAP_MOVE, (long)(b + NV_VDSO_OFF + (vd[2 * i] - vd[0])), 0));
  if (bad)
    die();
  char *sp = b + NV_SLOT_OFF + NV_STACK_OFF + NV_STACK_LEN - 64;
  char *next = (char *)clean_finish - nv_image + b;
  __asm__ volatile("mov %0,%%rsp; xor %%ebp,%%ebp; call *%1; ud2"
                   :
                   : "r"(sp), "r"(next), "D"(a[1])
                   : "memory");
  __builtin_unreachable();
}

/*
 * fork: the child maps its own slots over the parent's before it touches any memory of a slot (its
 * stack lies in one), hence registers only. Afterwards it is thread 0 of its own address space.
 */
static long fork_child(const uint32_t *fd) {
  char *r = region();
  long ret;
  register long f0 __asm__("r12") = (long)fd[0];
  register long f1 __asm__("r13") = (long)fd[1];
  register long f2 __asm__("r14") = (long)fd[2];
  register long slots __asm__("r15") = (long)(r + NV_SLOT_OFF);
  register long cmds __asm__("rbx") = (long)(r + NV_CMD_OFF);
  register long r10 __asm__("r10") = 0;
  register long r8 __asm__("r8") = 0;
  register long r9 __asm__("r9") = 0;
  __asm__ volatile(
      "syscall\n"
      "test %%rax,%%rax\n"
      "jnz 9f\n"
      "mov %[mmap],%%eax; mov %%r15,%%rdi; mov %[slen],%%rsi; mov $3,%%edx; mov $0x11,%%r10d; mov "
      "%%r12,%%r8; xor %%r9d,%%r9d\n"
      "syscall; cmp %%r15,%%rax; jne 8f\n"
      "mov %[mmap],%%eax; mov %%rbx,%%rdi; mov %[clen],%%rsi; mov $1,%%edx; mov $0x11,%%r10d; mov "
      "%%r13,%%r8; xor %%r9d,%%r9d\n"
      "syscall; cmp %%rbx,%%rax; jne 8f\n"
      "mov %[dup3],%%eax; mov %%r14,%%rdi; mov $1,%%esi; xor %%edx,%%edx; syscall; cmp $1,%%rax; "
      "jne 8f\n"
      "mov $3,%%eax; mov %%r12,%%rdi; syscall\n"
      "mov $3,%%eax; mov %%r13,%%rdi; syscall\n"
      "mov $3,%%eax; mov %%r14,%%rdi; syscall\n"
      "lea %c[top](%%r15),%%rsp; xor %%ebp,%%ebp\n"
      "jmp thread_entry\n"
      "8: mov $231,%%eax; mov $98,%%edi; syscall; jmp 8b\n"
      "9:"
      : "=a"(ret), "+r"(r10), "+r"(r8), "+r"(r9)
      : "a"((long)__NR_clone), "D"((long)(CLONE_PARENT | 17)), "S"(0l), "d"(0l), "r"(f0), "r"(f1),
        "r"(f2), "r"(slots), "r"(cmds), [mmap] "i"(__NR_mmap), [dup3] "i"(__NR_dup3),
        [slen] "i"(NV_SLOT_LEN), [clen] "i"(NV_CMD_LEN), [top] "i"(NV_STACK_OFF + NV_STACK_LEN - 64)
      : "rcx", "r11", "memory");
  return ret;
}

static long run_op(struct nv_slot *s, const struct nv_op *o, struct sigcontext_64 *mc) {
  char *win = (char *)s + NV_WIN_OFF;
  uint64_t a[6];
  for (int i = 0; i < 6; i++)
    a[i] = o->a[i];
  long r;
  (void)mc;
  switch (o->op) {
    case NV_OP_SYSCALL:
      if (o->flags & NV_OF_FD4)
        a[4] = s->fdreg[a[4] & 3];
      if (o->flags & NV_OF_FD0)
        a[0] = s->fdreg[a[0] & 3];
      r = sys6(o->nr, (long)a[0], (long)a[1], (long)a[2], (long)a[3], (long)a[4], (long)a[5]);
      if (!(o->flags & NV_OF_IGNORE))
        s->cret = r;
      return r;
    case NV_OP_COPYOUT:
      if (nv_copy((void *)a[0], win + a[1], a[2]) == 0)
        return 0;
      if (o->flags & NV_OF_EFAULT) {
        s->regs[NV_RAX] = (uint64_t)-K_EFAULT;
        return 0;
      }
      return -K_EFAULT;
    case NV_OP_COPYIN:
      if (a[2] == 4 && !(a[1] & 3)) { /* futex words must be read whole */
        long v;
        __asm__ volatile("" ::: "memory");
        v = nv_load32((void *)a[1]);
        if (v < 0) {
          s->cret = 0;
          return 0;
        }
        *(uint32_t *)(win + a[0]) = (uint32_t)v;
        s->cret = 4;
        return 0;
      }
      s->cret = (int64_t)(a[2] - nv_copy(win + a[0], (void *)a[1], a[2]));
      return 0;
    case NV_OP_COPYSTR:
      s->cret = (int64_t)copy_str(win + a[0], (const char *)a[1], a[2]);
      return 0;
    case NV_OP_STRINGS:
      copy_strings(win + a[1], (const char *)a[0], a[2]);
      return 0;
    case NV_OP_RECVFD:
      return recv_fds(s, (uint32_t)a[0], (uint32_t)a[1]);
    case NV_OP_CMPXCHG:
      s->cret = nv_cas32((void *)a[0], (uint32_t)a[1], (uint32_t)a[2]);
      return s->cret < 0 ? -K_EFAULT : 0;
    case NV_OP_CLONE:
      r = clone_thread(a[0], a[1], a[2]);
      s->cret = r;
      return r;
    case NV_OP_FORK:
      r = fork_child(s->fdreg);
      s->cret = r;
      return r;
    case NV_OP_MOVE:
      become_clean(s, a);
    case NV_OP_EXIT:
      for (;;)
        SYS1(__NR_exit, 0);
    case NV_OP_PIO: {
      uint64_t done = 0;
      r = 0;
      while (done < a[3]) {
        r = SYS4(a[0], s->fdreg[a[1] & 3], a[2] + done, a[3] - done, a[4] + done);
        if (r <= 0)
          break;
        done += (uint64_t)r;
      }
      if (r < 0 && !done) {
        s->cret = r;
        return 0;
      }
      s->cret = (int64_t)done;
      return 0;
    }
    case NV_OP_XSAVE:
      for (int i = 0; i < 8; i++) /* the header, of which XSAVE writes only the first word */
        ((uint64_t *)((char *)s + a[0] + 512))[i] = 0;
      __asm__ volatile("xsave64 (%0)"
                       :
                       : "r"((char *)s + a[0]), "a"((uint32_t)NV_XSTATE),
                         "d"((uint32_t)(NV_XSTATE >> 32))
                       : "memory");
      return 0;
    default:
      return -38;
  }
}

/* Waits for the Sentry and does what it asks, until it says that the application goes on. */
static long serve(struct nv_slot *s, struct sigcontext_64 *mc) {
  struct nv_cmds *c = cmds_of(s);
  for (;;) {
    wait_reply(s);
    uint32_t n = c->n;
    s->kind = NV_EV_ACK;
    for (uint32_t i = 0; i < n; i++) {
      long r = run_op(s, &c->op[i], mc);
      if (failed(r) && !(c->op[i].flags & NV_OF_IGNORE)) {
        s->kind = NV_EV_CMDFAIL;
        s->fail = i;
        s->cret = r;
        break;
      }
    }
    if (s->kind == NV_EV_ACK && (c->flags & NV_CF_RESUME))
      return 0;
    post(s);
  }
}

/* Entry of a thread that has no signal frame: new threads, forked children, clean stubs. */
NORETURN __attribute__((used, noinline)) static void thread_entry(void) {
  struct nv_slot *s = slot_of_stack();
  set_altstack(s);
  set_gs(s);
  if (((uintptr_t)s - ((uintptr_t)region() + NV_SLOT_OFF)) == 0) {
    char one = 1; /* our socket's receiver asks for credentials: the kernel says who we are */
    SYS3(__NR_write, NV_FD_SOCK, &one, 1);
  }
  serve(s, 0);
  uint64_t none = 0;
  SYS4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, 8);
  if (kuser()->ptrace)
    __asm__ volatile("jmp nv_ptrace_trap");
  /* From here on a kick finds rip in the image and works on the slot's registers instead. */
  __asm__ volatile(
      "mov %0,%%rax\n"
      "lea %c[stk](%%rax),%%rsp\n"
      "pushq $0x2b\n"
      "pushq %c[rsp](%%rax)\n"
      "pushq %c[efl](%%rax)\n"
      "pushq $0x33\n"
      "pushq %c[rip](%%rax)\n"
      "mov %c[r8]+0(%%rax),%%r8\n"
      "mov %c[r8]+8(%%rax),%%r9\n"
      "mov %c[r8]+16(%%rax),%%r10\n"
      "mov %c[r8]+24(%%rax),%%r11\n"
      "mov %c[r8]+32(%%rax),%%r12\n"
      "mov %c[r8]+40(%%rax),%%r13\n"
      "mov %c[r8]+48(%%rax),%%r14\n"
      "mov %c[r8]+56(%%rax),%%r15\n"
      "mov %c[r8]+64(%%rax),%%rdi\n"
      "mov %c[r8]+72(%%rax),%%rsi\n"
      "mov %c[r8]+80(%%rax),%%rbp\n"
      "mov %c[r8]+88(%%rax),%%rbx\n"
      "mov %c[r8]+96(%%rax),%%rdx\n"
      "mov %c[r8]+112(%%rax),%%rcx\n"
      "mov %c[r8]+104(%%rax),%%rax\n"
      "iretq\n"
      :
      : "r"(s), [stk] "i"(NV_STACK_OFF + NV_STACK_LEN - 64),
        [r8] "i"(offsetof(struct nv_slot, regs)), [rsp] "i"(offsetof(struct nv_slot, regs[NV_RSP])),
        [efl] "i"(offsetof(struct nv_slot, regs[NV_EFL])),
        [rip] "i"(offsetof(struct nv_slot, regs[NV_RIP]))
      : "memory");
  __builtin_unreachable();
}

INLINE void save_regs(struct nv_slot *s, const struct sigcontext_64 *mc) {
  const __u64 *g = &mc->r8;
  for (int i = 0; i < NV_NREG; i++)
    s->regs[i] = g[i];
}
INLINE void load_regs(const struct nv_slot *s, struct sigcontext_64 *mc) {
  __u64 *g = &mc->r8;
  for (int i = 0; i < NV_NREG; i++)
    g[i] = s->regs[i];
}

static void inline_one(struct nv_slot *s, uint64_t addr, uint64_t n) {
  s->in_addr[0] = addr;
  s->in_len[0] = (uint32_t)(n - nv_copy((char *)s + NV_WIN_OFF, (void *)addr, n));
}

/* What the n iovecs at `off` of the window point to, one part after the other. */
static void inline_gather(struct nv_slot *s, uint32_t off, uint64_t n) {
  char *win = (char *)s + NV_WIN_OFF;
  const volatile uint64_t *iov = (const volatile uint64_t *)(win + off);
  uint32_t at = NV_IN_MAXSTR;
  for (uint64_t i = 0; i < n; i++) {
    uint64_t len = iov[2 * i + 1];
    if (len > NV_IN_MAXBUF - at || nv_copy(win + at, (void *)iov[2 * i], len))
      return;
    at += (uint32_t)len;
  }
  s->in_addr[1] = NV_IN_GATHERED;
  s->in_len[1] = at - NV_IN_MAXSTR;
}

static void inline_iov(struct nv_slot *s, int data) {
  uint64_t n = s->regs[NV_RDX];
  if (n > NV_IN_MAXIOV)
    return;
  inline_one(s, s->regs[NV_RSI], 16 * n);
  if (data && s->in_len[0] == 16 * n)
    inline_gather(s, 0, n);
}

static void inline_msg(struct nv_slot *s) {
  char *win = (char *)s + NV_WIN_OFF;
  inline_one(s, s->regs[NV_RSI], sizeof(struct k_msghdr));
  if (s->in_len[0] != sizeof(struct k_msghdr))
    return;
  uint64_t iov = *(volatile uint64_t *)(win + offsetof(struct k_msghdr, iov));
  uint64_t n = *(volatile uint64_t *)(win + offsetof(struct k_msghdr, iovlen));
  if (n > NV_IN_MSG_MAXIOV || nv_copy(win + NV_IN_MSG_IOV, (void *)iov, 16 * n))
    return;
  s->in_addr[2] = iov;
  s->in_len[2] = (uint32_t)(16 * n);
  inline_gather(s, NV_IN_MSG_IOV, n);
}

/* Copies the inputs that the call will surely need into the window, so that the Sentry has them at
 * once. */
static void inline_inputs(struct nv_slot *s, uint64_t nr) {
  static const uint8_t argreg[6] = {NV_RDI, NV_RSI, NV_RDX, NV_R10, NV_R8, NV_R9};
  s->in_len[0] = s->in_len[1] = s->in_len[2] = 0;
  if (nr >= sizeof kuser()->intab)
    return;
  uint8_t t = kuser()->intab[nr];
  char *win = (char *)s + NV_WIN_OFF;
  if (!t)
    return;
  if (t == NV_IN_BUF || t == NV_IN_WRITE) {
    uint64_t n = s->regs[NV_RDX];
    if (n > (t == NV_IN_WRITE ? NV_IN_MAXWRITE : NV_IN_MAXBUF))
      return;
    s->in_addr[0] = s->regs[NV_RSI];
    s->in_len[0] = (uint32_t)(n - nv_copy(win, (void *)s->regs[NV_RSI], n));
    return;
  }
  if (t & 0x80) {
    static const uint8_t sizes[16] = {4, 8, 12, 16, 24, 32, 56, 64, 88};
    uint64_t a = s->regs[argreg[(t >> 4 & 7) % 6]];
    if (a >= 4096)
      inline_one(s, a, sizes[t & 15]);
    return;
  }
  if (t == NV_IN_POLL) {
    if (s->regs[NV_RSI] <= NV_IN_MAXSTR / 8)
      inline_one(s, s->regs[NV_RDI], 8 * s->regs[NV_RSI]);
    return;
  }
  if (t == NV_IN_IOV || t == NV_IN_IOV_ONLY) {
    inline_iov(s, t == NV_IN_IOV);
    return;
  }
  if (t == NV_IN_MSG) {
    inline_msg(s);
    return;
  }
  if (t == NV_IN_HOW) {
    s->in_addr[0] = s->regs[NV_RSI];
    s->in_len[0] = (uint32_t)copy_str(win, (char *)s->in_addr[0], NV_IN_MAXSTR);
    s->in_addr[1] = s->regs[NV_RDX];
    s->in_len[1] = (uint32_t)(24 - nv_copy(win + NV_IN_MAXSTR, (void *)s->in_addr[1], 24));
    return;
  }
  if (t == NV_IN_IOCTL) {
    uint32_t cmd = (uint32_t)s->regs[NV_RSI], n = cmd >> 16 & 0x3fff;
    if ((cmd >> 8 & 0xff) != 'F' || n > NV_IN_MAXSTR)
      return;
    s->in_addr[0] = s->regs[NV_RDX];
    s->in_len[0] = n - (uint32_t)nv_copy(win, (void *)s->regs[NV_RDX], n);
    if ((cmd & 0xff) == 0x2a && s->in_len[0] == 32) { /* NVOS54: pointer at 16, size at 24 */
      uint32_t size = *(uint32_t *)(win + 24);
      if (size > NV_IN_MAXBUF - NV_IN_MAXSTR)
        return;
      s->in_addr[1] = *(uint64_t *)(win + 16);
      s->in_len[1] = size - (uint32_t)nv_copy(win + NV_IN_MAXSTR, (void *)s->in_addr[1], size);
    }
    return;
  }
  uint32_t i = t & 0x40 ? (t >> 3) & 7 : t & 7;
  s->in_addr[0] = s->regs[argreg[i % 6]];
  s->in_len[0] = (uint32_t)copy_str(win, (char *)s->in_addr[0], NV_IN_MAXSTR);
  if (t & 0x40) {
    i = t & 7;
    s->in_addr[1] = s->regs[argreg[i % 6]];
    s->in_len[1] = (uint32_t)copy_str(win + NV_IN_MAXSTR, (char *)s->in_addr[1], NV_IN_MAXSTR);
  }
}

/* Returns nonzero when a fault inside the stub was one of the copies' and has been fixed up. */
static int fix_up(struct sigcontext_64 *mc) {
  if (mc->ip == (uintptr_t)nv_copy_insn) {
    mc->ip = (uintptr_t)nv_copy_fault;
    return 1;
  }
  if (mc->ip == (uintptr_t)nv_load_insn || mc->ip == (uintptr_t)nv_load32_insn ||
      mc->ip == (uintptr_t)nv_cas_insn) {
    mc->ip = (uintptr_t)nv_load_fault;
    return 1;
  }
  return 0;
}

/*
 * Patched call sites. A trampoline (NV_LOW_CODE) has put the number in eax, the address after the
 * site's `syscall` in r11 and where the site goes on in rcx, the two registers that a system call
 * does not keep. Everything else is the application's. The vector state stays in place.
 *
 * From nv_tramp_exit on, the slot's registers are what the application goes on with: a kick found
 * there is served from them at once. A kick found before only sets `kicked`, which is tested at
 * nv_tramp_exit; one found in a trampoline is served at the site. None is lost.
 */
__attribute__((used)) static void tramp_serve(struct nv_slot *s) {
  s->inside = 1;
  s->regs[NV_RAX] = (uint32_t)s->regs[NV_RAX];
  s->fpoff = 0;
  s->sig = SIG_SYS;
  s->kind = NV_EV_SYSCALL;
  inline_inputs(s, s->regs[NV_RAX]);
  post(s);
  serve(s, 0);
}

__attribute__((used)) static void tramp_kicked(struct nv_slot *s) {
  s->kicked = 0;
  s->in_len[0] = s->in_len[1] = s->in_len[2] = 0;
  s->sig = SIG_KICK;
  s->kind = NV_EV_KICK;
  post(s);
  serve(s, 0);
}

#define R(n) "i"(offsetof(struct nv_slot, regs) + 8 * NV_##n)
__attribute__((naked, used, noinline)) static void tramp(void) {
  __asm__ volatile(
      ".globl nv_tramp_entry, nv_tramp_exit, nv_tramp_end\n"
      ".hidden nv_tramp_entry, nv_tramp_exit, nv_tramp_end\n"
      "nv_tramp_entry:\n"
      "  mov %%rsp,%%gs:%c[rsp]\n"
      "  mov %%gs:%c[self],%%rsp\n"
      "  lea %c[stk](%%rsp),%%rsp\n"
      "  mov %%rcx,%%gs:%c[jump]\n"
      "  mov %%r11,%%gs:%c[site]\n"
      "  mov %%r11,%%gs:%c[rip]\n"
      "  mov %%r11,%%gs:%c[rcx]\n"
      "  pushfq\n"
      "  popq %%r11\n"
      "  mov %%r11,%%gs:%c[efl]\n"
      "  mov %%r11,%%gs:%c[r11]\n"
      "  mov %%rax,%%gs:%c[rax]\n"
      "  mov %%r8,%%gs:%c[r8]\n"
      "  mov %%r9,%%gs:%c[r9]\n"
      "  mov %%r10,%%gs:%c[r10]\n"
      "  mov %%r12,%%gs:%c[r12]\n"
      "  mov %%r13,%%gs:%c[r13]\n"
      "  mov %%r14,%%gs:%c[r14]\n"
      "  mov %%r15,%%gs:%c[r15]\n"
      "  mov %%rdi,%%gs:%c[rdi]\n"
      "  mov %%rsi,%%gs:%c[rsi]\n"
      "  mov %%rbp,%%gs:%c[rbp]\n"
      "  mov %%rbx,%%gs:%c[rbx]\n"
      "  mov %%rdx,%%gs:%c[rdx]\n"
      "  mov %%gs:%c[self],%%rbx\n"
      "  cld\n"
      "  test $0x40000,%%r11d\n" /* AC would make our own unaligned accesses fault */
      "  jz 1f\n"
      "  pushfq\n"
      "  andq $~0x40000,(%%rsp)\n"
      "  popfq\n"
      "1:\n"
      "  mov %%rbx,%%rdi\n"
      "  call tramp_serve\n"
      "nv_tramp_exit:\n"
      "  cmpl $0,%c[kicked](%%rbx)\n"
      "  je 2f\n"
      "  mov %%rbx,%%rdi\n"
      "  movl $1,%c[inside](%%rbx)\n"
      "  call tramp_kicked\n"
      "  jmp nv_tramp_exit\n"
      "2:\n"
      "  movl $0,%c[inside](%%rbx)\n"
      "  mov %c[rip](%%rbx),%%rax\n"
      "  mov %c[efl](%%rbx),%%r11\n"
      "  mov %c[r8](%%rbx),%%r8\n"
      "  mov %c[r9](%%rbx),%%r9\n"
      "  mov %c[r10](%%rbx),%%r10\n"
      "  mov %c[r12](%%rbx),%%r12\n"
      "  mov %c[r13](%%rbx),%%r13\n"
      "  mov %c[r14](%%rbx),%%r14\n"
      "  mov %c[r15](%%rbx),%%r15\n"
      "  mov %c[rdi](%%rbx),%%rdi\n"
      "  mov %c[rsi](%%rbx),%%rsi\n"
      "  mov %c[rbp](%%rbx),%%rbp\n"
      "  mov %c[rdx](%%rbx),%%rdx\n"
      /* Where nothing but rax was changed, rcx and r11 are as the system call left them */
      "  cmp %c[site](%%rbx),%%rax\n"
      "  jne 3f\n"
      "  cmp %c[rcx](%%rbx),%%rax\n"
      "  jne 3f\n"
      "  cmp %c[r11](%%rbx),%%r11\n"
      "  jne 3f\n"
      "  mov %c[jump](%%rbx),%%rcx\n"
      "  mov %c[rax](%%rbx),%%rax\n"
      "  pushq %%r11\n"
      "  popfq\n"
      "  mov %c[rsp](%%rbx),%%rsp\n" /* gs may be the application's by now */
      "  mov %c[rbx](%%rbx),%%rbx\n"
      "  jmp *%%rcx\n"
      "3:\n"
      "  pushq $0x2b\n"
      "  pushq %c[rsp](%%rbx)\n"
      "  pushq %%r11\n"
      "  pushq $0x33\n"
      "  pushq %%rax\n"
      "  mov %c[r11](%%rbx),%%r11\n"
      "  mov %c[rcx](%%rbx),%%rcx\n"
      "  mov %c[rax](%%rbx),%%rax\n"
      "  mov %c[rbx](%%rbx),%%rbx\n"
      "  iretq\n"
      "nv_tramp_end:\n"
      :
      : [self] "i"(offsetof(struct nv_slot, self)), [jump] "i"(offsetof(struct nv_slot, jump)),
        [site] "i"(offsetof(struct nv_slot, site)), [kicked] "i"(offsetof(struct nv_slot, kicked)),
        [inside] "i"(offsetof(struct nv_slot, inside)), [stk] "i"(NV_STACK_OFF + NV_STACK_LEN - 64),
        [rsp] R(RSP), [rip] R(RIP), [rcx] R(RCX), [efl] R(EFL), [r11] R(R11), [rax] R(RAX),
        [r8] R(R8), [r9] R(R9), [r10] R(R10), [r12] R(R12), [r13] R(R13), [r14] R(R14),
        [r15] R(R15), [rdi] R(RDI), [rsi] R(RSI), [rbp] R(RBP), [rbx] R(RBX), [rdx] R(RDX));
}
#undef R

/* Whether a trampoline's site has two bytes: it loads nothing but r11. */
static int short_site(const uint8_t *code) { return code[0] == 0x4c && code[2] == 0x1c; }

/* A kick that found the thread in the padding between such a site and its trampoline: back to the
 * site, where the application's own unwinder knows its way. */
static void leave_padding(struct sigcontext_64 *mc) {
  const uint8_t *ip = (const uint8_t *)mc->ip;
  if (nv_load8(ip) != 0xff || nv_load8(ip + 1) != 0x24 || nv_load8(ip + 2) != 0x25)
    return;
  long at = nv_load32(ip + 3);
  if (at < (long)NV_LOW_TABLE || at >= (long)(NV_LOW_TABLE + 8 * NV_LOW_SITES))
    return;
  uint64_t i = ((uint64_t)at - NV_LOW_TABLE) / 8;
  if (short_site((const uint8_t *)NV_LOW_CODE + i * NV_LOW_CODE_SIZE))
    mc->ip = ((const uint64_t *)NV_LOW_RET)[i] - 2;
}

/* A signal that found the thread on its way through a trampoline. 1: nothing to do but go on; 2: a
 * kick that the slot's registers are for; 0: the application's own. */
static int in_trampoline(struct nv_slot *s, int sig, struct sigcontext_64 *mc) {
  if (sig == SIG_SYS)
    return 0;
  if (mc->ip >= NV_LOW_CODE && mc->ip < NV_LOW_RET) {
    uint64_t i = (mc->ip - NV_LOW_CODE) / NV_LOW_CODE_SIZE;
    const uint8_t *code = (const uint8_t *)NV_LOW_CODE + i * NV_LOW_CODE_SIZE;
    uint64_t end = ((const uint64_t *)NV_LOW_RET)[i];
    if (sig == SIG_TRAP)
      return 1;
    /* Nothing has happened yet that could not happen again from the site's start (7 bytes before
     * its end; 4 for xor, whose second half is the compare that follows the call). */
    if (short_site(code))
      mc->ip = end - 2;
    else if (*code != 0x31)
      mc->ip = end - 7;
    else
      mc->ip = mc->ip < (uintptr_t)code + NV_LOW_CODE_SIZE / 2 ? end - 4 : end;
    return 0;
  }
  if (mc->ip < (uintptr_t)nv_image || mc->ip >= (uintptr_t)nv_image_end) {
    if (sig == SIG_KICK)
      leave_padding(mc);
    return 0;
  }
  int leaving = mc->ip >= (uintptr_t)nv_tramp_exit && mc->ip < (uintptr_t)nv_tramp_end;
  int entering = mc->ip >= (uintptr_t)nv_tramp_entry && mc->ip < (uintptr_t)nv_tramp_exit;
  if (sig == SIG_TRAP) /* the application steps through its code one instruction at a time */
    return s->inside || entering || leaving;
  if (sig != SIG_KICK || leaving || !(s->inside || entering))
    return 0;
  s->kicked = 1;
  return 1;
}

__attribute__((used)) static void handler(int sig, struct k_siginfo *si, struct k_ucontext *uc) {
  struct nv_slot *s = slot_of_stack();
  struct sigcontext_64 *mc = &uc->mc;
  if (kuser()->patch && in_trampoline(s, sig, mc))
    return;
  int inside = mc->ip >= (uintptr_t)nv_image && mc->ip < (uintptr_t)nv_image_end;
  if (inside && sig != SIG_SYS && sig != SIG_KICK) {
    if (fix_up(mc))
      return;
    die();
  }
  /* A kick inside the image found a thread between thread_entry's or a trampoline's last call and
   * the first application instruction. */
  if (!(inside && sig == SIG_KICK))
    save_regs(s, mc);
  s->inside = 0;
  uintptr_t fp = (uintptr_t)mc->fpstate - (uintptr_t)s;
  s->fpoff = fp < NV_SLOT_SIZE ? (uint32_t)fp : 0;
  s->in_len[0] = s->in_len[1] = s->in_len[2] = 0;
  s->sig = (uint32_t)sig;
  if (sig == SIG_SYS) {
    s->kind = si->arch == AUDIT_ARCH_X86_64 ? NV_EV_SYSCALL : NV_EV_BADARCH;
    s->regs[NV_RAX] = (uint64_t)(unsigned)si->sys;
    inline_inputs(s, s->regs[NV_RAX]);
  } else {
    s->kind = sig == SIG_KICK ? NV_EV_KICK : NV_EV_FAULT;
    s->code = (uint32_t)si->code;
    s->fault_addr = si->addr;
    s->trapno = mc->trapno;
    s->err = mc->err;
  }
  post(s);
  serve(s, mc);
  load_regs(s, mc);
  uc->mask = 0;
}

/* AC would make our own unaligned accesses fault; DF is cleared by the kernel. */
__attribute__((naked, used)) static void handler_entry(void) {
  __asm__("pushfq\n"
          "andq $~0x40000,(%rsp)\n"
          "popfq\n"
          "jmp handler\n");
}

/*
 * The zygote: an ordinary process started by the Sentry with the slots of its own already mapped
 * nowhere. It maps its region from the descriptors it inherited and then serves spawn commands on
 * slot 0. argv is not used; descriptors: NV_FD_* plus 4 = slots, 5 = commands. The low region is
 * mapped here and inherited; where it can't be, the slot says so and nothing is patched.
 */
NORETURN __attribute__((used)) static void zygote(const uint64_t *sp0) {
  char *r = region();
  long bad = 0;
  bad |= failed(sys6(__NR_mmap, (long)(r + NV_KUSER_OFF), 0x1000, K_PROT_READ,
                     K_MAP_SHARED | K_MAP_FIXED, NV_FD_KUSER, 0));
  bad |= failed(sys6(__NR_mmap, (long)(r + NV_CMD_OFF), NV_CMD_LEN, K_PROT_READ,
                     K_MAP_SHARED | K_MAP_FIXED, 5, 0));
  bad |= failed(sys6(__NR_mmap, (long)(r + NV_SLOT_OFF), NV_SLOT_LEN, K_PROT_READ | K_PROT_WRITE,
                     K_MAP_SHARED | K_MAP_FIXED, 4, 0));
  if (bad)
    die();
  SYS1(__NR_close, 4);
  SYS1(__NR_close, 5);
  long rx = K_PROT_READ | K_PROT_EXEC;
  long low = failed(sys6(__NR_mmap, NV_LOW_TABLE, NV_LOW_RET - NV_LOW_TABLE, rx,
                         K_MAP_SHARED | K_MAP_FIXED, NV_FD_LOW, 0));
  low |= failed(sys6(__NR_mmap, NV_LOW_RET, NV_LOW_END - NV_LOW_RET, K_PROT_READ | K_PROT_WRITE,
                     K_MAP_PRIVATE | K_MAP_ANON | K_MAP_FIXED, -1, 0));
  SYS1(__NR_close, NV_FD_LOW);
  ((struct nv_slot *)(r + NV_SLOT_OFF))->fail = (uint32_t)low;
  /* Past argc, argv and envp: the auxiliary vector tells where the vdso is; the Sentry reads it
   * from cret. */
  const uint64_t *p = sp0 + 1 + sp0[0] + 1;
  while (*p)
    p++;
  for (p++; p[0] && p[0] != 33 /* AT_SYSINFO_EHDR */; p += 2) {
  }
  ((struct nv_slot *)(r + NV_SLOT_OFF))->cret = (int64_t)p[1];
  char *sp = r + NV_SLOT_OFF + NV_STACK_OFF + NV_STACK_LEN - 64;
  __asm__ volatile("mov %0,%%rsp; xor %%ebp,%%ebp; jmp *%1"
                   :
                   : "r"(sp), "r"(thread_entry)
                   : "memory");
  __builtin_unreachable();
}

/* What a traced thread runs between two stretches of the application: its registers are with the
 * tracer, so none need keeping, and the stack is the top of its slot's signal stack. */
__attribute__((used)) static void ptrace_serve(void) { serve(slot_of_stack(), 0); }

__asm__(".section .start,\"ax\"\n"
        ".globl _start\n"
        "_start:\n"
        "  xor %ebp,%ebp\n"
        "  mov %rsp,%rdi\n"
        "  jmp zygote\n"
        "  .org 32\n" /* NV_PTRACE_ENTRY */
        "  call ptrace_serve\n"
        "  .org 48,0x90\n" /* NV_PTRACE_TRAP */
        "nv_ptrace_trap:\n"
        "  int3\n"
        "  ud2\n"
        ".text\n");
