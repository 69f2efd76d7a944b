/*
 * The offset of the saved selector as a symbol: a build that leaves it to the linker has a relocation
 * on the exit site.
 */
#include "state.h"

	.globl	kqemu_tr_offset
	.set	kqemu_tr_offset, STATE_HOST_TR_SEL

	.section .note.GNU-stack, "", @progbits
