/* What one round left behind: the registers, and the TSS that interrupts really go through. */
#include "machine.h"

#define FRAME 40		/* ss, rsp, rflags, cs, rip: Intel SDM vol. 3, 6.14.2 */
#define FLAGS_THAT_COUNT 0x4700	/* TF, IF, DF, NT */

/* Whose stack it is: a CPU's number, or one of WHOSE_. */
static u64 owner(u64 rsp, int ist)
{
	for (u64 number = 0; number < job[JOB_CPUS]; number++) {
		const struct tss *tss = &common_tss[number], *monitor = &monitor_tss[number];

		if (rsp == (ist ? tss->ist[0] : tss->rsp[0]) - FRAME)
			return number;
		if (rsp == (ist ? monitor->ist[0] : monitor->rsp[0]) - FRAME)
			return WHOSE_MONITOR;
	}
	return WHOSE_NOBODY;
}

/* 1 if this CPU's own TSS is loaded. */
int observe(struct cpu *cpu)
{
	u64 ist, rsp0;

	see_ist(cpu);
	ist = owner(cpu->seen_rsp, 1);
	see_rsp0(cpu);
	rsp0 = owner(cpu->seen_rsp, 0);
	cpu->ist_wrong += ist != cpu->number;
	cpu->rsp0_wrong += rsp0 != cpu->number;
	if (ist == cpu->number && rsp0 == cpu->number)
		return 1;
	cpu->loaded = ist != cpu->number ? ist : rsp0;
	return 0;
}

/* Bits of struct cpu's `wrong`: what the switch did not bring back. */
enum { CR0 = 1, CR3 = 2, CR4 = 4, DR7 = 8, FLAGS = 16, CS = 32, SS = 64, GDTR = 128, LDTR = 256, TR = 512 };

static u64 wrong_tables(const struct cpu *cpu)
{
	struct table_register table;
	u16 ldt, task;

	__asm__ volatile("sgdt %0" : "=m"(table));
	__asm__ volatile("sldt %0" : "=r"(ldt));
	__asm__ volatile("str %0" : "=r"(task));
	return (table.base != KERNEL_BASE + descriptor_of(cpu) - job[JOB_TR] ||
	    table.limit != GDT_LIMIT ? GDTR : 0) | (ldt != 0 ? LDTR : 0) | (task != job[JOB_TR] ? TR : 0);
}

static u64 wrong_controls(const struct cpu *cpu, u64 cr0)
{
	u64 now0, now3, now4, dr7;

	__asm__ volatile("mov %%cr0, %0" : "=r"(now0));
	__asm__ volatile("mov %%cr3, %0" : "=r"(now3));
	__asm__ volatile("mov %%cr4, %0" : "=r"(now4));
	__asm__ volatile("mov %%dr7, %0" : "=r"(dr7));
	return (now0 != cr0 ? CR0 : 0) | (now3 != (u64)host_pml4 ? CR3 : 0) |
	    (now4 != KERNEL_CR4 ? CR4 : 0) | ((dr7 & 0xff) != 0 ? DR7 : 0) |
	    ((cpu->after_flags & FLAGS_THAT_COUNT) != 0 ? FLAGS : 0) |
	    (cpu->after_cs != cpu->kernel_ss - 8 ? CS : 0) | (cpu->after_ss != cpu->kernel_ss ? SS : 0);
}

/* 1 if the switch brought back everything that kqemu_exec does not restore itself. */
int came_back(struct cpu *cpu, u64 cr0)
{
	u64 wrong = wrong_controls(cpu, cr0) | wrong_tables(cpu);
	int registers = cpu->after_rsp == cpu->given_rsp;

	for (unsigned number = 0; number < 6; number++)
		registers &= cpu->after[number] == cpu->given[number];
	cpu->registers_wrong += !registers;
	cpu->controls_wrong += wrong != 0;
	cpu->wrong |= wrong;
	return wrong == 0;
}
