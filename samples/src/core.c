/*
 * The kernel side: lay out what the monitor needs, switch to it, come back.
 *
 * The array in monitor_image.h is never run where it lies: kqemu_init copies it to memory of its
 * own, because the copy is mapped twice and is page aligned.
 */
#include "core.h"

#define PAGE_OF(size) (((size) + PAGE_SIZE - 1) & ~(u64)(PAGE_SIZE - 1))

/* Where the monitor sees its tables. */
#define GDT_ADDRESS 0xf2000000ULL
#define IDT_ADDRESS 0xf2010000ULL
#define LDT_ADDRESS 0xf2011000ULL
#define TSS_ADDRESS 0xf2012000ULL
#define STACK_ADDRESS 0xf3000000ULL

#include "monitor_image.h"

enum { AREA_GDT, AREA_IDT, AREA_LDT, AREA_TSS, AREA_STACK, AREA_GUEST, AREAS };

static const struct area {
	u32 address;
	u32 pages;
} areas[AREAS] = {
	{ GDT_ADDRESS, MONITOR_GDT_SIZE / PAGE_SIZE },
	{ IDT_ADDRESS, 1 },
	{ LDT_ADDRESS, 1 },
	{ TSS_ADDRESS, 1 },
	{ STACK_ADDRESS, 1 },
	{ GUEST_BASE, GUEST_PAGES },
};

/* Intel SDM vol. 3, 4.5: the lowest bits of an entry of a page table. */
#define PAGE_PRESENT 1
#define PAGE_WRITABLE 2
#define PAGE_ADDRESS 0x000ffffffffff000ULL

/* Intel SDM vol. 3, 3.4.5 and 7.2.3: types of descriptors. */
#define DESCRIPTOR_CODE64 0x00af9a000000ffffULL
#define DESCRIPTOR_LDT 0x82
#define DESCRIPTOR_TSS 0x89
#define GATE_INTERRUPT 0x8e
#define TSS_LIMIT 0x67
#define TSS_RSP0 4
#define TSS_PORTS 0x66

#define MSR_FSBASE 0xc0000100
#define MSR_GSBASE 0xc0000101
#define MSR_KGSBASE 0xc0000102

/* What the image's header says, in its order. */
#include "image_header.h"

static u32 header_word(const u8 *image, unsigned number)
{
	return ((const u32 *)(const void *)image)[number];
}

static void *new_pages(unsigned count)
{
	return malloc((unsigned long)count * PAGE_SIZE, M_KQEMU, M_WAITOK | M_ZERO);
}

static u64 *table_at(struct kqemu_session *session, vm_paddr_t physical)
{
	for (unsigned number = 0; number < session->tables; number++)
		if (pmap_kextract((vm_offset_t)session->table[number]) == physical)
			return session->table[number];
	return NULL;
}

static u64 *new_table(struct kqemu_session *session)
{
	if (session->tables == SESSION_PAGES)
		return NULL;
	return session->table[session->tables++] = new_pages(1);
}

/* Maps the page of kernel memory at `kernel` to `address` for the monitor. 0 or ENOMEM. */
static int map_page(struct kqemu_session *session, u64 address, const void *kernel)
{
	u64 *table = session->top;

	for (unsigned shift = 39; shift > 12; shift -= 9) {
		u64 *entry = &table[(address >> shift) & 511];

		if (*entry == 0) {
			u64 *next = new_table(session);

			if (next == NULL)
				return ENOMEM;
			*entry = pmap_kextract((vm_offset_t)next) | PAGE_PRESENT | PAGE_WRITABLE;
		}
		table = table_at(session, *entry & PAGE_ADDRESS);
		if (table == NULL)
			return ENOMEM;
	}
	table[(address >> 12) & 511] =
	    pmap_kextract((vm_offset_t)kernel) | PAGE_PRESENT | PAGE_WRITABLE;
	return 0;
}

static int map_pages(struct kqemu_session *session, u64 address, const void *kernel, u64 size)
{
	for (u64 at = 0; at < size; at += PAGE_SIZE) {
		int error = map_page(session, address + at, (const u8 *)kernel + at);

		if (error != 0)
			return error;
	}
	return 0;
}

static int map_monitor(struct kqemu_session *session, u64 image_size, u64 state_size)
{
	int error = 0;

	error |= map_pages(session, MONITOR_BASE, session->image, image_size + state_size);
	/* The page with the world switch, where the kernel sees it. */
	error |= map_page(session, (u64)session->image, session->image);
	for (unsigned number = 0; number < AREAS; number++)
		error |= map_pages(session, areas[number].address, session->area[number],
		    areas[number].pages * PAGE_SIZE);
	return error;
}

