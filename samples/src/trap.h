/* The stack of a trap, as traps.S leaves it for C. */
#ifndef TRAP_H
#define TRAP_H

#define TRAP_STUB_SIZE 16

#ifndef __ASSEMBLER__
#include "types.h"

struct trap_frame {
	u64 rax, rcx, rdx, rbx, rbp, rsi, rdi;
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};
#endif

#endif
