/* Between the loop (native.c) and the tracer (ptrace.c). */
#ifndef NV_PTRACE_H
#define NV_PTRACE_H

#include "native.h"

/* native.c */
void nv_listen(struct nv_task *t);   /* scan its slot for events */
void nv_unlisten(struct nv_task *t); /* no longer */
void nv_fp_describe(char *at, uint32_t size, uint64_t features);
void nv_know_xstate(void);
extern uint32_t nv_xsize; /* this machine's extended state, once nv_know_xstate has looked */
extern uint64_t nv_xfeatures;

/* ptrace.c */
extern struct nv_pt_state {
  int on, sigfd;
  struct nv_task *head, *tail; /* events not fetched yet */
  uint32_t napp;               /* threads that run the application */
  uint32_t ndeaths, firstdeath, capdeaths;
  struct nv_death {
    int32_t pid, status;
  } * deaths;
} nv_pt;

struct nv_task *nv_pt_next(void);
int nv_pt_poll(void);                       /* sees to stopped threads; 1: there may be more */
int nv_pt_running(const struct nv_task *t); /* the application, or its event waits */
int nv_pt_in_app(struct nv_task *t);        /* stopped, its registers with us */
void nv_pt_enter_app(struct nv_task *t);    /* goes on with t->regs */
void nv_pt_enter_stub(struct nv_task *t);   /* runs `serve` */
void nv_pt_answered(struct nv_task *t, int resume);
void nv_pt_mute(struct nv_task *t);
void nv_pt_free(struct nv_task *t);

#endif
