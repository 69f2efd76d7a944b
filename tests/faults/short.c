/* write(2) and pwrite(2) that take half of what they are given, as POSIX lets them. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

ssize_t write(int fd, const void *data, size_t size)
{
	return syscall(SYS_write, fd, data, size > 1 ? size / 2 : size);
}
