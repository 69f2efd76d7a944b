/* The monitor's own loop: take a request from the kernel, serve it, switch back. */
#include "guest.h"
#include "monitor.h"
#include "text.h"

/* What stopped at a system instruction is told apart from what no processor knows. */
static u32 run_guest(struct guest *guest, u64 budget)
{
	u32 answer = interpret(guest, budget);

	if (answer == ANSWER_INVALID && guest->rip >= GUEST_BASE && guest->rip < GUEST_END &&
	    is_system_instruction((const u8 *)guest->rip, GUEST_END - guest->rip))
		return ANSWER_PRIVILEGED;
	return answer;
}

static void serve(struct kqemu_state *state)
{
	switch (state->request) {
	case REQUEST_RUN:
		state->answer = run_guest(&state->guest, state->budget);
		break;
	case REQUEST_RESET:
		memset(&state->guest, 0, sizeof(state->guest));
		state->guest.flags = 2;
		state->guest.rip = GUEST_BASE;
		state->answer = ANSWER_DONE;
		break;
	case REQUEST_CHECKSUM:
		state->guest.registers[0] = checksum((const void *)(u64)GUEST_BASE,
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
