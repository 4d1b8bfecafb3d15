/*
 * The trap protocol: what the Sentry and its stub processes share.
 *
 * One stub process is one application address space. Its private window on the Sentry is a region
 * at a random 64 KiB-aligned address B:
 *
 *   B + 0                 stub image, read+execute
 *   B + NV_KUSER_OFF      one page for all stubs, read-only: is the Sentry asleep, spin budget,
 * input table B + NV_CMD_OFF        command areas, one per slot, read-only here (the memfd is
 * sealed FUTURE_WRITE) B + NV_SLOT_OFF       slots, one per application thread, read+write on both
 * sides B + NV_VDSO_OFF       the host's vvar and vdso pages, moved here
 *
 * Everything in a slot is hostile to the Sentry; it copies a value once and checks the copy.
 */
#ifndef NV_PROTO_H
#define NV_PROTO_H

#include <stdint.h>

#define NV_SLOTS 16384u
#define NV_SLOT_SIZE 0x10000ul
#define NV_CMD_SIZE 0x800ul
#define NV_KUSER_OFF 0x10000ul
#define NV_CMD_OFF 0x20000ul
#define NV_CMD_LEN (NV_SLOTS * NV_CMD_SIZE)
#define NV_SLOT_OFF (NV_CMD_OFF + NV_CMD_LEN)
#define NV_SLOT_LEN (NV_SLOTS * NV_SLOT_SIZE)
#define NV_VDSO_OFF (NV_SLOT_OFF + NV_SLOT_LEN)
#define NV_REGION_LEN (NV_VDSO_OFF + 0x20000ul)

/* A site is `jmp *table[i]`; bytes 5 and 6 of that instruction are then 06 00, so that a jump to
 * the old place of its `syscall` is an invalid instruction, which the Sentry emulates. */
#define NV_LOW_SITES 8192u
#define NV_LOW_TABLE 0x60000ul
#define NV_LOW_CODE 0x70000ul
#define NV_LOW_CODE_SIZE 64u
#define NV_LOW_RET 0xf0000ul
#define NV_LOW_END 0x100000ul

/* Inside a slot */
#define NV_STACK_OFF 0x1000ul /* signal stack: the host's frames land here */
#define NV_STACK_LEN 0x4000ul
#define NV_WIN_OFF 0x5000ul /* data window */
#define NV_WIN_LEN (NV_SLOT_SIZE - NV_WIN_OFF)

/* Descriptors of a stub. Received ones take the lowest free numbers above. */
#define NV_FD_EVENT 0 /* eventfd: wakes a sleeping Sentry */
#define NV_FD_SOCK 1  /* socket to the Sentry: descriptors come, one byte of identity goes */
#define NV_FD_IMAGE 2 /* only in the zygote */
#define NV_FD_KUSER 3 /* only in the zygote */
#define NV_FD_LOW 6   /* only in the zygote */

/* slot.state */
#define NV_ST_RUN 0u
#define NV_ST_EVENT 1u
#define NV_ST_REPLY 2u

/* slot.kind */
#define NV_EV_SYSCALL 1u
#define NV_EV_FAULT 2u
#define NV_EV_KICK 3u
#define NV_EV_ACK 4u
#define NV_EV_CMDFAIL 5u
#define NV_EV_BADARCH 6u
/* The Sentry adds it to the kind of a system call that needs more than the common path: a negative
 * argument that may be an address, or NV_E_HOT. */
#define NV_EV_UNCOMMON 0x100u

/* cmds.flags */
#define NV_CF_RESUME 1u /* run the application after the operations, otherwise acknowledge */

/* Operations. A host call that fails, or a copy that faults, ends the list with NV_EV_CMDFAIL
 * unless NV_OF_IGNORE. */
