/* Numbers that the kernel side, the monitor and the world switch agree on. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define PAGE_SIZE 4096

/* Where the monitor sees its own image; the state follows it, page aligned. */
#define MONITOR_BASE 0xf0000000
#define GUEST_BASE 0xf4000000
#define GUEST_PAGES 16

/* Selectors of the monitor's GDT. They lie high, out of the way of a guest's own. */
#define MONITOR_CS 0xf180
#define MONITOR_LDT 0xf190
#define MONITOR_TR 0xf1a0
#define MONITOR_GDT_SIZE 0x10000

/* Intel SDM vol. 3, 2.5: CR4.PGE keeps global pages over a write to CR3. */
#define CR4_PGE 0x80

/* What the kernel asks of the monitor, and what the monitor answers. */
#define REQUEST_RUN 1
#define REQUEST_RESET 2
#define REQUEST_CHECKSUM 3

#define ANSWER_BUDGET 0
#define ANSWER_HALT 1
#define ANSWER_INVALID 2
#define ANSWER_FAULT 3
#define ANSWER_PORT 4
#define ANSWER_DIVIDE 5
#define ANSWER_TRAP 6
#define ANSWER_DONE 7
#define ANSWER_PRIVILEGED 8

#endif