/* Intel SDM vol. 3, figure 7-4: a descriptor of 16 bytes for a system segment. */
static void system_descriptor(u64 words[2], u64 base, u64 limit, u64 type)
{
	words[0] = limit | (base & 0xffffff) << 16 | type << 40 | (base >> 24 & 0xff) << 56;
	words[1] = base >> 32;
}

static void fill_tables(struct kqemu_session *session)
{
	u64 *gdt = session->area[AREA_GDT], *idt = session->area[AREA_IDT];
	u8 *tss = session->area[AREA_TSS];
	u64 stubs = MONITOR_BASE + header_word(session->image, HEADER_INTERRUPTS);

	gdt[MONITOR_CS / 8] = DESCRIPTOR_CODE64;
	system_descriptor(&gdt[MONITOR_LDT / 8], LDT_ADDRESS, PAGE_SIZE - 1, DESCRIPTOR_LDT);
	system_descriptor(session->state->tss_cache, TSS_ADDRESS, TSS_LIMIT, DESCRIPTOR_TSS);
	*(u64 *)(void *)(tss + TSS_RSP0) = STACK_ADDRESS + PAGE_SIZE;
	*(u16 *)(void *)(tss + TSS_PORTS) = TSS_LIMIT + 1;	/* no map of ports behind it */
	for (unsigned vector = 0; vector < 256; vector++) {
		u64 stub = stubs + vector * 16;

		idt[2 * vector] = (stub & 0xffff) | (u64)MONITOR_CS << 16 |
		    (u64)GATE_INTERRUPT << 40 | (stub >> 16 & 0xffff) << 48;
		idt[2 * vector + 1] = stub >> 32;
	}
}

static void fill_state(struct kqemu_session *session, u64 image_size)
{
	struct kqemu_state *state = session->state;
	u64 *stack = (u64 *)session->area[AREA_STACK] + PAGE_SIZE / 8;

	state->monitor_address = MONITOR_BASE + image_size;
	state->kernel_address = (u64)state;
	state->nexus_address = (u64)session->image;
	state->monitor_idt.limit = 256 * 16 - 1;
	state->monitor_idt.base = IDT_ADDRESS;
	state->monitor_gdt.limit = MONITOR_GDT_SIZE - 1;
	state->monitor_gdt.base = GDT_ADDRESS;
	state->monitor_ldt_sel = MONITOR_LDT;
	state->monitor_tr_sel = MONITOR_TR;
	state->monitor_cs_sel = MONITOR_CS;
	state->monitor_ds_sel = 0;
	state->monitor_dr7 = 0;
	state->monitor_jump = MONITOR_BASE + header_word(session->image, HEADER_ENTRY_END);
#ifdef SAMPLE_HOST_JUMP
	state->host_jump = (u64)session->image + header_word(session->image, HEADER_EXIT_END);
#endif
	state->monitor_cr3 = pmap_kextract((vm_offset_t)session->top);
	/* The first entry pops six registers and returns to monitor_exec, as a call would leave it. */
	stack[-1] = 0;
	stack[-2] = MONITOR_BASE + header_word(session->image, HEADER_EXEC);
	state->monitor_rsp = STACK_ADDRESS + PAGE_SIZE - 8 * 8;
}

void *kqemu_guest_memory(struct kqemu_session *session)
{
	return session->area[AREA_GUEST];
}

#ifdef SAMPLE_FIX_AFTER
static struct kqemu_global *global;

/* The first guest allocates it, the last one frees it; the front end holds Giant. */
static struct kqemu_global *take_global(void)
{
	if (global == NULL) {
		global = malloc(sizeof(*global), M_KQEMU, M_WAITOK | M_ZERO);
		global->lock = 1;
	}
	global->guests++;
	return global;
}

static void drop_global(void)
{
	if (--global->guests == 0) {
		free(global, M_KQEMU);
		global = NULL;
	}
}
#endif

struct kqemu_session *kqemu_init(void)
{
	struct kqemu_session *session;
	u64 image_size = PAGE_OF(sizeof(monitor_code)), state_size = PAGE_OF(sizeof(*session->state));