#define NV_OP_SYSCALL 1u /* a[0..5], number in nr */
#define NV_OP_COPYOUT 2u /* a: application address, window offset, length */
#define NV_OP_COPYIN 3u  /* a: window offset, application address, length; cret: bytes copied */
#define NV_OP_COPYSTR 4u /* as COPYIN, stops after a NUL; cret: bytes copied, the NUL included */
#define NV_OP_RECVFD 5u  /* a: how many (<= 4), the first one's place in fdreg[] */
#define NV_OP_CMPXCHG 6u /* a: address, old, new (32 bits); cret: value found */
#define NV_OP_CLONE 7u   /* a: slot address, tls, use-tls; cret: host tid */
#define NV_OP_FORK 8u    /* descriptors in fdreg[0..2]; cret: host pid */
#define NV_OP_MOVE                                                                                 \
  9u /* a: new base, filter length; slots and commands in fdreg[0..1]; becomes a clean stub */
#define NV_OP_EXIT 10u /* the host thread ends here */
#define NV_OP_PIO                                                                                  \
  11u /* a: nr, fdreg index, address, length, offset: pread64/pwrite64; cret: bytes */
/* The extended state that a thread can have: all but the data of AMX's tiles, for which a process
 * must ask the host (arch_prctl(2), ARCH_REQ_XCOMP_PERM), as no stub does. They take 8 KiB. */
#define NV_XSTATE (~(UINT64_C(1) << 18))
#define NV_OP_XSAVE 12u /* a: offset in the slot: extended state of a thread without a frame */
/* a: address of a NULL-terminated array of strings, window offset, room. At the offset: how many
 * bytes whole strings take, plus NV_ALL when that is all of them; behind it the strings. */
#define NV_OP_STRINGS 13u
#define NV_ALL 0x100000000ul

/* op.flags */
#define NV_OF_IGNORE 1u /* the result is dropped, a failure does not end the list */
#define NV_OF_FD4 2u    /* a[4] of a SYSCALL is fdreg[a[4]] */
#define NV_OF_FD0 4u    /* a[0] of a SYSCALL is fdreg[a[0]] */
#define NV_OF_EFAULT 8u /* a failed COPYOUT sets rax to -EFAULT and goes on */

enum {
  NV_R8,
  NV_R9,
  NV_R10,
  NV_R11,
  NV_R12,
  NV_R13,
  NV_R14,
  NV_R15,
  NV_RDI,
  NV_RSI,
  NV_RBP,
  NV_RBX,
  NV_RDX,
  NV_RAX,
  NV_RCX,
  NV_RSP,
  NV_RIP,
  NV_EFL,
  NV_NREG
};

struct nv_op {
  uint32_t op;
  uint16_t flags;
  uint16_t nr;
  uint64_t a[6];
};
#define NV_MAXOPS 36u

enum {
  NV_P_USUAL, /* spins as long as the Sentry has said for all, then sleeps */
  NV_P_REST,  /* the answer will take its time: sleeps at once */
  NV_P_READY, /* it comes any moment: spins for long */
};

struct nv_cmds {
  uint32_t n;
  uint32_t flags;
  uint32_t own_gs;   /* the application has set gs itself: patched sites are not for this thread */
  uint32_t replied;  /* clock cycles, when this was the answer: their low half */
  uint32_t patience; /* NV_P_*: how the stub waits for the answer */
  struct nv_op op[NV_MAXOPS];
};

/* Inputs that come with an event, by address: at 0, NV_IN_MAXSTR and NV_IN_MSG_IOV of the window.
 */
#define NV_INPUTS 3

enum { NV_K_PID, NV_K_TID, NV_K_PPID, NV_K_UID, NV_K_EUID, NV_K_GID, NV_K_EGID, NV_KNOWN };

