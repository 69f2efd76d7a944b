/* The bare machine: its types, and what its parts know of each other. */
#ifndef MACHINE_H
#define MACHINE_H

#include "job.h"
#include "layout.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* The first words are at the CPU_ offsets of layout.h. */
struct cpu {
	u64 number;
	u64 saved_rsp;
	u64 entry, state_kernel, state_monitor, leave;
	u64 resume, resume_rsp, seen_rsp;
	u64 given[6], after[6];
	u64 after_rsp, given_rsp, after_flags;
	u64 monitor_wrong, stack_wrong;
	u64 user_cs, user_ss, kernel_ss, user_stack;
	u64 junk;
	u64 after_cs, after_ss;

	u64 random;
	u64 rounds, ist_wrong, rsp0_wrong, faults, registers_wrong, controls_wrong, wrong;
	u64 loaded;			/* whose TSS was seen when it was wrong: CPU, or one of WHOSE_ */
	u64 vector, error, rip, cr2, cr3;	/* of the first fault */
	u64 ticks, least;		/* of all rounds; of the block of them that took least */
	u64 block_begin, own;
	volatile u64 in_round;
};

#define GDT_LIMIT (13 * 8 - 1)	/* NGDT of 8.x; others have 8 or 9 entries */
#define WHOSE_MONITOR 100
#define WHOSE_NOBODY 101

struct tss {
	u32 reserved;
	u64 rsp[3];
	u64 reserved2;
	u64 ist[7];
	u64 reserved3;
	u16 reserved4, ports;
} __attribute__((packed));

struct soft_segment {
	u64 base, limit, type_and_flags;
};

struct table_register {
	u16 limit;
	u64 base;
} __attribute__((packed));

struct fault_frame {
	u64 rdx, rcx, rbx, rax, vector, error, rip, cs, flags, rdi, rsp, cr3, cr2;
	u64 unused[19];
};

/* The job's page, copied: the monitor sees this image's data, and not the page. */
extern u64 job[JOB_WORDS];
#define KERNEL(object) (KERNEL_BASE + (u64)(object))
#define DIRECT(object) (DIRECT_BASE + (u64)(object))

/* kernel.c: what a FreeBSD/amd64 kernel of that time has */
extern struct tss common_tss[MOST_CPUS];
extern struct soft_segment gdt_segs[16];
extern u64 gdt[MOST_CPUS][16];
extern int mp_ncpus;
void kernel_boot(struct cpu *cpu);
void own_tss(struct cpu *cpu);
u64 descriptor_of(const struct cpu *cpu);
void reload_host(struct cpu *cpu);
u64 pcpu_of(u64 number);
void set_gate(u64 *table, unsigned vector, u64 handler, u16 selector, unsigned ist, unsigned level);

/* guest.c */
void make_guest(struct cpu *cpu);
void *new_pages(u64 size);
extern struct tss monitor_tss[MOST_CPUS];

/* imports.c */
struct lock;
extern struct lock Giant;
extern void *cloner;
void _mtx_lock_flags(struct lock *lock);
void _mtx_unlock_flags(struct lock *lock);
void *memcpy(void *to, const void *from, u64 size);
void *memset(void *to, int value, u64 size);
int strcmp(const char *one, const char *other);
void _mtx_lock_spin_flags(volatile u32 *lock);
void _mtx_unlock_spin_flags(volatile u32 *lock);

/* driver.c */
void load_driver(void);
void open_driver(struct cpu *cpu);
void driver_round(struct cpu *cpu);

/* panic.c, process.S */
void run_process(struct cpu *cpu) __attribute__((noreturn));
void kernel_panic(struct cpu *cpu, const struct fault_frame *frame) __attribute__((noreturn));
void enter_process(struct cpu *cpu, u64 flags) __attribute__((noreturn));
void clock_entry(void);
void call_entry(void);
void spurious_entry(void);
u64 stack_owner(u64 rsp);

/* observe.c */
int observe(struct cpu *cpu);
int came_back(struct cpu *cpu, u64 cr0);

/* main.c, console.c */
extern struct cpu cpus[MOST_CPUS];
struct cpu *this_cpu(void);
void say_so_far(const struct cpu *cpu);
void keep_waiting(void);
void start_console(void);
void take_console(void);
void release_console(void);
void print(const char *text);
void print_number(const char *name, u64 value);
void print_hex(const char *name, u64 value);
void end_run(const char *text) __attribute__((noreturn));

/* entry.S, boot.S */
int one_round(struct cpu *cpu);
int guarded(struct cpu *cpu, void (*function)(struct cpu *));
void give_up(struct cpu *cpu) __attribute__((noreturn));
void guest(void);
void seen(void);
void see_ist(struct cpu *cpu);
void see_rsp0(struct cpu *cpu);
void load_code_segment(u64 selector);
void load_data_segments(u64 selector);
extern char fault_stubs[], ap_start[];
extern u64 host_pml4[];

static inline void relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

/* A CPU that has nothing more to do takes nothing of the host's. */
static inline __attribute__((noreturn)) void stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static inline u64 random_of(struct cpu *cpu)
{
	u64 x = cpu->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return cpu->random = x;
}

static inline u64 ticks(void)
{
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (u64)high << 32;
}

static inline void write_msr(u32 number, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(number), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline void out8(u16 port, u8 value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline u8 in8(u16 port)
{
	u8 value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

#endif
