/* What kqemu_init and kqemu_exec prepare: a copy of the image, the state, the monitor's tables. */
#include "machine.h"

#define CODE64 0x00af9b000000ffffULL
#define TABLE 7			/* present, writable, user */
#define MONITOR_STACK_TOP (PAGE - 0x100)

struct tss monitor_tss[MOST_CPUS] __attribute__((aligned(128)));
static u8 monitor_stacks[MOST_CPUS][2 * PAGE] __attribute__((aligned(4096)));
static u64 monitor_idts[MOST_CPUS][512] __attribute__((aligned(4096)));
static u64 pool = POOL_PHYS;

void *new_pages(u64 size)
{
	u64 made = __atomic_fetch_add(&pool, (size + PAGE - 1) & ~(u64)(PAGE - 1), __ATOMIC_SEQ_CST);

	if (pool > POOL_END)
		end_run("the machine has too little memory for this module");
	return memset((void *)made, 0, size);
}

static u64 *table_below(u64 *entry)
{
	if (*entry == 0)
		*entry = (u64)new_pages(PAGE) | TABLE;
	return (u64 *)(*entry & ~0xfffULL);
}

static void map(u64 *top, u64 address, u64 physical, u64 size)
{
	for (u64 at = 0; at < size; at += PAGE) {
		u64 *table = top;

		for (unsigned shift = 39; shift > 12; shift -= 9)
			table = table_below(&table[(address + at) >> shift & 511]);
		table[(address + at) >> 12 & 511] = (physical + at) | 3;
	}
}

static void put(u64 state, unsigned field, u64 value, unsigned size)
{
	__builtin_memcpy((u8 *)state + job[field], &value, size);
}

static void put_table(u64 state, unsigned field, u64 base, u16 limit)
{
	put(state, field, limit, 2);
	__builtin_memcpy((u8 *)state + job[field] + 2, &base, 8);
}

static void fill_tables(const struct cpu *cpu, u64 *table, u64 *ldt)
{
	u64 base = MONITOR_TABLES + MONITOR_GDT_SIZE;

	for (unsigned word = 0; word < 512; word++)
		ldt[word] = 0;
	table[GUEST_DATA / 8] = 0x12cff3345678ffffULL;
	table[MONITOR_CS / 8] = CODE64;
	table[MONITOR_LDT / 8] = 0xff | (base & 0xffffff) << 16 | 0x82ULL << 40 | (base >> 24) << 56;
	/* The guest's own, where the monitor's TSS goes for a moment: it must be put back. */
	table[MONITOR_TR / 8] = 0x3837363534333231ULL;
	table[MONITOR_TR / 8 + 1] = 0x403f3e3d3c3b3a39ULL;
	for (unsigned vector = 0; vector < 32; vector++)
		set_gate(monitor_idts[cpu->number], vector, (u64)fault_stubs + 16 * vector, MONITOR_CS, 0, 0);
}

static void fill_state(const struct cpu *cpu, u64 state, u64 copy, u64 top, u64 stack)
{
	u64 tss = (u64)&monitor_tss[cpu->number];

	memset((void *)state, 0x5a, job[JOB_STATE_SIZE]);
	put(state, JOB_MONITOR_ADDRESS, cpu->state_monitor, 8);
	put(state, JOB_KERNEL_ADDRESS, cpu->state_kernel, 8);
	put_table(state, JOB_MONITOR_IDT, (u64)monitor_idts[cpu->number], 4095);
	put_table(state, JOB_MONITOR_GDT, MONITOR_TABLES, MONITOR_GDT_SIZE - 1);
	put(state, JOB_MONITOR_LDT_SEL, MONITOR_LDT, 2);
	put(state, JOB_MONITOR_DS_SEL, 0, 2);
	put(state, JOB_MONITOR_JUMP, MONITOR_BASE + job[JOB_MONITOR_SIDE], 8);
	put(state, JOB_MONITOR_CS_SEL, MONITOR_CS, 2);
	put(state, JOB_MONITOR_TR_SEL, MONITOR_TR, 2);
	put(state, JOB_MONITOR_CR3, top, 8);
	put(state, JOB_MONITOR_DR7, MONITOR_DR7_VALUE, 8);
	put(state, JOB_MONITOR_RSP, stack, 8);
	put(state, JOB_NEXUS_ADDRESS, DIRECT(copy), 8);
	put(state, JOB_TSS_CACHE, 0x67 | (tss & 0xffffff) << 16 | 0x89ULL << 40 | (tss >> 24) << 56, 8);
	__builtin_memset((u8 *)state + job[JOB_TSS_CACHE] + 8, 0, 8);
}

/* The monitor sees its image, its tables, this image and its data, and the nexus page: no more. */
void make_guest(struct cpu *cpu)
{
	u64 image_size = (job[JOB_IMAGE_SIZE] + PAGE - 1) & ~(u64)(PAGE - 1);
	u64 state_size = (job[JOB_STATE_SIZE] + 2 * PAGE - 1) & ~(u64)(PAGE - 1);
	u64 copy = (u64)new_pages(image_size + state_size), state = copy + image_size;
	u64 *tables = new_pages(MONITOR_GDT_SIZE + PAGE), *top = new_pages(PAGE);
	u64 *stack = (u64 *)(monitor_stacks[cpu->number] + PAGE + MONITOR_STACK_TOP);
	const u8 *image = (const u8 *)(MODULE_PHYS + job[JOB_IMAGE_AT]);

	memcpy((void *)copy, image, job[JOB_IMAGE_SIZE]);
	cpu->state_kernel = DIRECT(state);
	cpu->state_monitor = MONITOR_BASE + image_size;
	cpu->entry = DIRECT(copy) + job[JOB_KERNEL_TO_MONITOR];
	cpu->leave = MONITOR_BASE + job[JOB_MONITOR_TO_KERNEL];
	map(top, MONITOR_BASE, copy, image_size + state_size);
	map(top, MONITOR_TABLES, (u64)tables, MONITOR_GDT_SIZE + PAGE);
	map(top, DIRECT(copy), copy, PAGE);
	table_below(table_below(&top[0]))[0] = 0x83;	/* this image and its data: 4 MB */
	table_below(table_below(&top[0]))[1] = 0x200083;
	fill_tables(cpu, tables, tables + MONITOR_GDT_SIZE / 8);
	monitor_tss[cpu->number].rsp[0] = (u64)monitor_stacks[cpu->number] + PAGE;
	monitor_tss[cpu->number].ist[0] = (u64)monitor_stacks[cpu->number] + PAGE;
	monitor_tss[cpu->number].ports = sizeof(struct tss);
	for (unsigned word = 0; word < 6; word++)
		stack[word] = (u64)cpu;
	stack[6] = (u64)guest;
	fill_state(cpu, state, copy, (u64)top, (u64)stack);
}

/*
 * Before a guest leaves: wait a little for the others, so that all leave at about the same time,
 * then for a random while, so that they do so in every order.
 */
void guest_turn(struct cpu *cpu)
{
	static volatile u64 arrived;
	u64 number = job[JOB_CPUS], ticket = __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
	u64 last = ticket - ticket % number + number, begin = ticks();

	if (job[JOB_DELAY] == 0)
		return;
	while (arrived < last && ticks() - begin < job[JOB_PATIENCE])
		;
	for (u64 spins = random_of(cpu) % job[JOB_DELAY]; spins > 0; spins--)
		__asm__ volatile("" : : : "memory");
}
