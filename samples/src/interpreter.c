/*
 * The guest: 64-bit user code in a window of GUEST_PAGES pages, one instruction at a time.
 *
 * Opcodes follow the maps of Intel SDM vol. 2, appendix A. What is not here answers
 * ANSWER_INVALID and leaves rip at the instruction.
 */
#include "interpreter_run.h"
#include "text.h"

#define WIDTH 8
#include "interpreter_width.h"
#define WIDTH 16
#include "interpreter_width.h"
#define WIDTH 32
#include "interpreter_width.h"
#define WIDTH 64
#include "interpreter_width.h"

/* Intel SDM vol. 1, table B-1: odd conditions are the even ones, negated. */
static int condition(u64 flags, unsigned code)
{
	int holds;

	switch (code >> 1) {
	case 0: holds = (flags & FLAG_O) != 0; break;
	case 1: holds = (flags & FLAG_C) != 0; break;
	case 2: holds = (flags & FLAG_Z) != 0; break;
	case 3: holds = (flags & (FLAG_C | FLAG_Z)) != 0; break;
	case 4: holds = (flags & FLAG_S) != 0; break;
	case 5: holds = (flags & FLAG_P) != 0; break;
	case 6: holds = !(flags & FLAG_S) != !(flags & FLAG_O); break;
	default: holds = (flags & FLAG_Z) || !(flags & FLAG_S) != !(flags & FLAG_O); break;
	}
	return holds ^ (int)(code & 1);
}

static u64 index_part(struct run *run, u8 sib)
{
	unsigned index = ((sib >> 3) & 7) | ((run->rex & REX_X) ? 8 : 0);

	return index == RSP ? 0 : run->registers[index] << (sib >> 6);
}

/* ModRM, SIB and displacement. `behind` is the number of immediate bytes that still follow. */
static void read_operand(struct run *run, unsigned behind)
{
	u8 modrm = fetch8(run);
	u64 address = 0;

	run->mod = modrm >> 6;
	run->reg = ((modrm >> 3) & 7) | ((run->rex & REX_R) ? 8 : 0);
	run->rm = modrm & 7;
	if (run->mod == 3) {
		run->rm |= (run->rex & REX_B) ? 8 : 0;
		return;
	}
	if (run->rm == RSP) {
		u8 sib = fetch8(run);
		unsigned base = (sib & 7) | ((run->rex & REX_B) ? 8 : 0);

		address = index_part(run, sib);
		if ((base & 7) == RBP && run->mod == 0)
			address += (u64)(s64)(s32)fetch32(run);
		else
			address += run->registers[base];
	} else if (run->rm == RBP && run->mod == 0) {
		address = (u64)(s64)(s32)fetch32(run);
		address += run->rip + behind;
	} else {
		address = run->registers[run->rm | ((run->rex & REX_B) ? 8 : 0)];
	}
	if (run->mod == 1)
		address += (u64)(s64)(s8)fetch8(run);
	else if (run->mod == 2)
		address += (u64)(s64)(s32)fetch32(run);
	run->address = address;
}

static void push(struct run *run, u64 value)
{
	run->registers[RSP] -= 8;
	store64(run, run->registers[RSP], value);
}

static u64 pop(struct run *run)
{
	u64 value = load64(run, run->registers[RSP]);

	run->registers[RSP] += 8;
	return value;
}

/* Picks the operation of the operand size that the prefixes ask for. */
#define BY_SIZE(name, ...)						\
	do {								\
		if (run->rex & REX_W)					\
			name##64(__VA_ARGS__);				\
		else if (run->short_operand)				\
			name##16(__VA_ARGS__);				\
		else							\
			name##32(__VA_ARGS__);				\
	} while (0)

/* The six forms of an arithmetic operation, and the accumulator ones. */
#define ALU_ROW(base, operation)					\
	case (base) + 0: alu_rm_reg8(run, operation); break;		\
	case (base) + 1: BY_SIZE(alu_rm_reg, run, operation); break;	\
	case (base) + 2: alu_reg_rm8(run, operation); break;		\
	case (base) + 3: BY_SIZE(alu_reg_rm, run, operation); break;	\
	case (base) + 4: alu_accumulator8(run, operation); break;	\
	case (base) + 5: BY_SIZE(alu_accumulator, run, operation); break

static void jump_if(struct run *run, int taken, s64 distance)
{
	if (taken)
		run->rip += (u64)distance;
}

static void group_ff(struct run *run)
{
	u64 next;

	read_operand(run, 0);
	switch (run->reg & 7) {
	case 0: BY_SIZE(increment, run); break;
	case 1: BY_SIZE(decrement, run); break;
	case 2:
		next = read_rm64(run);
		push(run, run->rip);
		run->rip = next;
		break;
	case 4: run->rip = read_rm64(run); break;
	case 6: push(run, read_rm64(run)); break;
	default: stop(run, ANSWER_INVALID); break;
	}
}

