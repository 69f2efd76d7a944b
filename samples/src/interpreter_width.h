/*
 * The operations of one operand size. Included once per WIDTH, without a guard: each inclusion
 * makes functions whose names end in the width.
 */
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

static void read_operand(struct run *run, unsigned behind);

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

INLINE u64 N(result_flags)(UINT result)
{
	u64 flags = 0;

	if (result == 0)
		flags |= FLAG_Z;
	if (result & TOP)
		flags |= FLAG_S;
	if (!__builtin_parity((u8)result))
		flags |= FLAG_P;
	return flags;
}

INLINE UINT N(add)(struct run *run, UINT left, UINT right, unsigned carry)
{
	UINT sum = (UINT)(left + right + carry);
	u64 flags = N(result_flags)(sum);

	if (sum < left || (carry && sum == left))
		flags |= FLAG_C;
	if ((left ^ sum) & (right ^ sum) & TOP)
		flags |= FLAG_O;
	flags |= (left ^ right ^ sum) & FLAG_A;
	run->flags = (run->flags & ~(u64)FLAGS_OF_SUM) | flags;
	return sum;
}

INLINE UINT N(subtract)(struct run *run, UINT left, UINT right, unsigned borrow)
{
	UINT rest = (UINT)(left - right - borrow);
	u64 flags = N(result_flags)(rest);

	if (left < right || (borrow && left == right))
		flags |= FLAG_C;
	if ((left ^ right) & (left ^ rest) & TOP)
		flags |= FLAG_O;
	flags |= (left ^ right ^ rest) & FLAG_A;
	run->flags = (run->flags & ~(u64)FLAGS_OF_SUM) | flags;
	return rest;
}

INLINE UINT N(logic)(struct run *run, UINT result)
{
	run->flags = (run->flags & ~(u64)FLAGS_OF_SUM) | N(result_flags)(result);
	return result;
}

INLINE UINT N(alu)(struct run *run, unsigned operation, UINT left, UINT right)
{
	switch (operation) {
	case DO_ADD: return N(add)(run, left, right, 0);
	case DO_OR: return N(logic)(run, left | right);
	case DO_ADC: return N(add)(run, left, right, run->flags & FLAG_C);
	case DO_SBB: return N(subtract)(run, left, right, run->flags & FLAG_C);
	case DO_AND: return N(logic)(run, left & right);
	case DO_XOR: return N(logic)(run, left ^ right);
	default: return N(subtract)(run, left, right, 0);
	}
}

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

/* One bit a round, which is slow and leaves the carry right for every one of the eight. */
static UINT N(shift)(struct run *run, unsigned operation, UINT value, unsigned count)
{
	unsigned carry = run->flags & FLAG_C;
	UINT before = value;

	count &= WIDTH == 64 ? 63 : 31;
	if (count == 0)
		return value;
	for (; count != 0; count--) {
		unsigned top = (value & TOP) != 0, low = value & 1, carried = carry;

		switch (operation) {
		case DO_ROL: carry = top; value = (UINT)(value << 1 | top); break;
		case DO_ROR: carry = low; value = (UINT)(value >> 1 | (low ? TOP : 0)); break;
		case DO_RCL: carry = top; value = (UINT)(value << 1 | carried); break;
		case DO_RCR: carry = low; value = (UINT)(value >> 1 | (carried ? TOP : 0)); break;
		case DO_SHR: carry = low; value = (UINT)(value >> 1); break;
		case DO_SAR: carry = low; value = (UINT)((SINT)value >> 1); break;
		default: carry = top; value = (UINT)(value << 1); break;
		}
	}
	if (operation >= DO_SHL)
		N(logic)(run, value);
	run->flags &= ~(u64)(FLAG_C | FLAG_O);
	run->flags |= carry;
	if ((before ^ value) & TOP)
		run->flags |= FLAG_O;
	return value;
}

/* `source` of the count: 0 one, 1 an immediate, 2 cl. */
static void N(shift_group)(struct run *run, int source)
{
	unsigned count = 1;

	read_operand(run, source == 1);
	if (source == 1)
		count = fetch8(run);
	else if (source == 2)
		count = (u8)run->registers[RCX];
	N(write_rm)(run, N(shift)(run, run->reg & 7, N(read_rm)(run), count));
}

/* The accumulator and its upper half: ax is al's, else the d register. */
INLINE UINT N(upper_half)(struct run *run)
{
#if WIDTH == 8
	return (u8)(run->registers[RAX] >> 8);
#else
	return (UINT)run->registers[RDX];
#endif
}

INLINE void N(write_halves)(struct run *run, UINT upper, UINT lower)
{
#if WIDTH == 8
	write_register16(run, RAX, (u16)(upper << 8 | lower));
#else
	N(write_register)(run, RAX, lower);
	N(write_register)(run, RDX, upper);
#endif
}

static void N(multiply)(struct run *run, UINT factor, int is_signed)
{
	UINT left = N(read_register)(run, RAX), upper, lower;
	int significant;

	if (is_signed) {
		__int128 product = (__int128)(SINT)left * (SINT)factor;

		upper = (UINT)(product >> WIDTH);
		lower = (UINT)product;
		significant = product != (SINT)product;
	} else {
		unsigned __int128 product = (unsigned __int128)left * factor;

		upper = (UINT)(product >> WIDTH);
		lower = (UINT)product;
		significant = upper != 0;
	}
	N(write_halves)(run, upper, lower);
	run->flags &= ~(u64)(FLAG_C | FLAG_O);
	if (significant)
		run->flags |= FLAG_C | FLAG_O;
}

