/* One guest: its copy of the monitor image, its state, and the tables that the monitor runs on. */
#ifndef CORE_H
#define CORE_H

#include "freebsd.h"
#include "layout.h"
#include "state.h"

#define SESSION_PAGES 64

#ifdef SAMPLE_FIX_AFTER
/* What all guests share. */
struct kqemu_global {
	u64 guests, entries[2];
	u8 lock;			/* 1: free */
};
#endif

struct kqemu_session {
#ifdef SAMPLE_FIX_AFTER
	struct kqemu_global *global;
#endif
	u8 *image;			/* the copy that runs, page aligned */
	struct kqemu_state *state;	/* behind it, page aligned */
	u64 *top;			/* the monitor's uppermost page table */
	void *area[8];			/* the monitor's tables, its stack, the guest's memory */
	unsigned tables;
	u64 *table[SESSION_PAGES];	/* page tables in use, to find one by its address in memory */
};

extern struct malloc_type M_KQEMU[1];
extern struct mtx kqemu_lock;

struct kqemu_session *kqemu_init(void);
void *kqemu_guest_memory(struct kqemu_session *);
void kqemu_delete(struct kqemu_session *);
void kqemu_exec(struct kqemu_session *);
int kqemu_run(struct kqemu_session *, u32 request, u64 budget);

/* tss_fix.c, in the samples that carry one of the fixes of 2008 */
void kqemu_tss_workaround(void);
void kqemu_tss_fixup(void);

#endif