static void two_bytes(struct run *run)
{
	u8 opcode = fetch8(run);

	switch (opcode) {
	case 0x0b: stop(run, ANSWER_INVALID); break;
	case 0x18: case 0x1e: case 0x1f: read_operand(run, 0); break;
	case 0x31:
		run->registers[RAX] = __builtin_ia32_rdtsc() & 0xffffffff;
		run->registers[RDX] = 0;
		break;
	case 0x40 ... 0x4f: BY_SIZE(move_if, run, condition(run->flags, opcode & 15)); break;
	case 0x80 ... 0x8f:
		jump_if(run, condition(run->flags, opcode & 15), (s32)fetch32(run));
		break;
	case 0x90 ... 0x9f:
		read_operand(run, 0);
		write_rm8(run, (u8)condition(run->flags, opcode & 15));
		break;
	case 0xa3: BY_SIZE(bit_test, run, 0); break;
	case 0xa4: BY_SIZE(shift_double, run, 0, 0); break;
	case 0xa5: BY_SIZE(shift_double, run, 0, 1); break;
	case 0xab: BY_SIZE(bit_test, run, 1); break;
	case 0xac: BY_SIZE(shift_double, run, 1, 0); break;
	case 0xad: BY_SIZE(shift_double, run, 1, 1); break;
	case 0xaf: BY_SIZE(multiply_reg, run); break;
	case 0xb0: compare_exchange8(run); break;
	case 0xb1: BY_SIZE(compare_exchange, run); break;
	case 0xb3: BY_SIZE(bit_test, run, 2); break;
	case 0xb6: BY_SIZE(extend, run, 8, 0); break;
	case 0xb7: BY_SIZE(extend, run, 16, 0); break;
	case 0xbb: BY_SIZE(bit_test, run, 3); break;
	case 0xbc: BY_SIZE(bit_scan, run, 0); break;
	case 0xbd: BY_SIZE(bit_scan, run, 1); break;
	case 0xbe: BY_SIZE(extend, run, 8, 1); break;
	case 0xbf: BY_SIZE(extend, run, 16, 1); break;
	case 0xc0: exchange_add8(run); break;
	case 0xc1: BY_SIZE(exchange_add, run); break;
	case 0xc8 ... 0xcf: BY_SIZE(byte_swap, run, opcode & 7); break;
	default: stop(run, ANSWER_INVALID); break;
	}
}

