/* The monitor's own loop: take a request from the kernel, serve it, switch back. */
#include "monitor.h"

static void serve(struct kqemu_state *state)
{
	switch (state->request) {
	case REQUEST_RUN:
		state->answer = interpret(state, state->budget);
		break;
	case REQUEST_RESET:
		memset(state->registers, 0, sizeof(state->registers));
		state->guest_flags = 2;
		state->guest_rip = GUEST_BASE;
		state->answer = ANSWER_DONE;
		break;
	case REQUEST_CHECKSUM:
		state->registers[0] = checksum((const void *)(u64)GUEST_BASE,
		    GUEST_PAGES * PAGE_SIZE);
		state->answer = ANSWER_DONE;
		break;
	default:
		log_line("request %d is unknown", state->request, 0);
		state->answer = ANSWER_INVALID;
		break;
	}
}

void monitor_exec(struct kqemu_state *state)
{
	for (;;) {
		serve(state);
		monitor2kernel(state);
	}
}

/* The guest is interpreted, so a trap is the monitor's own: tell the kernel, and stay stopped. */
void monitor_trap(struct kqemu_state *state, struct trap_frame *frame)
{
	static int depth;
	u64 address;

	__asm__ volatile("mov %%cr2, %0" : "=r"(address));
	if (depth++ != 0)
		halt_forever();
	log_line("trap %d at %x", frame->vector, frame->rip);
	state->trap_vector = (u32)frame->vector;
	state->trap_error = frame->error;
	state->trap_address = address;
	state->answer = ANSWER_TRAP;
	for (;;)
		monitor2kernel(state);
}
