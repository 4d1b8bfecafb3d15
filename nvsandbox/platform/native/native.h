/* The Sentry's side of the trap protocol (proto.h), seen by Python through cffi. */
#ifndef NV_NATIVE_H
#define NV_NATIVE_H

#include "proto.h"

/* ev[] of a task: what its last event was, copied out of the slot once. Parsed by
 * platform/interface.py. */
enum {
  NV_E_KIND,
  NV_E_NR,
  NV_E_ARG0, /* 6 arguments, widened as nv_set_widths said */
  NV_E_SIG = 8,
  NV_E_CODE,
  NV_E_ADDR,
  NV_E_TRAPNO,
  NV_E_ERR,
  NV_E_CRET,
  NV_E_FAIL,
  NV_E_FPOFF,
  NV_E_INADDR0,
  NV_E_INLEN0,
  NV_E_INADDR1,
  NV_E_INLEN1,
  NV_E_INADDR2,
  NV_E_INLEN2,
  NV_E_TID,
  NV_E_HOT, /* how often this call site has trapped lately, when it is time to look at it */
  NV_E_N = 24
};

struct nv_task {
  int64_t ev[NV_E_N];
  uint64_t regs[NV_NREG];
  struct nv_slot *slot;
  struct nv_cmds *cmd;
  uint64_t stub_slot; /* the slot's address in the stub */
  int32_t run;        /* index in the running list, -1: the Sentry has it */
  uint32_t id;
  uint32_t nops;
  struct nv_pt *pt; /* ptrace platform: what the tracer knows of the thread; else NULL */
  /* lent.c */
  struct nv_files *files;
  uint32_t calls;        /* NV_LENT_* */
  struct nv_file *again; /* was read from, and the copy may yet fail */
  int64_t again_read;    /* by so much its position moved */
};

int nv_init(int eventfd, int epfd, struct nv_kuser *kuser, int ncpu);
/* Whether this machine can run patched call sites: gs can be set without a system call, and a
 * thread's extended state fits its place. */
int nv_can_patch(void);
/* Bytes that the host's processor has of extended state, tiles included: what debuggers are told.
 */
uint32_t nv_xstate_all(void);
/* From now on call sites that trap are counted; `first`: the counts that NV_E_HOT tells. */
void nv_set_patching(uint32_t first, uint32_t factor);
/* Where known[what] of a slot is; NV_KNOWN: entry. */
uint32_t nv_offset(int what);
/* Number and arguments from regs, again. */
void nv_decode(struct nv_task *t);
/* Whether argument `arg` of the call is an address or an unsigned long. */
int nv_unsigned(const struct nv_task *t, int arg);
/* How many arguments it has. */
int nv_nargs(const struct nv_task *t);
void nv_own_gs(struct nv_task *t);
/* Of call `nr`: two bits for each argument (see widen), and from bit 12 on how many it has. */
void nv_set_widths(uint32_t nr, uint32_t packed);
void nv_set_intab(uint32_t nr, uint32_t how);
struct nv_task *nv_task_new(uint32_t id, char *slots, char *cmds, uint64_t stub_slots,
                            uint32_t index);
void nv_task_free(struct nv_task *t);

/* The next event's task, or NULL when descriptors are ready, the deadline has passed, or wakes are
 * put off (nv_hold) and no more events come for a moment. */
