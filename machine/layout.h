/* Where things are, and numbers that the assembler and the compiler share. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define MOST_CPUS 16
#define PAGE 4096
#define RESET_BASE 0xffff0000	/* of the last 64 kB of the ROM, where a CPU starts */
#define RESET_SIZE 0x100	/* bytes of code at its very end */

#define IMAGE_PHYS 0x10000	/* this image, and the page where the other CPUs start */
#define JOB_PHYS 0x13ff000	/* the job's page; the module lies right behind it */
#define MODULE_PHYS 0x1400000
#define POOL_PHYS 0x3000000	/* memory for guests, up to the end of RAM */
#define POOL_END 0x4000000

/* Two views of physical memory, as FreeBSD/amd64 has them: the kernel's 2 GB, the direct map. */
#define KERNEL_BASE 0xffffffff80000000
#define DIRECT_BASE 0xffffff0000000000

#define MONITOR_BASE 0xf0000000
#define MONITOR_TABLES 0xf2000000
#define MONITOR_CS 0xf180
#define MONITOR_LDT 0xf190
#define MONITOR_TR 0xf1a0
#define MONITOR_GDT_SIZE 0x10000
#define MONITOR_DR7_VALUE 0x700	/* exact breakpoints, and none set */
#define GUEST_DATA 0x0b

#define STACK_SIZE 0x4000
#define CANARIES 16
#define CANARY 0x5ca1ab1edeadc0de

/* As FreeBSD/amd64 runs: paging, alignment mask, write protection; PGE, PAE; SYSCALL, long mode, NX. */
#define KERNEL_CR0 0x8005003b
#define KERNEL_CR4 0x6b0
#define KERNEL_EFER 0xd01

#define MSR_EFER 0xc0000080
#define MSR_FSBASE 0xc0000100
#define MSR_GSBASE 0xc0000101

#define VECTOR_IST 0x80
#define VECTOR_RSP0 0x81
#define VECTOR_TIMER 0x82
#define VECTOR_CALL 0x83
#define VECTOR_SPURIOUS 0xff

#define HOSTILE_FLAGS 0x2438d7	/* ID, AC, I/O privilege 3, overflow, sign, zero, adjust, parity, carry */
#define HOSTILE_BASE 0x5eed0bad0000

/* struct cpu, see machine.h */
#define CPU_SAVED_RSP 8
#define CPU_ENTRY 16
#define CPU_STATE_KERNEL 24
#define CPU_STATE_MONITOR 32
#define CPU_LEAVE 40
#define CPU_RESUME 48
#define CPU_RESUME_RSP 56
#define CPU_SEEN_RSP 64
#define CPU_GIVEN 72		/* rbx rbp r12-r15 */
#define CPU_AFTER 120
#define CPU_AFTER_RSP 168
#define CPU_GIVEN_RSP 176
#define CPU_AFTER_FLAGS 184
#define CPU_MONITOR_WRONG 192
#define CPU_STACK_WRONG 200
#define CPU_USER_CS 208
#define CPU_USER_SS 216
#define CPU_KERNEL_SS 224
#define CPU_USER_STACK 232
#define CPU_JUNK 240
#define CPU_AFTER_CS 248
#define CPU_AFTER_SS 256

#endif
