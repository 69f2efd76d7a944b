/*
 * The kernel's functions and data that modules of kqemu import, as far as they matter to it. A module
 * that imports another one is refused with the name: it goes here, or into answers.toml.
 */
#include "machine.h"

/* Some word of it is mtx_lock, from the second on: another one in each kernel. It holds the owner. */
#define OWNER_WORDS 8
struct lock {
	volatile u32 held;
	u32 unused;
	volatile u64 owner[OWNER_WORDS - 1];
};

struct lock Giant, sched_lock;
u64 sysctl__debug_children;
u64 kernel_map_page[PAGE / 8];
void *kernel_map = kernel_map_page;
long physmem = 1 << 20;		/* pages: kqemu divides a part of it among its guests */
void *cloner;

void _mtx_unlock_flags(struct lock *lock)
{
	for (unsigned word = 0; word < OWNER_WORDS - 1; word++)
		lock->owner[word] = 0;
	_mtx_unlock_spin_flags(&lock->held);
}

void _mtx_lock_flags(struct lock *lock)
{
	u64 thread;

	_mtx_lock_spin_flags(&lock->held);
	__asm__ volatile("mov %%gs:0, %0" : "=r"(thread));
	for (unsigned word = 0; word < OWNER_WORDS - 1; word++)
		lock->owner[word] = thread;
}

/* From 700044 on a thread begins with a pointer to its lock. */
void _thread_lock_flags(volatile u32 **thread) { _mtx_lock_spin_flags(*thread); }
int unit2minor(int unit) { return unit; }
void *eventhandler_find_list(void) { return &Giant; }

/* For the functions that need no more than an answer: which those are stands in answers.toml. */
u64 answer_0(void) { return 0; }
u64 answer_1(void) { return 1; }

int vsnprintf(char *text, u64 size)
{
	if (size > 0)
		*text = 0;
	return 0;
}

/* Of all events the one that asks for a device by its name. */
void *eventhandler_register(void *list, const char *event, void *function)
{
	(void)list;
	if (strcmp(event, "dev_clone") == 0)
		cloner = function;
	return &Giant;
}

/* Pages, zeroed, where the direct map has them. */
void *malloc(u64 size)
{
	return (void *)DIRECT(new_pages(size));
}

void *kmem_alloc(void *map, u64 size)
{
	(void)map;
	return malloc(size);
}

u64 pmap_kextract(u64 address)
{
	return address >= KERNEL_BASE ? address - KERNEL_BASE :
	    address >= DIRECT_BASE ? address - DIRECT_BASE : address;
}

/* A user's address is a physical one here. */
u64 pmap_extract(void *map, u64 address)
{
	(void)map;
	return pmap_kextract(address);
}

void *memcpy(void *to, const void *from, u64 size)
{
	u64 words = size / sizeof(u64), rest = size % sizeof(u64);
	void *at = to;

	__asm__ volatile("rep movsq" : "+D"(at), "+S"(from), "+c"(words) : : "memory");
	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(rest) : : "memory");
	return to;
}

void *memset(void *to, int value, u64 size)
{
	u64 words = size / sizeof(u64), rest = size % sizeof(u64), pattern = (u8)value * 0x101010101010101ULL;
	void *at = to;

	__asm__ volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(pattern) : "memory");
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(rest) : "a"(pattern) : "memory");
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