	session = malloc(sizeof(*session), M_KQEMU, M_WAITOK | M_ZERO);
#ifdef SAMPLE_FIX_AFTER
	session->global = take_global();
#endif
	session->image = malloc(image_size + state_size, M_KQEMU, M_WAITOK | M_ZERO);
	memcpy(session->image, monitor_code, sizeof(monitor_code));
	session->state = (struct kqemu_state *)(void *)(session->image + image_size);
	session->top = new_table(session);
	for (unsigned number = 0; number < AREAS; number++)
		session->area[number] = new_pages(areas[number].pages);
	if (map_monitor(session, image_size, state_size) != 0) {
		printf("kqemu: out of page tables\n");
		kqemu_delete(session);
		return NULL;
	}
	fill_tables(session);
	fill_state(session, image_size);
	return session;
}

void kqemu_delete(struct kqemu_session *session)
{
	while (session->tables != 0)
		free(session->table[--session->tables], M_KQEMU);
	for (unsigned number = 0; number < AREAS; number++)
		free(session->area[number], M_KQEMU);
	free(session->image, M_KQEMU);
#ifdef SAMPLE_FIX_AFTER
	drop_global();
#endif
	free(session, M_KQEMU);
}

static u64 read_msr(u32 number)
{
	u32 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
	return low | (u64)high << 32;
}

static void write_msr(u32 number, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(number), "a"((u32)value), "d"((u32)(value >> 32)));
}

/* Segment registers that the switch leaves to C, and the bases that go with them. */
struct segments {
	u16 ds, es, fs, gs;
	u64 fs_base, gs_base, other_gs_base;
};

static void save_segments(struct segments *kept)
{
	__asm__ volatile("mov %%ds, %0" : "=m"(kept->ds));
	__asm__ volatile("mov %%es, %0" : "=m"(kept->es));
	__asm__ volatile("mov %%fs, %0" : "=m"(kept->fs));
	__asm__ volatile("mov %%gs, %0" : "=m"(kept->gs));
	kept->fs_base = read_msr(MSR_FSBASE);
	kept->gs_base = read_msr(MSR_GSBASE);
	kept->other_gs_base = read_msr(MSR_KGSBASE);
}

/* Loading a selector of FS or GS changes its base; the bases come last, therefore. */
static void restore_segments(const struct segments *kept)
{
	__asm__ volatile("mov %0, %%ds" : : "m"(kept->ds));
	__asm__ volatile("mov %0, %%es" : : "m"(kept->es));
	__asm__ volatile("mov %0, %%fs" : : "m"(kept->fs));
	__asm__ volatile("mov %0, %%gs" : : "m"(kept->gs));
	write_msr(MSR_FSBASE, kept->fs_base);
	write_msr(MSR_GSBASE, kept->gs_base);
	write_msr(MSR_KGSBASE, kept->other_gs_base);
}

#ifdef SAMPLE_FIX_AFTER
/* Taken by who makes 0 of its 1; the others make it negative, and wait until it is positive. */
static inline __attribute__((always_inline)) void spin_lock(u8 *lock)
{
	__asm__ volatile("1: lock; decb %0; jns 3f\n"
			 "2: pause; cmpb $0, %0; jle 2b; jmp 1b\n"
			 "3:"
			 : "+m"(*lock) : : "memory", "cc");
}

static inline __attribute__((always_inline)) void spin_unlock(u8 *lock)
{
	u8 free = 1;

	__asm__ volatile("xchgb %0, %1" : "+q"(free), "+m"(*lock) : : "memory");
}
#endif

/* One visit to the monitor, on this CPU and without interrupts. */
void kqemu_exec(struct kqemu_session *session)
{
	void (*kernel2monitor)(struct kqemu_state *) = (void (*)(struct kqemu_state *))(void *)
	    (session->image + header_word(session->image, HEADER_ENTRY));
	struct segments kept;
	u64 flags;

	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
#ifdef SAMPLE_FIX_BEFORE
	SAMPLE_FIX_BEFORE();
#endif
	save_segments(&kept);
	kernel2monitor(session->state);
	restore_segments(&kept);
#ifdef SAMPLE_FIX_AFTER
	spin_lock(&session->global->lock);
	SAMPLE_FIX_AFTER();
	spin_unlock(&session->global->lock);
#endif
	__asm__ volatile("pushq %0; popfq" : : "r"(flags) : "memory", "cc");
}

/* Serves one request of the front end; returns one of the ANSWER_ numbers. */
int kqemu_run(struct kqemu_session *session, u32 request, u64 budget)
{
	session->state->request = request;
	session->state->budget = budget;
	kqemu_exec(session);
	return (int)session->state->answer;
}
