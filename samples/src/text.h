/* Plain services: bytes, a checksum, a log. */
#ifndef TEXT_H
#define TEXT_H

#include "types.h"

u32 checksum(const void *bytes, u64 size);
void log_line(const char *format, u64 first, u64 second);
void *memcpy(void *to, const void *from, unsigned long size);
void *memset(void *to, int value, unsigned long size);

#endif
