/* A FreeBSD/amd64 kernel of 2008, as far as a world switch can see it. */
#include "machine.h"

/* Intel SDM vol. 3, 3.4.5: descriptors, accessed already, so that loading them writes nothing. */
#define CODE64 0x00af9b000000ffffULL
#define DATA 0x00cf93000000ffffULL
#define USER_CODE64 0x00affb000000ffffULL
#define USER_DATA 0x00cff3000000ffffULL

#define DOUBLE_FAULT 8

#define HOST_CODE (job[JOB_TR] == 0x30 ? 0x08 : 0x20)
#define HOST_DATA (HOST_CODE + 8)
#define HOST_USER_DATA (job[JOB_TR] == 0x30 ? 0x20 : 0x38)
#define HOST_USER_CODE (HOST_USER_DATA + 8)

/* Not at the start of a page: the low bytes of the TSSs' addresses differ from each other. */
struct tss common_tss[MOST_CPUS] __attribute__((section(".bss.tss")));
struct soft_segment gdt_segs[16];
u64 gdt[MOST_CPUS][16] __attribute__((aligned(4096)));
int mp_ncpus;
static u64 own_gdt[MOST_CPUS][16] __attribute__((aligned(16)));
static u64 idt[512] __attribute__((aligned(4096)));
static u8 pcpus[MOST_CPUS][PAGE] __attribute__((aligned(4096)));
static u8 ist_stacks[MOST_CPUS][PAGE] __attribute__((aligned(4096)));
static u8 double_fault_stacks[MOST_CPUS][PAGE] __attribute__((aligned(4096)));
static u8 rsp0_stacks[MOST_CPUS][PAGE] __attribute__((aligned(4096)));
static u8 user_stacks[MOST_CPUS][PAGE] __attribute__((aligned(4096)));

u64 pcpu_of(u64 number)
{
	return KERNEL(pcpus[number]);
}

static u64 *gdt_of(const struct cpu *cpu)
{
	return gdt[job[JOB_PRIVATE_GDT] ? cpu->number : 0];
}

u64 descriptor_of(const struct cpu *cpu)
{
	return (u64)gdt_of(cpu) + job[JOB_TR];
}

/* Intel SDM vol. 3, figure 7-4: a free 64-bit TSS. */
static void write_tss(u64 *slot, u64 base)
{
	slot[0] = 0x67 | (base & 0xffffff) << 16 | 0x89ULL << 40 | (base >> 24 & 0xff) << 56;
	slot[1] = base >> 32;
}

static void fill_gdt(u64 *table)
{
	/* What kqemu has no business with is junk: whoever writes there is seen, zeros too. */
	for (unsigned entry = 1; entry < 16; entry++)
		if (entry != job[JOB_TR] / 8 && entry != job[JOB_TR] / 8 + 1)
			table[entry] = 0x5a5a005a5a5a5a00ULL | entry;
	table[HOST_CODE / 8] = CODE64;
	table[HOST_DATA / 8] = DATA;
	table[HOST_USER_DATA / 8] = USER_DATA;
	table[HOST_USER_CODE / 8] = USER_CODE64;
}

static void load_gdt(u64 base)
{
	struct table_register table = { GDT_LIMIT, base };

	__asm__ volatile("lgdt %0" : : "m"(table) : "memory");
}

static void load_task_register(void)
{
	__asm__ volatile("ltr %w0" : : "r"((u32)job[JOB_TR]) : "memory");
}

/* This CPU's TSS by way of a GDT of its own, so that nobody else notices. */
void own_tss(struct cpu *cpu)
{
	u64 *table = own_gdt[cpu->number];

	fill_gdt(table);
	write_tss(&table[job[JOB_TR] / 8], KERNEL(&common_tss[cpu->number]));
	load_gdt(KERNEL(table));
	load_task_register();
	load_gdt(KERNEL(gdt_of(cpu)));
}

/* One page: curthread, cpuid, its mask and the others' where they belong, junk elsewhere. */
static void fill_pcpu(u64 number)
{
	u32 *page = (u32 *)pcpus[number], all = (u32)(1ULL << job[JOB_CPUS]) - 1;
	u64 at = job[JOB_CPUID] / 4;

	for (unsigned word = 0; word < PAGE / 4; word++)
		page[word] = 0xa5000000 | (u32)number << 16 | word * 4;
	page[at] = (u32)number;
	page[at + 1] = 1U << number;
	page[at + 2] = all & ~(1U << number);
}

