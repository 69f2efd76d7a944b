/* Operations that exist for 16, 32 and 64 bits only. Included by interpreter_width.h. */

static void N(move_if)(struct run *run, int holds)
{
	UINT value;

	read_operand(run, 0);
	value = N(read_rm)(run);
	N(write_register)(run, run->reg, holds ? value : N(read_register)(run, run->reg));
}

/* `change`: 0 none, 1 set, 2 reset, 3 complement. A bit beyond the operand wraps. */
static void N(bit_test)(struct run *run, unsigned change)
{
	UINT value, bit;

	read_operand(run, 0);
	value = N(read_rm)(run);
	bit = (UINT)1 << (N(read_register)(run, run->reg) & (WIDTH - 1));
	run->flags = (run->flags & ~(u64)FLAG_C) | ((value & bit) ? FLAG_C : 0);
	if (change == 1)
		N(write_rm)(run, value | bit);
	else if (change == 2)
		N(write_rm)(run, value & (UINT)~bit);
	else if (change == 3)
		N(write_rm)(run, value ^ bit);
}

static void N(shift_double)(struct run *run, int right, int by_cl)
{
	UINT value, filler;
	unsigned count;

	read_operand(run, !by_cl);
	count = (by_cl ? (u8)run->registers[RCX] : fetch8(run)) & (WIDTH == 64 ? 63 : 31);
	value = N(read_rm)(run);
	filler = N(read_register)(run, run->reg);
	for (unsigned carry = 0; count != 0; count--) {
		if (right) {
			carry = value & 1;
			value = (UINT)(value >> 1 | ((filler & 1) ? TOP : 0));
			filler = (UINT)(filler >> 1);
		} else {
			carry = (value & TOP) != 0;
			value = (UINT)(value << 1 | ((filler & TOP) != 0));
			filler = (UINT)(filler << 1);
		}
		N(logic)(run, value);
		run->flags |= carry;
	}
	N(write_rm)(run, value);
}

static void N(product)(struct run *run, UINT left, UINT right)
{
	__int128 product = (__int128)(SINT)left * (SINT)right;

	N(write_register)(run, run->reg, (UINT)product);
	run->flags &= ~(u64)(FLAG_C | FLAG_O);
	if (product != (SINT)product)
		run->flags |= FLAG_C | FLAG_O;
}

static void N(multiply_reg)(struct run *run)
{
	read_operand(run, 0);
	N(product)(run, N(read_register)(run, run->reg), N(read_rm)(run));
}

static void N(multiply_immediate)(struct run *run, int narrow)
{
	UINT left;

	read_operand(run, IMMEDIATE_BYTES(narrow));
	left = N(read_rm)(run);
	N(product)(run, left, N(immediate)(run, narrow));
}

static void N(extend)(struct run *run, unsigned from, int is_signed)
{
	UINT value;

	read_operand(run, 0);
	if (from == 8)
		value = is_signed ? (UINT)(s8)read_rm8(run) : read_rm8(run);
	else if (from == 16)
		value = run->mod == 3 ? (u16)run->registers[run->rm] : load16(run, run->address);
	else
		value = (UINT)(s32)(run->mod == 3 ? (u32)run->registers[run->rm] :
		    load_u32(run, run->address));
	if (from == 16 && is_signed)
		value = (UINT)(s16)value;
	N(write_register)(run, run->reg, value);
}

static void N(bit_scan)(struct run *run, int from_top)
{
	UINT value;
	unsigned bit = from_top ? WIDTH - 1 : 0;

	read_operand(run, 0);
	value = N(read_rm)(run);
	run->flags = (run->flags & ~(u64)FLAG_Z) | (value == 0 ? FLAG_Z : 0);
	if (value == 0)
		return;
	while (!(value >> bit & 1))
		bit += from_top ? -1u : 1u;
	N(write_register)(run, run->reg, (UINT)bit);
}

static void N(byte_swap)(struct run *run, unsigned low)
{
	unsigned number = low | ((run->rex & REX_B) ? 8 : 0);
	UINT value = N(read_register)(run, number), swapped = 0;

	for (unsigned byte = 0; byte < BYTES; byte++)
		swapped = (UINT)(swapped << 8 | (value >> 8 * byte & 0xff));
	N(write_register)(run, number, swapped);
}

static void N(increment)(struct run *run)
{
	N(step)(run, 0);
}

static void N(decrement)(struct run *run)
{
	N(step)(run, 1);
}

static void N(load_address)(struct run *run)
{
	read_operand(run, 0);
	if (run->mod == 3)
		stop(run, ANSWER_INVALID);
	else
		N(write_register)(run, run->reg, (UINT)run->address);
}

static void N(exchange_accumulator)(struct run *run, unsigned number)
{
	UINT kept = N(read_register)(run, RAX);

	N(write_register)(run, RAX, N(read_register)(run, number));
	N(write_register)(run, number, kept);
}

/* cbw, cwde, cdqe: the lower half of the accumulator, sign-extended. */
static void N(widen_accumulator)(struct run *run)
{
	UINT value = N(read_register)(run, RAX);

	N(write_register)(run, RAX, (UINT)((SINT)(UINT)(value << WIDTH / 2) >> WIDTH / 2));
}

/* cwd, cdq, cqo */
static void N(sign_of_accumulator)(struct run *run)
{
	N(write_register)(run, RDX, (N(read_register)(run, RAX) & TOP) ? (UINT)~(UINT)0 : 0);
}

static void N(move_immediate)(struct run *run, unsigned number)
{
#if WIDTH == 64
	run->registers[number] = fetch64(run);
#else
	N(write_register)(run, number, N(immediate)(run, 0));
#endif
}
