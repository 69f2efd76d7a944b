/* What the fixes know of the kernel's segments, FreeBSD/amd64 6 and 7. */
#ifndef TSS_H
#define TSS_H

#include "types.h"

#define GPROC0_SEL 6

#ifndef SAMPLE_CPUID
#define SAMPLE_CPUID 0x34	/* offset of cpuid in struct pcpu */
#endif

struct soft_segment {
	u64 base, limit;
	u64 type_and_flags;
};
struct tss {
	u8 bytes[104];
};

extern struct tss common_tss[];
extern struct soft_segment gdt_segs[];
extern u64 gdt[];
extern int mp_ncpus;
void ssdtosyssd(struct soft_segment *, u64 *);

static inline u32 this_cpu(void)
{
	u32 number;

	__asm__ volatile("movl %%gs:%c1, %0" : "=r"(number) : "i"(SAMPLE_CPUID));
	return number;
}

static inline void load_task_register(u16 selector)
{
	__asm__ volatile("ltr %0" : : "r"(selector) : "memory");
}

#endif
