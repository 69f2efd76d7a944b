/* Shifts, products, quotients and the groups that ModRM tells apart. Included by interpreter_width.h. */

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