struct nv_slot {
  volatile uint32_t state;
  volatile uint32_t asleep; /* the stub sleeps on state */
  uint32_t kind;
  uint32_t sig;
  volatile uint32_t host_tid; /* cleared by the host kernel when the thread is gone */
  uint32_t code;              /* si_code */
  uint64_t fault_addr;
  uint64_t trapno;
  uint64_t err;
  int64_t cret;   /* result of the last operation that has one */
  uint32_t fail;  /* index of the failed operation */
  uint32_t fpoff; /* xsave area of the current frame, offset in the slot; 0: none */
  uint64_t in_addr[NV_INPUTS];
  uint32_t in_len[NV_INPUTS];
  uint32_t fdreg[4];
  uint64_t regs[NV_NREG];
  /* Patched call sites; gs points at the slot */
  uint64_t self;            /* the slot's address */
  uint64_t entry;           /* trampolines jump here */
  uint64_t site;            /* the address after the site's `syscall` */
  uint64_t jump;            /* where the site goes on */
  volatile uint32_t inside; /* between a trampoline's entry and its exit */
  volatile uint32_t kicked; /* a kick came in between */
  /* Answers that need no Sentry, plus one, published by it; 0: ask. Only the process itself could
   * forge them. */
  uint32_t known[NV_KNOWN];
  volatile uint32_t late; /* clock cycles a reply has waited for a stub that had yielded */
  uint32_t posted;        /* clock cycles, when the event was there: their low half */
};

/* How long a stub spins for a reply, in pauses with a yield every 64: usually, and where spinning
 * does not pay. */
#define NV_SPINS 1500u
#define NV_SPINS_MANY 5000u /* the Sentry itself waits for somebody */
#define NV_SPINS_FEW 50u
#define NV_LATE_NS 50000 /* so long gone after a yield, somebody computes on this core */
#define NV_CYCLES 3u     /* a nanosecond, near enough */

/* Input inlined at entry: what argument is a string or a buffer. One byte a system call. */
#define NV_IN_STR(i) (0x10u | (i))                /* path in argument i */
#define NV_IN_STR2(i, j) (0x40u | (i) << 3 | (j)) /* paths in arguments i and j */
#define NV_IN_BUF 0x20u                           /* buffer in argument 1, length in argument 2 */
#define NV_IN_WRITE 0x21u                         /* the same, up to NV_IN_MAXWRITE */
/* iovec array in argument 1, their number in argument 2, and what they point to */
#define NV_IN_IOV 0x22u
#define NV_IN_IOV_ONLY 0x23u /* the array alone */
#define NV_IN_POLL 0x24u     /* struct pollfd in argument 0, their number in argument 1 */
/* struct msghdr in argument 1, the iovec array it names, at NV_IN_MSG_IOV, and what that points to
 */
#define NV_IN_MSG 0x25u
#define NV_IN_MSG_IOV 64u
#define NV_IN_MSG_MAXIOV 12u
#define NV_IN_HOW 0x26u /* openat2(2): path in argument 1, 24 bytes in argument 2 */
/* a structure in argument i, of size k: 4, 8, 12, 16, 24, 32, 56, 64 or 88 bytes */
#define NV_IN_FIXED(i, k) (0x80u | (i) << 4 | (k))
#define NV_IN_MAXIOV 16u
#define NV_IN_GATHERED 1u /* in_addr of what an iovec array points to, one part after the other */
/* ioctl with the size in its number: the argument (2), and for NVIDIA's RM_CONTROL the parameters
 * that it points to */
#define NV_IN_IOCTL 0x30u
#define NV_IN_MAXSTR 256u
#define NV_IN_MAXBUF 4096u
#define NV_IN_MAXWRITE                                                                             \
  16384u /* reaches into the area of the Sentry's copies: gone with the first of them */

/* Calls that lent.c answers, and for which descriptors. */
#define NV_LENT_READ 1u
#define NV_LENT_PREAD 2u
#define NV_LENT_WRITE 4u
#define NV_LENT_LSEEK 8u
#define NV_LENT_FDS 64u

struct nv_kuser {
  volatile uint32_t sentry_asleep;
  volatile uint32_t spins;
  uint8_t intab[512];
  uint32_t patch;  /* call sites are patched: gs is ours */
  uint32_t ptrace; /* stubs are traced: `serve` ends in a breakpoint instead of the application */
};

/* Fixed places in the image, for the tracer: where it sends a thread to have operations done, and
 * the breakpoint that says they are. */
#define NV_PTRACE_ENTRY 32u
#define NV_PTRACE_TRAP 48u

#endif
