/*
 * The module's own C side: it is initialised as the kernel does it, and every CPU opens the device
 * and calls its ioctl with a small guest, against the functions here, which stand for the kernel's.
 */
#include "machine.h"

/* sys/sys/kernel.h, sys/sys/module.h, sys/sys/conf.h: as far as they are used, 6.x to 8.x. */
struct sysinit {
	u32 subsystem, order;
	void (*function)(const void *);
	const void *argument;
};
struct moduledata {
	const char *name;
	int (*handler)(void *module, int event, void *argument);
	void *argument;
};
struct cdevsw {
	int version;
	u32 flags;
	const char *name;
	int (*open)(void *device, int flags, int type, void *thread);
	void *fdopen, *close, *read, *write;
	int (*ioctl)(void *device, u64 command, void *data, int flags, void *thread);
};
struct lock {
	volatile u32 held;
	u32 unused[15];
};
struct thread {
	struct lock *td_lock;
	struct lock lock;
	u8 unused[PAGE - 8 - sizeof(struct lock)];
};

/* The samples' requests: a page to write, a budget to run, where the answer goes. */
#define KQEMU_RUN 0x80107101UL
#define KQEMU_RESET 0x80107102UL
#define KQEMU_WRITE 0x80107105UL
#define KQEMU_ANSWER 0x80107106UL
#define ANSWER_HALT 1
#define BUDGET 1000

struct lock Giant, sched_lock;
u64 sysctl__debug_children;
static struct cdevsw *device_switch;
static u8 devices[MOST_CPUS][PAGE] __attribute__((aligned(4096)));
static struct thread threads[MOST_CPUS];

/* mov $100, %ecx; 1: dec %ecx; jnz 1b; hlt */
static const u8 program[PAGE] = { 0xb9, 100, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xf4 };

void _mtx_lock_flags(struct lock *lock) { _mtx_lock_spin_flags(&lock->held); }
void _mtx_unlock_flags(struct lock *lock) { _mtx_unlock_spin_flags(&lock->held); }
void _thread_lock_flags(struct thread *thread) { _mtx_lock_spin_flags(&thread->td_lock->held); }
void mi_switch(void) {}
void uio_yield(void) {}
void mtx_init(void) {}
void mtx_destroy(void) {}
void malloc_init(void) {}
void malloc_uninit(void) {}
void free(void) {}
void destroy_dev(void) {}
int destroy_dev_sched(void) { return 0; }
void drain_dev_clone_events(void) {}
void *eventhandler_register(void) { return &Giant; }
void eventhandler_deregister(void) {}
void *eventhandler_find_list(void) { return &Giant; }
int sysctl_handle_int(void) { return 0; }
int printf(void) { return 0; }

/* Pages, zeroed, where the direct map has them. */
void *malloc(u64 size)
{
	return (void *)DIRECT(new_pages(size));
}

u64 pmap_kextract(u64 address)
{
	return address >= KERNEL_BASE ? address - KERNEL_BASE :
	    address >= DIRECT_BASE ? address - DIRECT_BASE : address;
}

void *memcpy(void *to, const void *from, u64 size)
{
	for (u64 at = 0; at < size; at++)
		((u8 *)to)[at] = ((const u8 *)from)[at];
	return to;
}

void *memset(void *to, int value, u64 size)
{
	for (u64 at = 0; at < size; at++)
		((u8 *)to)[at] = (u8)value;
	return to;
}

int copyin(const void *user, void *kernel, u64 size)
{
	memcpy(kernel, user, size);
	return 0;
}

int copyout(const void *kernel, void *user, u64 size)
{
	memcpy(user, kernel, size);
	return 0;
}

int strcmp(const char *one, const char *other)
{
	for (; *one != 0 && *one == *other; one++)
		other++;
	return *one - *other;
}

void *make_dev(struct cdevsw *given)
{
	device_switch = given;
	return devices[0];
}

void module_register_init(const struct moduledata *module)
{
	if (module->handler(0, 0, module->argument) != 0)	/* MOD_LOAD */
		end_run("the module does not want to be loaded");
}

/* What the kernel does with set_sysinit_set; on CPU 0, before the others need the device. */
void load_driver(void)
{
	struct sysinit **each = (struct sysinit **)(MODULE_PHYS + job[JOB_SYSINIT_AT]);

	for (u64 left = job[JOB_SYSINIT_SIZE] / 8; left > 0; left--, each++)
		(*each)->function((*each)->argument);
	if (device_switch == 0)
		end_run("the module makes no device");
}

static int request(struct cpu *cpu, u64 command, u64 where, const void *user)
{
	struct { u64 where; const void *user; } data = { where, user };
	int error;

	_mtx_lock_flags(&Giant);	/* D_NEEDGIANT */
	error = device_switch->ioctl(devices[cpu->number], command, &data, 0, &threads[cpu->number]);
	_mtx_unlock_flags(&Giant);
	return error;
}

/* This CPU's curthread, and its own open device with a guest in it. */
void open_driver(struct cpu *cpu)
{
	struct thread *thread = &threads[cpu->number];

	thread->td_lock = &thread->lock;
	*(struct thread **)(pcpu_of(cpu->number) - KERNEL_BASE) = thread;
	if (device_switch->open(devices[cpu->number], 3, 0, thread) != 0)
		end_run("the device does not open");
	if (request(cpu, KQEMU_WRITE, 0, program) != 0)
		end_run("the device's ioctl does not know our requests");
}

/* One round: the guest from its start to its hlt, by way of two visits to the monitor. */
void driver_round(struct cpu *cpu)
{
	u32 answer = 0;

	for (u64 spins = random_of(cpu) % (job[JOB_DELAY] + 1); spins > 0; spins--)
		__asm__ volatile("" : : : "memory");
	if (request(cpu, KQEMU_RESET, 0, 0) != 0 || request(cpu, KQEMU_RUN, BUDGET, 0) != 0 ||
	    request(cpu, KQEMU_ANSWER, 0, &answer) != 0 || answer != ANSWER_HALT)
		cpu->monitor_wrong++;
}
