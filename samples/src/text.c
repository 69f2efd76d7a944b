/* The log is for a debugger, which finds it in the image's memory. */
#include "text.h"

#define LOG_SIZE 2048

char monitor_log[LOG_SIZE];
static unsigned log_used;

void *memcpy(void *to, const void *from, unsigned long size)
{
	u8 *target = to;
	const u8 *source = from;

	while (size-- != 0)
		*target++ = *source++;
	return to;
}

void *memset(void *to, int value, unsigned long size)
{
	u8 *target = to;

	while (size-- != 0)
		*target++ = (u8)value;
	return to;
}

/* CRC-32 (IEEE 802.3), bit by bit. */
u32 checksum(const void *bytes, u64 size)
{
	const u8 *byte = bytes;
	u32 sum = 0xffffffff;

	while (size-- != 0) {
		sum ^= *byte++;
		for (int bit = 0; bit < 8; bit++)
			sum = (sum >> 1) ^ ((sum & 1) ? 0xedb88320 : 0);
	}
	return ~sum;
}

static void put(char letter)
{
	monitor_log[log_used] = letter;
	log_used = (log_used + 1) % LOG_SIZE;
}

static void put_number(u64 number, unsigned base)
{
	char digits[24];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number != 0);
	while (count != 0)
		put(digits[--count]);
}

/* Knows %d and %x, each takes the next of the two numbers. */
void log_line(const char *format, u64 first, u64 second)
{
	u64 next[2] = { first, second };
	unsigned taken = 0;

	for (; *format != '\0'; format++) {
		if (*format != '%') {
			put(*format);
			continue;
		}
		format++;
		put_number(next[taken++ & 1], *format == 'x' ? 16 : 10);
	}
	put('\n');
}
