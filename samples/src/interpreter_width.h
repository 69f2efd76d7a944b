/*
 * The operations of one operand size. Included once per WIDTH, without a guard: each inclusion
 * makes functions whose names end in the width.
 */
#include "interpreter_run.h"

#define JOIN_(name, width) name##width
#define JOIN(name, width) JOIN_(name, width)
#define N(name) JOIN(name, WIDTH)
#define UINT JOIN(u, WIDTH)
#define SINT JOIN(s, WIDTH)
#define TOP ((UINT)1 << (WIDTH - 1))
#define BYTES (WIDTH / 8)

/* An access outside the window stops the run; a load then gives 0, a store does nothing. */
INLINE UINT N(load)(struct run *run, u64 address)
{
	UINT value;

	if (!in_window(address, BYTES)) {
		stop(run, ANSWER_FAULT);
		return 0;
	}
	__builtin_memcpy(&value, (const void *)address, BYTES);
	return value;
}

INLINE void N(store)(struct run *run, u64 address, UINT value)
{
	if (!in_window(address, BYTES)) {
		stop(run, ANSWER_FAULT);
		return;
	}
	__builtin_memcpy((void *)address, &value, BYTES);
}

INLINE UINT N(fetch)(struct run *run)
{
	UINT value = N(load)(run, run->rip);

	run->rip += BYTES;
	return value;
}

#if WIDTH == 8
/* Without REX, numbers 4 to 7 are ah, ch, dh, bh. */
INLINE u8 read_register8(struct run *run, unsigned number)
{
	if (number >= 4 && number < 8 && !run->has_rex)
		return (u8)(run->registers[number - 4] >> 8);
	return (u8)run->registers[number];
}

INLINE void write_register8(struct run *run, unsigned number, u8 value)
{
	if (number >= 4 && number < 8 && !run->has_rex)
		run->registers[number - 4] =
		    (run->registers[number - 4] & ~0xff00ULL) | (u64)value << 8;
	else
		run->registers[number] = (run->registers[number] & ~0xffULL) | value;
}
#else
INLINE UINT N(read_register)(struct run *run, unsigned number)
{
	return (UINT)run->registers[number];
}

#if WIDTH != 16
/* A 32-bit result clears the upper half. The 16-bit one, in interpreter.c, leaves it alone. */
INLINE void N(write_register)(struct run *run, unsigned number, UINT value)
{
	run->registers[number] = value;
}
#endif
#endif

INLINE UINT N(read_rm)(struct run *run)
{
	return run->mod == 3 ? N(read_register)(run, run->rm) : N(load)(run, run->address);
}

INLINE void N(write_rm)(struct run *run, UINT value)
{
	if (run->mod == 3)
		N(write_register)(run, run->rm, value);
	else
		N(store)(run, run->address, value);
}

/* An immediate is at most 32 bits wide and sign-extended; `narrow` ones are 8 bits. */
INLINE UINT N(immediate)(struct run *run, int narrow)
{
#if WIDTH == 8
	(void)narrow;
	return fetch8(run);
#elif WIDTH == 16
	return narrow ? (u16)(s16)(s8)fetch8(run) : fetch16(run);
#elif WIDTH == 32
	return narrow ? (u32)(s32)(s8)fetch8(run) : fetch32(run);
#else
	return narrow ? (u64)(s64)(s8)fetch8(run) : (u64)(s64)(s32)fetch32(run);
#endif
}

#define IMMEDIATE_BYTES(narrow) ((narrow) ? 1 : WIDTH == 64 ? 4 : BYTES)

#include "interpreter_arithmetic.h"

INLINE void N(alu_rm_reg)(struct run *run, unsigned operation)
{
	UINT result;

	read_operand(run, 0);
	result = N(alu)(run, operation, N(read_rm)(run), N(read_register)(run, run->reg));
	if (operation != DO_CMP)
		N(write_rm)(run, result);
}

INLINE void N(alu_reg_rm)(struct run *run, unsigned operation)
{
	UINT result;

	read_operand(run, 0);
	result = N(alu)(run, operation, N(read_register)(run, run->reg), N(read_rm)(run));
	if (operation != DO_CMP)
		N(write_register)(run, run->reg, result);
}

INLINE void N(alu_accumulator)(struct run *run, unsigned operation)
{
	UINT right = N(immediate)(run, 0);
	UINT result = N(alu)(run, operation, N(read_register)(run, RAX), right);

	if (operation != DO_CMP)
		N(write_register)(run, RAX, result);
}

static void N(alu_immediate)(struct run *run, int narrow)
{
	UINT right, result;

	read_operand(run, IMMEDIATE_BYTES(narrow));
	right = N(immediate)(run, narrow);
	result = N(alu)(run, run->reg & 7, N(read_rm)(run), right);
	if ((run->reg & 7) != DO_CMP)
		N(write_rm)(run, result);
}

static void N(test_rm_reg)(struct run *run)
{
	read_operand(run, 0);
	N(logic)(run, N(read_rm)(run) & N(read_register)(run, run->reg));
}

static void N(test_accumulator)(struct run *run)
{
	N(logic)(run, N(read_register)(run, RAX) & N(immediate)(run, 0));
}

static void N(exchange)(struct run *run)
{
	UINT kept;

	read_operand(run, 0);
	kept = N(read_rm)(run);
	N(write_rm)(run, N(read_register)(run, run->reg));
	N(write_register)(run, run->reg, kept);
}

static void N(move_rm_reg)(struct run *run)
{
	read_operand(run, 0);
	N(write_rm)(run, N(read_register)(run, run->reg));
}

static void N(move_reg_rm)(struct run *run)
{
	read_operand(run, 0);
	N(write_register)(run, run->reg, N(read_rm)(run));
}

static void N(store_immediate)(struct run *run)
{
	read_operand(run, IMMEDIATE_BYTES(0));
	N(write_rm)(run, N(immediate)(run, 0));
}

static void N(compare_exchange)(struct run *run)
{
	UINT there;

	read_operand(run, 0);
	there = N(read_rm)(run);
	N(subtract)(run, N(read_register)(run, RAX), there, 0);
	if (run->flags & FLAG_Z)
		N(write_rm)(run, N(read_register)(run, run->reg));
	else
		N(write_register)(run, RAX, there);
}

static void N(exchange_add)(struct run *run)
{
	UINT there, sum;

	read_operand(run, 0);
	there = N(read_rm)(run);
	sum = N(add)(run, there, N(read_register)(run, run->reg), 0);
	N(write_register)(run, run->reg, there);
	N(write_rm)(run, sum);
}

#include "interpreter_groups.h"
#include "interpreter_strings.h"
#if WIDTH != 8
#include "interpreter_wide.h"
#endif
#undef IMMEDIATE_BYTES
#undef BYTES
#undef TOP
#undef SINT
#undef UINT
#undef N
#undef JOIN
#undef JOIN_
#undef WIDTH
