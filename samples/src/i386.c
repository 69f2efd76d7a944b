/*
 * kqemu's shape on FreeBSD/i386. That kernel has always given every CPU its own GDT, so the same
 * reload of TR is right there. Reduced to what tells such a file from its amd64 brother.
 */
#include "freebsd.h"

struct table_pointer {
	u16 limit;
	u32 base;
} __attribute__((packed));

struct kqemu_host {
	struct table_pointer gdt, idt;
	u16 task, local;
};

int kqemu_init(void);
void kqemu_exec(struct kqemu_host *);

static struct kqemu_host host;

void kqemu_exec(struct kqemu_host *kept)
{
	u32 flags;

	__asm__ volatile("pushf; pop %0; cli" : "=r"(flags) : : "memory");
	__asm__ volatile("str %0" : "=m"(kept->task));
	__asm__ volatile("sidt %0" : "=m"(kept->idt));
	__asm__ volatile("sgdt %0" : "=m"(kept->gdt));
	__asm__ volatile("sldt %0" : "=m"(kept->local));
	/* The monitor would run here. */
	__asm__ volatile("lldt %0" : : "m"(kept->local));
	*(volatile u32 *)(kept->gdt.base + (kept->task & 0xfff8) + 4) &= 0xfffffdff;
	__asm__ volatile("ltr %0" : : "m"(kept->task));
	__asm__ volatile("push %0; popf" : : "r"(flags) : "memory", "cc");
}

int kqemu_init(void)
{
	kqemu_exec(&host);
	return host.gdt.base == 0 ? ENODEV : 0;
}

static int kqemu_modevent(struct module *module, int event, void *argument)
{
	(void)module, (void)argument;
	switch (event) {
	case MOD_LOAD:
		printf("kqemu: sample, not for use\n");
		return kqemu_init();
	case MOD_UNLOAD:
		return 0;
	default:
		return EOPNOTSUPP;
	}
}

DEV_MODULE(kqemu, kqemu_modevent, NULL);
MODULE_VERSION(kqemu, 1);
