/* Where the fields of the state lie: one build's figures. -D moves them. */
#ifndef MOVE
#define MOVE 0
#endif
#ifndef M_STATE
#define M_STATE 0x8
#define K_STATE 0x10
#endif
#define M_IDT (0x2c + MOVE)
#define M_GDT (0x36 + MOVE)
#define M_LDT (0x40 + MOVE)
#define M_DS (0x42 + MOVE)
#define M_JMP (0x50 + MOVE)
#define M_CS (0x58 + MOVE)
#define M_TR (0x5a + MOVE)
#define M_CR3 (0x60 + MOVE)
#define M_DR7 (0x68 + MOVE)
#define M_RSP (0x70 + MOVE)
#define K_IDT (0x78 + MOVE)
#define K_GDT (0x82 + MOVE)
#ifndef K_TR
#define K_TR (0x8c + MOVE)
#endif
#define K_LDT (0x8e + MOVE)
#define K_RSP (0x90 + MOVE)
#define K_SS (0x98 + MOVE)
#define K_CS (0xa8 + MOVE)
#define K_CR0 (0xb0 + MOVE)
#define K_CR3 (0xb8 + MOVE)
#define K_CR4 (0xc0 + MOVE)
#define K_NEXUS (0xf8 + MOVE)
#define M_TSS (0x2450 + MOVE)
