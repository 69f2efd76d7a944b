/*
 * Enough of a kernel for the panic of 2008: on every CPU a process in ring 3 with a kernel stack of
 * its own, a clock that interrupts it through rsp0, and a system call that runs the module's switch.
 * With another CPU's TSS loaded, two CPUs use one kernel stack at the same time.
 */
#include "machine.h"

#define APIC ((volatile u32 *)0xfee00000)
#define APIC_SPURIOUS (0xf0 / 4)
#define APIC_EOI (0xb0 / 4)
#define APIC_TIMER (0x320 / 4)
#define APIC_COUNT (0x380 / 4)
#define APIC_DIVIDE (0x3e0 / 4)
#define PERIODIC 0x20000
#define BY_ONE 0xb
#define FLAGS_USER 0x202	/* interrupts on */

static volatile u64 finished, panics;

static const struct {
	u8 vector, number;
	const char *name;
} traps[] = {
	/* FreeBSD's numbers and names: sys/amd64/include/trap.h and sys/amd64/amd64/trap.c */
	{ 0, 18, "integer divide fault" }, { 6, 1, "privileged instruction fault" },
	{ 8, 23, "double fault" }, { 10, 26, "invalid TSS fault" },
	{ 11, 25, "segment not present fault" }, { 12, 27, "stack fault" },
	{ 13, 9, "general protection fault" }, { 14, 12, "page fault" },
};

/* What the kernel does meanwhile: calls of some depth, with data of its own on the stack. */
static __attribute__((noinline)) u64 work(struct cpu *cpu, u64 depth)
{
	volatile u64 data[16];
	u64 found = 0, value = random_of(cpu);

	for (unsigned number = 0; number < 16; number++)
		data[number] = value + number;
	for (unsigned spins = 0; spins < 300; spins++)
		__asm__ volatile("" : : : "memory");
	if (depth > 0)
		found = work(cpu, depth - 1);
	for (unsigned number = 0; number < 16; number++)
		found += data[number] != value + number;
	return found;
}

static void do_work(struct cpu *cpu)
{
	cpu->stack_wrong += work(cpu, random_of(cpu) % 5) != 0;
}

void clock_interrupt(void)
{
	do_work(this_cpu());
	APIC[APIC_EOI] = 0;
}

static void print_processes(void)
{
	for (u64 number = 0; number < job[JOB_CPUS]; number++) {
		print("process");
		print_number("cpu", number);
		print_number("rounds", cpus[number].rounds);
		print_number("clobbered", cpus[number].stack_wrong);
		print("\n");
	}
}

/* What kqemu_exec does: interrupts are off, the switch, and C's own registers. */
void system_call(void)
{
	struct cpu *cpu = this_cpu();

	if (cpu->rounds == job[JOB_ROUNDS]) {
		__atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
		if (cpu->number != 0)
			stop();
		while (finished != job[JOB_CPUS])
			relax();
		print_processes();
		end_run("done");
	}
	say_so_far(cpu);
	cpu->junk = random_of(cpu) | 1;
	cpu->rounds++;
	cpu->in_round = 1;
	one_round(cpu);
	cpu->in_round = 0;
	load_data_segments(cpu->kernel_ss);
	write_msr(MSR_FSBASE, 0x800500000);
	write_msr(MSR_GSBASE, pcpu_of(cpu->number));
	do_work(cpu);
}

static void line(const char *label, u64 value)
{
	print(label);
	print_hex("", value);
	print("\n");
}

/* The message that an administrator saw, on the console of the machine that stopped. */
void kernel_panic(struct cpu *cpu, const struct fault_frame *frame)
{
	const char *name = "unknown/reserved trap";
	u64 number = 30;

	if (__atomic_exchange_n(&panics, 1, __ATOMIC_SEQ_CST) != 0)
		stop();
	for (unsigned trap = 0; trap < sizeof(traps) / sizeof(traps[0]); trap++)
		if (traps[trap].vector == frame->vector) {
			name = traps[trap].name;
			number = traps[trap].number;
		}
	take_console();
	print("\nmessage\nFatal trap");
	print_number("", number);
	print(": ");
	print(name);
	print(" while in kernel mode\ncpuid =");
	print_number("", cpu->number);
	print("; apic id =");
	print_number("", cpu->number);
	print("\n");
	line("fault virtual address   =", frame->cr2);
	line("error code              =", frame->error);
	line("instruction pointer     =", frame->rip);
	line("stack pointer           =", frame->rsp);
	print("current process         = qemu on CPU");
	print_number("", cpu->number);
	print("\ntrap number             =");
	print_number("", number);
	print("\npanic: ");
	print(name);
	print("\npanic");
	print_number("cpu", cpu->number);
	print_number("stack", stack_owner(frame->rsp));
	print_number("vector", frame->vector);
	print_hex("error", frame->error);
	print("\n");
	print_processes();
	end_run("done");
}

/* The clock, and off to ring 3. */
void run_process(struct cpu *cpu)
{
	out8(0x21, 0xff);	/* no interrupts from the old controllers */
	out8(0xa1, 0xff);
	APIC[APIC_SPURIOUS] = 0x1ff;
	APIC[APIC_DIVIDE] = BY_ONE;
	APIC[APIC_TIMER] = PERIODIC | VECTOR_TIMER;
	APIC[APIC_COUNT] = (u32)job[JOB_PATIENCE] + 1000 * (u32)cpu->number;
	enter_process(cpu, FLAGS_USER);
}
