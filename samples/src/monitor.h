/* The monitor's entries from the world switch and from traps. All of it runs at MONITOR_BASE. */
#ifndef MONITOR_H
#define MONITOR_H

#include "state.h"
#include "trap.h"

/* nexus.S and traps.S */
void monitor2kernel(struct kqemu_state *state);
void halt_forever(void) __attribute__((noreturn));

/* monitor.c */
void monitor_exec(struct kqemu_state *state) __attribute__((noreturn));
void monitor_trap(struct kqemu_state *state, struct trap_frame *frame);

#endif
