/* The interpreted guest. Nothing here depends on the layout of the state. */
#ifndef GUEST_H
#define GUEST_H

#include "layout.h"
#include "types.h"

/* The last byte of the guest's window, and one behind it. */
#define GUEST_END (GUEST_BASE + (u64)GUEST_PAGES * PAGE_SIZE)

/* Registers in the order of their numbers in instructions. */
struct guest {
	u64 registers[16];
	u64 flags;
	u64 rip;
};

/* interpreter.c: runs at most `budget` instructions, returns one of the ANSWER_ numbers. */
unsigned interpret(struct guest *guest, u64 budget);

/* screen.c: 1 when the code at `code` begins with an instruction that is not for a guest. */
int is_system_instruction(const u8 *code, u64 size);

#endif
