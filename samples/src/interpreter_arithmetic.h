/* Sums, differences and logic of one width, with their flags. Included by interpreter_width.h. */

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