static void one_byte(struct run *run, u8 opcode)
{
	unsigned low = (opcode & 7) | ((run->rex & REX_B) ? 8 : 0);
	u64 kept;

	switch (opcode) {
	ALU_ROW(0x00, DO_ADD);
	ALU_ROW(0x08, DO_OR);
	ALU_ROW(0x10, DO_ADC);
	ALU_ROW(0x18, DO_SBB);
	ALU_ROW(0x20, DO_AND);
	ALU_ROW(0x28, DO_SUB);
	ALU_ROW(0x30, DO_XOR);
	ALU_ROW(0x38, DO_CMP);
	case 0x0f: two_bytes(run); break;
	case 0x50 ... 0x57: push(run, run->registers[low]); break;
	case 0x58 ... 0x5f: run->registers[low] = pop(run); break;
	case 0x63: BY_SIZE(extend, run, 32, 1); break;
	case 0x68: push(run, (u64)(s64)(s32)fetch32(run)); break;
	case 0x69: BY_SIZE(multiply_immediate, run, 0); break;
	case 0x6a: push(run, (u64)(s64)(s8)fetch8(run)); break;
	case 0x6b: BY_SIZE(multiply_immediate, run, 1); break;
	case 0x70 ... 0x7f:
		jump_if(run, condition(run->flags, opcode & 15), (s8)fetch8(run));
		break;
	case 0x80: alu_immediate8(run, 0); break;
	case 0x81: BY_SIZE(alu_immediate, run, 0); break;
	case 0x83: BY_SIZE(alu_immediate, run, 1); break;
	case 0x84: test_rm_reg8(run); break;
	case 0x85: BY_SIZE(test_rm_reg, run); break;
	case 0x86: exchange8(run); break;
	case 0x87: BY_SIZE(exchange, run); break;
	case 0x88: move_rm_reg8(run); break;
	case 0x89: BY_SIZE(move_rm_reg, run); break;
	case 0x8a: move_reg_rm8(run); break;
	case 0x8b: BY_SIZE(move_reg_rm, run); break;
	case 0x8d: BY_SIZE(load_address, run); break;
	case 0x8f: read_operand(run, 0); kept = pop(run); write_rm64(run, kept); break;
	case 0x90: break;
	case 0x91 ... 0x97: BY_SIZE(exchange_accumulator, run, low); break;
	case 0x98: BY_SIZE(widen_accumulator, run); break;
	case 0x99: BY_SIZE(sign_of_accumulator, run); break;
	case 0x9c: push(run, run->flags); break;
	case 0x9d: run->flags = (pop(run) & (FLAGS_OF_SUM | FLAG_D)) | 2; break;
	case 0xa4: move_string8(run); break;
	case 0xa5: BY_SIZE(move_string, run); break;
	case 0xa6: compare_string8(run); break;
	case 0xa7: BY_SIZE(compare_string, run); break;
	case 0xa8: test_accumulator8(run); break;
	case 0xa9: BY_SIZE(test_accumulator, run); break;
	case 0xaa: store_string8(run); break;
	case 0xab: BY_SIZE(store_string, run); break;
	case 0xac: load_string8(run); break;
	case 0xad: BY_SIZE(load_string, run); break;
	case 0xae: scan_string8(run); break;
	case 0xaf: BY_SIZE(scan_string, run); break;
	case 0xb0 ... 0xb7: write_register8(run, low, fetch8(run)); break;
	case 0xb8 ... 0xbf: BY_SIZE(move_immediate, run, low); break;
	case 0xc0: shift_group8(run, 1); break;
	case 0xc1: BY_SIZE(shift_group, run, 1); break;
	case 0xc2:
		kept = fetch16(run);
		run->rip = pop(run);
		run->registers[RSP] += kept;
		break;
	case 0xc3: run->rip = pop(run); break;
	case 0xc6: store_immediate8(run); break;
	case 0xc7: BY_SIZE(store_immediate, run); break;
	case 0xc9:
		run->registers[RSP] = run->registers[RBP];
		run->registers[RBP] = pop(run);
		break;
	case 0xd0: shift_group8(run, 0); break;
	case 0xd1: BY_SIZE(shift_group, run, 0); break;
	case 0xd2: shift_group8(run, 2); break;
	case 0xd3: BY_SIZE(shift_group, run, 2); break;
	case 0xe0 ... 0xe2:
		kept = (u64)(s64)(s8)fetch8(run);
		run->registers[RCX]--;
		jump_if(run, run->registers[RCX] != 0 && (opcode == 0xe2 ||
		    ((run->flags & FLAG_Z) != 0) == (opcode == 0xe1)), (s64)kept);
		break;
	case 0xe3: kept = fetch8(run); jump_if(run, run->registers[RCX] == 0, (s8)kept); break;
	case 0xe4 ... 0xe7: case 0xec ... 0xef: stop(run, ANSWER_PORT); break;
	case 0xe8:
		kept = (u64)(s64)(s32)fetch32(run);
		push(run, run->rip);
		run->rip += kept;
		break;
	case 0xe9: kept = (u64)(s64)(s32)fetch32(run); run->rip += kept; break;
	case 0xeb: kept = (u64)(s64)(s8)fetch8(run); run->rip += kept; break;
	case 0xf4: stop(run, ANSWER_HALT); break;
	case 0xf5: run->flags ^= FLAG_C; break;
	case 0xf6: unary_group8(run); break;
	case 0xf7: BY_SIZE(unary_group, run); break;
	case 0xf8: run->flags &= ~(u64)FLAG_C; break;
	case 0xf9: run->flags |= FLAG_C; break;
	case 0xfc: run->flags &= ~(u64)FLAG_D; break;
	case 0xfd: run->flags |= FLAG_D; break;
	case 0xfe: step_group8(run); break;
	case 0xff: group_ff(run); break;
	default: stop(run, ANSWER_INVALID); break;
	}
}

/* Prefixes, in any order, the REX one last. */
static u8 read_prefixes(struct run *run)
{
	u8 byte;

	run->rex = run->has_rex = run->short_operand = 0;
	run->repeat = NO_REPEAT;
	for (;;) {
		byte = fetch8(run);
		if (byte == 0x66)
			run->short_operand = 1;
		else if (byte == REPEAT_EQUAL || byte == REPEAT_NOT_EQUAL)
			run->repeat = byte;
		else
			break;
		if (run->stop != 0)
			return byte;
	}
	if ((byte & 0xf0) == 0x40) {
		run->rex = byte & 15;
		run->has_rex = 1;
		byte = fetch8(run);
	}
	return byte;
}

unsigned interpret(struct guest *guest, u64 budget)
{
	u64 registers[16], kept[16];
	struct run run = { .registers = registers };

	memcpy(registers, guest->registers, sizeof(registers));
	run.flags = guest->flags | 2;
	run.rip = guest->rip;
	while (run.stop == 0 && budget-- != 0) {
		u64 start = run.rip;

		memcpy(kept, registers, sizeof(kept));
		one_byte(&run, read_prefixes(&run));
		if (run.stop != 0 && run.stop != ANSWER_HALT + 1) {
			memcpy(registers, kept, sizeof(kept));
			run.rip = start;
		}
	}
	memcpy(guest->registers, registers, sizeof(registers));
	guest->flags = run.flags;
	guest->rip = run.rip;
	return run.stop == 0 ? ANSWER_BUDGET : run.stop - 1u;
}