/* Long division by hand: a flat image has no library to divide 128 bits. */
static void N(divide)(struct run *run, UINT divisor, int is_signed)
{
	unsigned __int128 dividend =
	    (unsigned __int128)N(upper_half)(run) << WIDTH | N(read_register)(run, RAX);
	unsigned __int128 quotient = 0, rest = 0, size = divisor;
	int negative = 0, negative_rest = 0;

	if (is_signed && (N(upper_half)(run) & TOP)) {
		dividend = -dividend;
		negative = negative_rest = 1;
	}
	if (is_signed && (divisor & TOP)) {
		size = (UINT)-divisor;
		negative = !negative;
	}
	if (size == 0) {
		stop(run, ANSWER_DIVIDE);
		return;
	}
	for (int bit = 2 * WIDTH - 1; bit >= 0; bit--) {
		rest = rest << 1 | (dividend >> bit & 1);
		quotient <<= 1;
		if (rest >= size) {
			rest -= size;
			quotient |= 1;
		}
	}
	if (quotient > (is_signed ? (UINT)(TOP - !negative) : (UINT)~(UINT)0)) {
		stop(run, ANSWER_DIVIDE);
		return;
	}
	N(write_halves)(run, (UINT)(negative_rest ? -rest : rest),
	    (UINT)(negative ? -quotient : quotient));
}

static void N(unary_group)(struct run *run)
{
	UINT there;

	read_operand(run, 0);
	if ((run->reg & 7) < 2) {
		/* The immediate of test comes behind; a rip-relative operand counts from there. */
		if (run->mod == 0 && run->rm == RBP)
			run->address += IMMEDIATE_BYTES(0);
		there = N(read_rm)(run);
		N(logic)(run, there & N(immediate)(run, 0));
		return;
	}
	there = N(read_rm)(run);
	switch (run->reg & 7) {
	case 2: N(write_rm)(run, (UINT)~there); break;
	case 3: N(write_rm)(run, N(subtract)(run, 0, there, 0)); break;
	case 4: N(multiply)(run, there, 0); break;
	case 5: N(multiply)(run, there, 1); break;
	case 6: N(divide)(run, there, 0); break;
	default: N(divide)(run, there, 1); break;
	}
}

static void N(step)(struct run *run, int down)
{
	u64 carry = run->flags & FLAG_C;
	UINT there = N(read_rm)(run);

	N(write_rm)(run, down ? N(subtract)(run, there, 1, 0) : N(add)(run, there, 1, 0));
	run->flags = (run->flags & ~(u64)FLAG_C) | carry;
}

#if WIDTH == 8
static void step_group8(struct run *run)
{
	read_operand(run, 0);
	if ((run->reg & 7) > 1)
		stop(run, ANSWER_INVALID);
	else
		step8(run, run->reg & 1);
}
#endif

/* Strings: where to, how far, and whether a prefix asks for more. */
INLINE u64 N(stride)(struct run *run)
{
	return run->flags & FLAG_D ? (u64)-BYTES : BYTES;
}

/* 1 when the element in work is wanted. Counts it, and comes back to it when more are left. */
INLINE int N(next_element)(struct run *run, u64 *left)
{
	if (run->repeat == NO_REPEAT) {
		*left = 0;
		return 1;
	}
	*left = run->registers[RCX];
	if (*left == 0)
		return 0;
	*left = --run->registers[RCX];
	return 1;
}

#define EACH_ELEMENT(body)						\
	do {								\
		u64 left;						\
									\
		do {							\
			if (!N(next_element)(run, &left))		\
				break;					\
			body						\
		} while (left != 0 && run->stop == 0);			\
	} while (0)

#define UNTIL_DIFFERENT							\
	if (left != 0 && ((run->flags & FLAG_Z) != 0) != (run->repeat == REPEAT_EQUAL))	\
		break;

static void N(move_string)(struct run *run)
{
	EACH_ELEMENT(
		N(store)(run, run->registers[RDI], N(load)(run, run->registers[RSI]));
		run->registers[RSI] += N(stride)(run);
		run->registers[RDI] += N(stride)(run);
	);
}

static void N(store_string)(struct run *run)
{
	EACH_ELEMENT(
		N(store)(run, run->registers[RDI], N(read_register)(run, RAX));
		run->registers[RDI] += N(stride)(run);
	);
}

static void N(load_string)(struct run *run)
{
	EACH_ELEMENT(
		N(write_register)(run, RAX, N(load)(run, run->registers[RSI]));
		run->registers[RSI] += N(stride)(run);
	);
}

static void N(scan_string)(struct run *run)
{
	EACH_ELEMENT(
		N(subtract)(run, N(read_register)(run, RAX), N(load)(run, run->registers[RDI]), 0);
		run->registers[RDI] += N(stride)(run);
		UNTIL_DIFFERENT
	);
}

static void N(compare_string)(struct run *run)
{
	EACH_ELEMENT(
		N(subtract)(run, N(load)(run, run->registers[RSI]),
		    N(load)(run, run->registers[RDI]), 0);
		run->registers[RSI] += N(stride)(run);
		run->registers[RDI] += N(stride)(run);
		UNTIL_DIFFERENT
	);
}

#undef EACH_ELEMENT
#undef UNTIL_DIFFERENT
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
