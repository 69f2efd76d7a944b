/*
 * The sound fix: before a CPU enters the monitor for the first time, move it to a GDT of its own,
 * with its own TSS in the slot. After that there is nothing to share.
 */
#include "core.h"
#include "tss.h"

#define CPUS 16
#define GDT_ENTRIES 16

struct table_pointer {
	u16 limit;
	u64 base;
} __attribute__((packed));

static u64 own_gdt[CPUS][GDT_ENTRIES];

void SAMPLE_FIX_BEFORE(void)
{
	u32 cpu = this_cpu();
	u64 *table = own_gdt[cpu % CPUS], base = (u64)&common_tss[cpu];
	struct table_pointer pointer;

	if (mp_ncpus == 1 || table[GPROC0_SEL] != 0)
		return;
	__asm__ volatile("sgdt %0" : "=m"(pointer));
	if (pointer.limit >= sizeof(own_gdt[0]))
		return;
	memcpy(table, gdt, pointer.limit + 1ul);
	/* Intel SDM vol. 3, figure 7-4: a free 64-bit TSS of 0x68 bytes. */
	table[GPROC0_SEL] = 0x67 | (base & 0xffffff) << 16 | 0x89ULL << 40 | (base >> 24 & 0xff) << 56;
	table[GPROC0_SEL + 1] = base >> 32;
	pointer.base = (u64)table;
	__asm__ volatile("lgdt %0" : : "m"(pointer) : "memory");
	load_task_register(GPROC0_SEL * 8);
}