void set_gate(u64 *table, unsigned vector, u64 handler, u16 selector, unsigned ist, unsigned level)
{
	table[2 * vector] = (handler & 0xffff) | (u64)selector << 16 | (u64)ist << 32 |
	    (u64)(0x8e | level << 5) << 40 | (handler >> 16 & 0xffff) << 48;
	table[2 * vector + 1] = handler >> 32;
}

static void fill_idt(void)
{
	for (unsigned vector = 0; vector < 32; vector++)
		set_gate(idt, vector, (u64)fault_stubs + 16 * vector, HOST_CODE, 0, 0);
	set_gate(idt, VECTOR_IST, (u64)seen, HOST_CODE, 1, 0);
	set_gate(idt, VECTOR_RSP0, (u64)seen, HOST_CODE, 0, 3);
	set_gate(idt, VECTOR_TIMER, (u64)clock_entry, HOST_CODE, 0, 0);
	set_gate(idt, VECTOR_CALL, (u64)call_entry, HOST_CODE, 0, 3);
	set_gate(idt, VECTOR_SPURIOUS, (u64)spurious_entry, HOST_CODE, 0, 0);
	set_gate(idt, DOUBLE_FAULT, (u64)fault_stubs + 16 * DOUBLE_FAULT, HOST_CODE, 2, 0);
}

static void load_idt(void)
{
	struct table_register table = { sizeof(idt) - 1, KERNEL(idt) };

	__asm__ volatile("lidt %0" : : "m"(table) : "memory");
}

/* Segments, tables and bases as the kernel has them on this CPU; not TR. */
void reload_host(struct cpu *cpu)
{
	u64 zero = 0;

	__asm__ volatile("mov %0, %%cr0" : : "r"((u64)KERNEL_CR0) : "memory");
	__asm__ volatile("mov %0, %%cr4" : : "r"((u64)KERNEL_CR4) : "memory");
	__asm__ volatile("mov %0, %%dr7" : : "r"(zero));
	load_gdt(KERNEL(gdt_of(cpu)));
	load_idt();
	__asm__ volatile("lldt %w0" : : "r"(0));
	load_code_segment(HOST_CODE);
	load_data_segments(HOST_DATA);
	write_msr(MSR_FSBASE, 0x800500000);
	write_msr(MSR_GSBASE, pcpu_of(cpu->number));
}

/* What init_secondary does on each CPU in turn: its TSS into the slot that they may share, ltr. */
void kernel_boot(struct cpu *cpu)
{
	u64 number = cpu->number, base = KERNEL(&common_tss[number]);

	if (number == 0) {
		mp_ncpus = (int)job[JOB_CPUS];
		fill_idt();
	}
	fill_gdt(gdt_of(cpu));
	fill_pcpu(number);
	common_tss[number].rsp[0] = KERNEL(rsp0_stacks[number] + PAGE);
	common_tss[number].ist[0] = KERNEL(ist_stacks[number] + PAGE);
	common_tss[number].ist[1] = KERNEL(double_fault_stacks[number] + PAGE);
	common_tss[number].reserved = 0x5a5a5a5a;
	common_tss[number].reserved2 = common_tss[number].reserved3 = 0x5a5a5a5a5a5a5a5a;
	common_tss[number].ports = sizeof(struct tss);
	cpu->user_cs = HOST_USER_CODE | 3;
	cpu->user_ss = HOST_USER_DATA | 3;
	cpu->kernel_ss = HOST_DATA;
	cpu->user_stack = (u64)user_stacks[number] + PAGE;
	reload_host(cpu);
	gdt_segs[job[JOB_TR] / 8].base = base;
	write_tss(&gdt_of(cpu)[job[JOB_TR] / 8], base);
	load_task_register();
}

/* On which CPU's kernel stack it is, or WHOSE_NOBODY. */
u64 stack_owner(u64 rsp)
{
	u64 page = (rsp - KERNEL(rsp0_stacks)) / PAGE;

	return page < MOST_CPUS ? page : WHOSE_NOBODY;
}

/* Functions that a module's source fix calls. */
void ssdtosyssd(const struct soft_segment *from, u64 *to)
{
	write_tss(to, from->base);
}

void _mtx_lock_spin_flags(volatile u32 *lock)
{
	while (__atomic_exchange_n(lock, 1, __ATOMIC_SEQ_CST) != 0)
		while (*lock != 0)
			keep_waiting();
}

void _mtx_unlock_spin_flags(volatile u32 *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}
