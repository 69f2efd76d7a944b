/*
 * The first fix of 2008, under the name that SAMPLE_FIX_AFTER gives: when the world switch is back,
 * write this CPU's TSS into the slot that all CPUs share, and load TR from it once more. Who calls it
 * holds a lock meanwhile. The switch itself has by then loaded whatever was there, without one.
 */
#include "core.h"
#include "tss.h"

void SAMPLE_FIX_AFTER(void)
{
	gdt_segs[GPROC0_SEL].base = (u64)&common_tss[this_cpu()];
	ssdtosyssd(&gdt_segs[GPROC0_SEL], &gdt[GPROC0_SEL]);
	load_task_register(GPROC0_SEL * 8);
}
