/* String instructions of one width. Included by interpreter_width.h. */

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
