/*
 * One run of the interpreter: what every operation works on. interpreter_width.h makes the
 * operations of each width on top of it, and interpreter.c decodes.
 */
#ifndef INTERPRETER_RUN_H
#define INTERPRETER_RUN_H

#include "guest.h"

#define FLAG_C 0x001
#define FLAG_P 0x004
#define FLAG_A 0x010
#define FLAG_Z 0x040
#define FLAG_S 0x080
#define FLAG_D 0x400
#define FLAG_O 0x800
#define FLAGS_OF_RESULT (FLAG_P | FLAG_Z | FLAG_S)
#define FLAGS_OF_SUM (FLAGS_OF_RESULT | FLAG_C | FLAG_A | FLAG_O)

#define REX_W 8
#define REX_R 4
#define REX_X 2
#define REX_B 1

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
enum { DO_ADD, DO_OR, DO_ADC, DO_SBB, DO_AND, DO_SUB, DO_XOR, DO_CMP };
enum { DO_ROL, DO_ROR, DO_RCL, DO_RCR, DO_SHL, DO_SHR, DO_SAL, DO_SAR };
enum { NO_REPEAT = 0, REPEAT_NOT_EQUAL = 0xf2, REPEAT_EQUAL = 0xf3 };

/* One run of the interpreter: the guest's registers and the instruction in work. */
struct run {
	u64 *registers;
	u64 flags;
	u64 rip;	/* of the byte to read next */
	u64 address;	/* of the operand, when it is in memory */
	u8 rex;
	u8 has_rex;
	u8 short_operand;	/* the 66 prefix */
	u8 repeat;
	u8 mod, reg, rm;
	u8 stop;	/* an ANSWER_ number + 1 as soon as something stops the run */
};

static inline void stop(struct run *run, unsigned answer)
{
	if (run->stop == 0)
		run->stop = (u8)(answer + 1);
}

static inline int in_window(u64 address, unsigned size)
{
	return address >= GUEST_BASE && address <= GUEST_END - size;
}

#define INLINE static inline __attribute__((always_inline))

/* ax holds the product of bytes, so this one is needed by both. */
INLINE void write_register16(struct run *run, unsigned number, u16 value)
{
	run->registers[number] = (run->registers[number] & ~0xffffULL) | value;
}

/* movsxd has a 32-bit source whatever the size of its target. */
static u32 load_u32(struct run *run, u64 address)
{
	if (!in_window(address, 4)) {
		stop(run, ANSWER_FAULT);
		return 0;
	}
	return *(const u32 *)address;
}

/* ModRM, SIB and displacement. `behind` is the number of immediate bytes that still follow. */
static void read_operand(struct run *run, unsigned behind);

#endif