struct nv_task *nv_wait(int64_t deadline_ns);
/* Called before nv_wait sleeps. */
extern void (*nv_before_sleep)(void);
/* Sets rax and lets the application go on after the queued operations. */
void nv_reply(struct nv_task *t, int64_t rax);
/* Wakes a stub whose answer will be there in some 100 us. */
void nv_get_ready(struct nv_task *t);
/* As nv_reply with the registers as they are. */
void nv_resume(struct nv_task *t);
/* Queues an operation; -1 when the list is full. */
int nv_op(struct nv_task *t, uint32_t op, uint32_t flags, uint32_t nr, uint64_t a0, uint64_t a1,
          uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
/* Puts `n` bytes at `off` of the window and queues their copy to `addr`. -1: the list is full. */
int nv_copyout(struct nv_task *t, uint64_t addr, uint32_t off, const char *data, uint32_t n,
               uint32_t flags);
/* Reads up to `size` bytes of host file `fd` into the window, which has room. Their number, or
 * -errno: -EAGAIN when not all that is there is cached. `cached`: it is a memory file. */
int64_t nv_read_window(struct nv_task *t, int fd, uint32_t size, int64_t offset, int *cached);
/* Reads up to `size` bytes of host file `fd` into the empty window and queues their copy to `addr`.
 * Their number, or -errno: -EAGAIN when not all that is there is cached. */
int64_t nv_read_out(struct nv_task *t, int fd, uint64_t addr, uint32_t size, int64_t offset);
/* Has the queued operations done while the application stays stopped. 1: done already; 0: an event
 * will tell. */
int nv_run(struct nv_task *t, uint32_t spins);
/* Whether nv_run's operations are done by now, without having them done again. */
int nv_done(struct nv_task *t, uint32_t spins);
/* Posts the queued operations of a thread that is not to be listened to (not started yet, or
 * exiting). */
void nv_post(struct nv_task *t);
/* Whether the thread was let go and its next event has not been fetched. */
int nv_running(const struct nv_task *t);
uint32_t nv_slot_tid(struct nv_task *t);
/* Forgets a task that runs (its process is being killed). */
void nv_drop(struct nv_task *t);
/* So many answers are on their way to descriptors: nv_wait spins for them, too. */
void nv_await(uint32_t n);
/* So many more processes have been killed, whose ends take their time on some core. */
void nv_dying(int32_t more);
/* The caller puts wakes off until nv_wait returns NULL, which it soon does; 0: no longer. */
void nv_hold(int on);
/* Descriptors that nv_wait found ready: fd and events alternate. */
int nv_ready(int32_t *out, int max);

/* Descriptions that are read without Python (lent.c). */
struct nv_file *nv_file_new(void);
/* NULL is fine. */
void nv_file_put(struct nv_file *f);
/* Lends it, reading through a duplicate of host descriptor `fd`. 0 or -errno. */
int nv_file_lend(struct nv_file *f, int fd, int64_t offset);
/* It is the null device, opened for NV_LENT_READ, NV_LENT_WRITE or both. */
void nv_file_null(struct nv_file *f, uint32_t how);
/* It is Python's again: its position. */
int64_t nv_file_back(struct nv_file *f);
/* Nothing that is lent now is read any more. */
void nv_files_stop(void);
/* What of a descriptor table is lent. */
struct nv_files *nv_files_new(void);
void nv_files_put(struct nv_files *fs);
void nv_files_set(struct nv_files *fs, uint32_t fd, struct nv_file *f);
void nv_files_clear(struct nv_files *fs);
/* Thread `t` uses `fs` and may make `calls` (NV_LENT_*), too; 0: none any more. */
void nv_lend(struct nv_task *t, struct nv_files *fs, uint32_t calls);
/* Answers the event, if it is such a read: 1. An answer that has failed is the call again, and
 * Python's. */
int nv_lent(struct nv_task *t);
void nv_lent_free(struct nv_task *t);

/* fallocate(2): 0 or -errno. */
int nv_fallocate(int fd, int mode, int64_t offset, int64_t length);
void *nv_map(int fd, uint64_t len, int writable);
/* Two files side by side, writable: one nv_unmap for both. */
void *nv_map_pair(int first, uint64_t len, int second, uint64_t more);
void nv_unmap(void *p, uint64_t len);
/* A stub's socket and ours, whose receiver is told who sends. 0 or -errno. */
int nv_socketpair(int out[2]);
int nv_send_fds(int sock, const int *fds, int n);
/* pid of the peer that sent one byte, by the kernel's word; 0: nothing there; -errno. */
int nv_recv_pid(int sock);
int nv_tgkill(int pid, int tid, int sig);
int nv_signalfd(int sig);
/* The ptrace platform (ptrace.c). `sigfd`: a signalfd of SIGCHLD, already in the epoll set. */
void nv_pt_init(int sigfd);
/* The thread of `t` will be traced; `image`: where its stub has the image. */
int nv_pt_new(struct nv_task *t, uint64_t image);
/* Traces a clean stub whose only thread waits for orders. */
int nv_pt_seize(struct nv_task *t, int pid);
/* The next clone of `parent` makes the thread of `child`; NULL: it won't after all. */
void nv_pt_expect(struct nv_task *parent, struct nv_task *child, int thread);
/* The thread's extended state in its slot, at ev[NV_E_FPOFF]; nothing to do on systrap. */
int nv_fp_load(struct nv_task *t);
void nv_fp_store(struct nv_task *t);
/* The state that NV_OP_XSAVE has left at NV_WIN_OFF is the thread's. */
void nv_fp_saved(struct nv_task *t);
/* One dead child: pid and wait status. 0: none. */
int nv_pt_death(int32_t *out);
/* Whether the host lets us: 0 or -errno (probe.c). */
int nv_probe_systrap(void);
int nv_probe_ptrace(void);
struct nv_stats {
  uint64_t events, sleeps, spins, wakes;
  uint64_t calls[512]; /* system calls by number; the last: all that have none below 511 */
  uint64_t jumps;      /* of them, those that came by a patched site, without a signal */
  uint64_t faults, kicks;
};
extern struct nv_stats nv_stats;

#endif
