/* The serial port, and the three ways in which a machine is turned off. */
#include "machine.h"

#define SERIAL 0x3f8
#define READY 0x20		/* in the line status: there is room for a character */
#define PATIENCE 10000000
#define EMPTY 0x40		/* and: the last one is out */

/* 115,200 baud, 8 bits, no parity: what a reset leaves differs. */
void start_console(void)
{
	out8(SERIAL + 3, 0x83);
	out8(SERIAL, 1);
	out8(SERIAL + 1, 0);
	out8(SERIAL + 3, 3);
}

/* Whoever builds this again knows whether the same tools did it. */
const char tools[] = "tools: gcc " __VERSION__ ", " LINKER;

static u32 console;

/* One CPU at a time; but not for ever, as the one that has it may have met a fault. */
void take_console(void)
{
	for (unsigned count = 0; count < PATIENCE; count++) {
		if (__atomic_exchange_n(&console, 1, __ATOMIC_SEQ_CST) == 0)
			return;
		relax();
	}
}

void release_console(void)
{
	__atomic_store_n(&console, 0, __ATOMIC_RELEASE);
}

static void put_character(char character)
{
	while ((in8(SERIAL + 5) & READY) == 0)
		relax();
	out8(SERIAL, (u8)character);
}

void print(const char *text)
{
	for (; *text != 0; text++)
		put_character(*text);
}

static void number(const char *name, u64 value, unsigned base)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = 0;
	do
		*--at = "0123456789abcdef"[value % base];
	while ((value /= base) != 0);
	print(" ");
	print(name);
	print(*name == 0 ? "" : " ");
	print(base == 16 ? "0x" : "");
	print(at);
}

void print_number(const char *name, u64 value)
{
	number(name, value, 10);
}

void print_hex(const char *name, u64 value)
{
	number(name, value, 16);
}

/* The last line; then off: QEMU's isa-debug-exit, Bochs' port 0x8900, or for ever. */
void end_run(const char *text)
{
	print("end ");
	print(text);
	print("\n");
	while ((in8(SERIAL + 5) & EMPTY) == 0)
		relax();
	for (const char *at = "Shutdown"; *at != 0; at++)
		__asm__ volatile("outb %0, %1" : : "a"(*at), "d"((u16)0x8900));
	out8(0xf4, 0);
	stop();
}
