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

/* The samples' requests: a page to write, a budget to run, where the answer goes. */
#define SAMPLE_RUN 0x80107101UL
#define SAMPLE_RESET 0x80107102UL
#define SAMPLE_WRITE 0x80107105UL
#define SAMPLE_ANSWER 0x80107106UL
#define ANSWER_HALT 1
#define BUDGET 1000

/* kqemu's own begin with a struct kqemu_init: where the guest's memory is, and its size. */
#define GUEST_MEMORY (16 * PAGE)
#define SPARE 3			/* pages for a struct kqemu_cpu_state, which begins with the registers */
#define GUEST_REGISTERS (16 * 8)
#define THREAD_POINTERS 2	/* td_lock and td_proc are among the first words, flags behind */

static struct cdevsw *device_switch;
static u8 devices[MOST_CPUS][PAGE] __attribute__((aligned(4096)));
/* What a kernel's struct thread leads to: each kernel has its pointers at another place. */
static u64 threads[MOST_CPUS][PAGE / 8] __attribute__((aligned(4096)));
static u64 processes[MOST_CPUS][PAGE / 8] __attribute__((aligned(4096)));
static u64 spaces[PAGE / 8] __attribute__((aligned(4096)));
static u8 states[MOST_CPUS][SPARE * PAGE] __attribute__((aligned(4096)));

/* mov $100, %ecx; 1: dec %ecx; jnz 1b; hlt */
static const u8 program[PAGE] = { 0xb9, 100, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xf4 };

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
	void *device = 0;
	struct sysinit **each = (struct sysinit **)(MODULE_PHYS + job[JOB_SYSINIT_AT]);

	for (u64 left = job[JOB_SYSINIT_SIZE] / 8; left > 0; left--, each++)
		(*each)->function((*each)->argument);
	if (device_switch == 0 && cloner != 0)
		((void (*)(void *, void *, const char *, int, void **))cloner)(0, 0, "kqemu", 5, &device);
	if (device_switch == 0)
		end_run("the module makes no device");
}

static int request(struct cpu *cpu, u64 command, void *data)
{
	int error;

	_mtx_lock_flags(&Giant);	/* D_NEEDGIANT */
	error = device_switch->ioctl(devices[cpu->number], command, data, 0, threads[cpu->number]);
	_mtx_unlock_flags(&Giant);
	return error;
}

static int sample_request(struct cpu *cpu, u64 command, u64 where, const void *user)
{
	struct { u64 where; const void *user; } data = { where, user };

	return request(cpu, command, &data);
}

/* A guest with memory and nothing in it. */
static int init_kqemu(struct cpu *cpu)
{
	u64 data[16] = { (u64)new_pages(GUEST_MEMORY), GUEST_MEMORY };

	for (unsigned word = 2; word < 8; word++)
		data[word] = (u64)new_pages(PAGE);
	return request(cpu, job[JOB_REQUEST_INIT], data);
}

/*
 * This CPU's curthread, and its own open device with a guest in it. A pointer in the thread leads to
 * its process, whose first word is a free lock, one in the process to its address space.
 */
void open_driver(struct cpu *cpu)
{
	u64 *thread = threads[cpu->number], *process = processes[cpu->number];

	for (unsigned word = 1; word < PAGE / 8; word++)
		process[word] = (u64)spaces;
	for (unsigned word = 0; word < THREAD_POINTERS; word++)
		thread[word] = (u64)process;
	*(u64 **)(pcpu_of(cpu->number) - KERNEL_BASE) = thread;
	if (device_switch->open(devices[cpu->number], 3, 0, thread) != 0)
		end_run("the device does not open");
	if ((job[JOB_REQUEST_INIT] != 0 ? init_kqemu(cpu) :
	    sample_request(cpu, SAMPLE_WRITE, 0, program)) != 0)
		end_run("the device's ioctl does not know our requests");
}

/* One round: the guest from its start to its hlt, by way of two visits to the monitor; or one visit. */
void driver_round(struct cpu *cpu)
{
	u32 answer = 0;
	int error;

	for (u64 spins = random_of(cpu) % (job[JOB_DELAY] + 1); spins > 0; spins--)
		__asm__ volatile("" : : : "memory");
	if (job[JOB_REQUEST_EXEC] != 0) {
		memset(states[cpu->number], 0, sizeof(states[0]));
		memset(states[cpu->number], 0xff, GUEST_REGISTERS);
		error = request(cpu, job[JOB_REQUEST_EXEC], states[cpu->number]);
	} else {
		error = sample_request(cpu, SAMPLE_RESET, 0, 0) != 0 ||
		    sample_request(cpu, SAMPLE_RUN, BUDGET, 0) != 0 ||
		    sample_request(cpu, SAMPLE_ANSWER, 0, &answer) != 0 || answer != ANSWER_HALT;
	}
	if (error != 0)
		cpu->monitor_wrong++;
}
