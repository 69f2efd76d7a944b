/* Starts the CPUs, runs the rounds, and says what was seen, in lines of words on the serial port. */
#include "machine.h"

#define APIC ((volatile u32 *)0xfee00000)
#define APIC_SPURIOUS (0xf0 / 4)
#define APIC_COMMAND (0x300 / 4)
#define APIC_TARGET (0x310 / 4)
#define START 0x4600		/* Intel SDM vol. 3, 10.6.1: a startup IPI */

struct cpu cpus[MOST_CPUS];
u64 job[JOB_WORDS];
u8 boot_stacks[MOST_CPUS + 1][STACK_SIZE] __attribute__((aligned(4096)));
u8 fault_stacks[MOST_CPUS + 1][STACK_SIZE] __attribute__((aligned(4096)));
struct fault_frame fault_frames[MOST_CPUS];
static volatile u64 booted, ready, done, found;

_Static_assert(sizeof(struct fault_frame) == 256, "fault_frames is indexed by a shift of 8");
_Static_assert(__builtin_offsetof(struct cpu, given) == CPU_GIVEN, "layout.h");
_Static_assert(__builtin_offsetof(struct cpu, after_rsp) == CPU_AFTER_RSP, "layout.h");
_Static_assert(__builtin_offsetof(struct cpu, junk) == CPU_JUNK, "layout.h");
_Static_assert(__builtin_offsetof(struct cpu, after_ss) == CPU_AFTER_SS, "layout.h");
_Static_assert(sizeof(struct tss) == 104, "common_tss has a stride of 104");

struct cpu *this_cpu(void)
{
	u32 a = 1, b, c, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	return &cpus[b >> 24];
}

/* Memory that nobody may change: a sum that depends on its words and on their order. */
static u64 with_word(u64 found, u64 word)
{
	found = (found ^ word) * 0x100000001b3ULL;
	return found ^ found >> 32;
}

static u64 sum(u64 start, u64 size, u64 found)
{
	u64 end = start + size, rest = 0;

	for (; end - start >= sizeof(u64); start += sizeof(u64))
		found = with_word(found, *(u64 *)start);
	memcpy(&rest, (void *)start, end - start);
	return with_word(found, rest);
}

static u64 sum_of_kernel(void)
{
	u64 lock = job[JOB_LOCK_AT], end = lock + job[JOB_LOCK_SIZE], found = 14695981039346656037ULL;
	u64 slot = job[JOB_TR] / 8;

	found = sum((u64)common_tss, sizeof(common_tss), found);
	for (unsigned cpu = 0; cpu < MOST_CPUS; cpu++) {
		found = sum((u64)gdt[cpu], slot * 8, found);
		found = sum((u64)&gdt[cpu][slot + 2], sizeof(gdt[cpu]) - slot * 8 - 16, found);
		found = sum(pcpu_of(cpu) - KERNEL_BASE, PAGE, found);
	}
	if (job[JOB_AFTER] != 0 || job[JOB_MODE] == MODE_DRIVER)
		return found;	/* a source fix and the C side write data of their module */
	found = sum(MODULE_PHYS, lock, found);
	return sum(MODULE_PHYS + end, job[JOB_MODULE_SIZE] - end, found);
}

/* From reset on all but the first CPU wait for this. One after the other, so that none waits busily. */
static void start_next(const struct cpu *cpu)
{
	if (cpu->number + 1 == job[JOB_CPUS])
		return;
	APIC[APIC_SPURIOUS] |= 0x100;
	APIC[APIC_TARGET] = (u32)(cpu->number + 1) << 24;
	APIC[APIC_COMMAND] = START | IMAGE_PHYS >> 12;
}

/* A fault, on the host's page tables and a stack of its own. */
void fault(u64 number)
{
	struct cpu *cpu = &cpus[number];
	struct fault_frame *frame = &fault_frames[number];

	if (cpu->faults++ == 0) {
		cpu->vector = frame->vector;
		cpu->error = frame->error;
		cpu->rip = frame->rip;
		cpu->cr2 = frame->cr2;
		cpu->cr3 = frame->cr3;
	}
	if (job[JOB_MODE] == MODE_PANIC)
		kernel_panic(cpu, frame);
	if (!cpu->in_round) {
		take_console();
		print("broken");
		print_number("cpu", number);
		print_number("vector", frame->vector);
		print_hex("error", frame->error);
		print_hex("rip", frame->rip);
		print_hex("cr2", frame->cr2);
		print("\n");
		end_run("a fault outside of a round");
	}
	reload_host(cpu);
	own_tss(cpu);
	give_up(cpu);
}

/* What kqemu_exec calls behind the switch: source fixes A and B take no lock, their caller does. */
static void call_after(struct cpu *cpu)
{
	(void)cpu;
	((void (*)(void))job[JOB_AFTER])();
}

/* An interrupt through a TSS that is too short is a fault itself. */
static void look(struct cpu *cpu)
{
	cpu->own = (u64)observe(cpu);
}

static int sees_its_own(struct cpu *cpu)
{
	return guarded(cpu, look) == 0 && cpu->own;
}

/* The block that took least is one in which nothing else had the processor. */
static void time_block(struct cpu *cpu)
{
	u64 now = ticks();

	if (job[JOB_BLOCK] == 0 || cpu->rounds % job[JOB_BLOCK] != 0)
		return;
	if (cpu->rounds != 0 && (cpu->least == 0 || now - cpu->block_begin < cpu->least))
		cpu->least = now - cpu->block_begin;
	cpu->block_begin = now;
}

