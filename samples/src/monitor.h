/* What the monitor's own files share. Everything here runs at MONITOR_BASE. */
#ifndef MONITOR_H
#define MONITOR_H

#include "layout.h"
#include "state.h"
#include "trap.h"

/* The last byte of the guest's window, and one behind it. */
#define GUEST_END (GUEST_BASE + (u64)GUEST_PAGES * PAGE_SIZE)

/* nexus.S and traps.S */
void monitor2kernel(struct kqemu_state *state);
void halt_forever(void) __attribute__((noreturn));

/* monitor.c */
void monitor_exec(struct kqemu_state *state) __attribute__((noreturn));
void monitor_trap(struct kqemu_state *state, struct trap_frame *frame);

/* interpreter.c: runs at most `budget` instructions, returns one of the ANSWER_ numbers. */
unsigned interpret(struct kqemu_state *state, u64 budget);

/* screen.c: 1 when the code at `code` holds an instruction that is not for a guest. */
int holds_system_instruction(const u8 *code, u64 size);

/* text.c */
u32 checksum(const void *bytes, u64 size);
void log_line(const char *format, u64 first, u64 second);
void *memcpy(void *to, const void *from, unsigned long size);
void *memset(void *to, int value, unsigned long size);

#endif
