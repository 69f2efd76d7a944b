/*
 * kqemu's shape on Linux: the same core, with a front end of another kernel. Linux gives every CPU
 * a GDT of its own, so there is nothing to repair.
 */
#include "core.h"

#define MODINFO(unique, text)						\
	static const char unique[] __attribute__((section(".modinfo"), used)) = text

MODINFO(modinfo_license, "license=Dual BSD/GPL");
MODINFO(modinfo_name, "name=kqemu");
MODINFO(modinfo_magic, "vermagic=2.6.24 SMP mod_unload ");

void *vmalloc(unsigned long size);
void vfree(const void *address);
unsigned long vmalloc_to_pfn(const void *address);
int misc_register(void *device);
int misc_deregister(void *device);

int init_module(void);
void cleanup_module(void);

/* The three fields that matter here, at the places where 2.6.24 has them. */
struct module {
	u8 state_and_list[24];
	char name[56];
	u8 parameters[240];
	int (*init)(void);
	u8 sections[160];
	void (*exit)(void);
};

struct module __this_module __attribute__((section(".gnu.linkonce.this_module"))) = {
	.name = "kqemu",
	.init = init_module,
	.exit = cleanup_module,
};

static struct {
	int minor;
	const char *name;
	const void *operations;
} kqemu_device = { 255, "kqemu", NULL };

/* Under these names core.c, compiled for Linux, asks for memory. */
void *kqemu_vmalloc(unsigned long size, struct malloc_type *type, int flags)
{
	void *made = vmalloc(size);

	(void)type;
	if (made != NULL && (flags & M_ZERO))
		memset(made, 0, size);
	return made;
}

void kqemu_vfree(void *address, struct malloc_type *type)
{
	(void)type;
	vfree(address);
}

vm_paddr_t kqemu_physical(vm_offset_t address)
{
	return vmalloc_to_pfn((const void *)address) << 12 | (address & 0xfff);
}

struct malloc_type M_KQEMU[1];
static struct kqemu_session *session;

int init_module(void)
{
	session = kqemu_init();
	if (session == NULL)
		return -ENOMEM;
	kqemu_run(session, REQUEST_RESET, 0);
	return misc_register(&kqemu_device);
}

void cleanup_module(void)
{
	misc_deregister(&kqemu_device);
	kqemu_delete(session);
}