static void print_cpus(void)
{
	for (u64 number = 0; number < job[JOB_CPUS]; number++) {
		const struct cpu *cpu = &cpus[number];

		print("cpu");
		print_number("number", number);
		print_number("rounds", cpu->rounds);
		print_number("ist", cpu->ist_wrong);
		print_number("rsp0", cpu->rsp0_wrong);
		print_number("loaded", cpu->loaded);
		print_number("faults", cpu->faults);
		print_number("registers", cpu->registers_wrong);
		print_number("controls", cpu->controls_wrong);
		print_hex("wrong", cpu->wrong);
		print_number("stack", cpu->stack_wrong);
		print_number("monitor", cpu->monitor_wrong);
		print_number("ticks", cpu->ticks);
		print_number("least", cpu->least);
		print_number("vector", cpu->vector);
		print_hex("error", cpu->error);
		print_hex("rip", cpu->rip);
		print_hex("cr2", cpu->cr2);
		print("\n");
	}
}

/* Before its first round and now and then what every CPU has counted so far: a host that waits too
 * long sees who still moves. */
void say_so_far(const struct cpu *cpu)
{
	static u64 last;

	if (job[JOB_BEAT] == 0 || cpu->number != 0)
		return;
	if (last != 0 && ticks() - last < job[JOB_BEAT])
		return;
	take_console();
	print_number("beat rounds", job[JOB_ROUNDS]);
	print("\n");
	print_cpus();
	release_console();
	last = ticks();
}

static void rounds(struct cpu *cpu)
{
	static u32 callers_lock;
	u64 begin = ticks(), cr0;

	for (; cpu->rounds < job[JOB_ROUNDS] && !(job[JOB_STOP] && found); cpu->rounds++) {
		time_block(cpu);
		say_so_far(cpu);
		for (unsigned number = 0; number < 6; number++)
			cpu->given[number] = random_of(cpu);
		cpu->junk = cpu->rounds & 1 ? 0 : random_of(cpu) | 1;
		__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
		cpu->in_round = 1;
		if (one_round(cpu) == 0) {
			if (!came_back(cpu, cr0))
				reload_host(cpu);
			load_data_segments(cpu->kernel_ss);
			write_msr(MSR_FSBASE, 0x800500000);
			write_msr(MSR_GSBASE, pcpu_of(cpu->number));
			if (job[JOB_AFTER] != 0) {
				_mtx_lock_spin_flags(&callers_lock);
				if (guarded(cpu, call_after) != 0)
					found = 1;
				_mtx_unlock_spin_flags(&callers_lock);
			}
			if (job[JOB_OBSERVE] && !sees_its_own(cpu)) {
				found = 1;
				own_tss(cpu);
			}
		} else {
			found = 1;
		}
		cpu->in_round = 0;
	}
	cpu->ticks = ticks() - begin;
}

/*
 * The CPU that faulted took its locks along, so nobody waits for one any more. The module's own lock
 * is not among them.
 */
void keep_waiting(void)
{
	if (job[JOB_MODE] == MODE_DRIVER && found)
		give_up(this_cpu());
	relax();
}

/* The same through the module's C side. A fault there leaves a guest that cannot go on: the end. */
static void driver_rounds(struct cpu *cpu)
{
	for (; cpu->rounds < job[JOB_ROUNDS] && !found; cpu->rounds++) {
		time_block(cpu);
		say_so_far(cpu);
		cpu->in_round = 1;
		if (guarded(cpu, driver_round) != 0)
			found = 1;
		else if (job[JOB_OBSERVE] && !sees_its_own(cpu))
			own_tss(cpu);
		cpu->in_round = 0;
	}
}

static void report(u64 before)
{
	u64 lock = 0;

	print("report\n");
	print_cpus();
	for (u64 at = 0; at < job[JOB_LOCK_SIZE]; at++)
		lock += ((u8 *)(MODULE_PHYS + job[JOB_LOCK_AT]))[at] != 0;
	print("memory");
	print_number("lock", lock);
	print_number("changed", before != sum_of_kernel());
	for (u64 number = 0; number < (job[JOB_PRIVATE_GDT] ? job[JOB_CPUS] : 1); number++) {
		print_hex("low", gdt[number][job[JOB_TR] / 8]);
		print_hex("high", gdt[number][job[JOB_TR] / 8 + 1]);
	}
	print("\n");
	end_run("done");
}

void cpu_main(u64 number)
{
	struct cpu *cpu = &cpus[number];
	u64 before = 0;

	if (number == 0) {
		for (unsigned word = 0; word < JOB_WORDS; word++)
			job[word] = ((const u64 *)JOB_PHYS)[word];
		start_console();
		if (job[JOB_MAGIC] != JOB_IS_OURS)
			end_run("the ROM has no job");
	}
	cpu->number = number;
	cpu->random = (job[JOB_SEED] + number + 1) * 0x9e3779b97f4a7c15ULL | 1;
	kernel_boot(cpu);
	if (job[JOB_MODE] == MODE_DRIVER) {
		if (number == 0)
			load_driver();
		open_driver(cpu);
	} else {
		make_guest(cpu);
	}
	start_next(cpu);
	__atomic_fetch_add(&booted, 1, __ATOMIC_SEQ_CST);
	while (booted != job[JOB_CPUS])
		relax();
	if (number == 0)
		before = sum_of_kernel();
	__atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
	while (ready != job[JOB_CPUS])
		relax();
	if (job[JOB_MODE] == MODE_PANIC)
		run_process(cpu);
	if (job[JOB_MODE] == MODE_DRIVER)
		driver_rounds(cpu);
	else
		rounds(cpu);
	__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
	if (number != 0)
		stop();
	while (done != job[JOB_CPUS]) {
		say_so_far(cpu);
		relax();
	}
	report(before);
}
