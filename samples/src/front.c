/* The driver: /dev/kqemu, one session per open file, served by ioctl. */
#include "core.h"

#ifndef SAMPLE_CDEVSW_VERSION
#define SAMPLE_CDEVSW_VERSION D_VERSION_17032005
#endif

#define KQEMU_RUN 0x80107101UL
#define KQEMU_RESET 0x80107102UL
#define KQEMU_CHECKSUM 0x80107103UL
#define KQEMU_READ 0x80107104UL
#define KQEMU_WRITE 0x80107105UL
#define KQEMU_ANSWER 0x80107106UL

/* The argument of every ioctl. */
struct kqemu_request {
	u64 where;	/* in the guest's memory, or the budget */
	void *user;
};

static int kqemu_open(struct cdev *, int, int, struct thread *);
static int kqemu_close(struct cdev *, int, int, struct thread *);
static int kqemu_ioctl(struct cdev *, unsigned long, char *, int, struct thread *);

static struct cdevsw kqemu_cdevsw = {
	.version = SAMPLE_CDEVSW_VERSION,
	.flags = D_NEEDGIANT,
	.name = "kqemu",
	.open = kqemu_open,
	.close = kqemu_close,
	.ioctl = kqemu_ioctl,
};

MALLOC_DEFINE(M_KQEMU, "kqemu buffers");
struct mtx kqemu_lock;

static int kqemu_debug;
SYSCTL_INT(sysctl__debug_children, kqemu_debug, &kqemu_debug, "talk about requests");

static struct cdev *kqemu_device;
static void *clone_tag;
static int sessions;

static const char *answer_name(u32 answer)
{
	switch (answer) {
	case ANSWER_BUDGET: return "budget used up";
	case ANSWER_HALT: return "halted";
	case ANSWER_INVALID: return "invalid instruction";
	case ANSWER_FAULT: return "access outside the guest's memory";
	case ANSWER_PORT: return "port";
	case ANSWER_DIVIDE: return "division";
	case ANSWER_TRAP: return "trap in the monitor";
	case ANSWER_PRIVILEGED: return "privileged instruction";
	default: return "done";
	}
}

#ifdef SAMPLE_THREAD_LOCK
static struct thread *current_thread(void)
{
	struct thread *thread;

	__asm__("movq %%gs:0, %0" : "=r"(thread));
	return thread;
}
#endif

static void let_others_run(void)
{
#if defined(SAMPLE_SCHED_LOCK)
	_mtx_lock_spin_flags(&sched_lock, 0, __FILE__, __LINE__);
	mi_switch(SW_VOL, NULL);
	_mtx_unlock_spin_flags(&sched_lock, 0, __FILE__, __LINE__);
#elif defined(SAMPLE_THREAD_LOCK)
	struct thread *thread = current_thread();

	_thread_lock_flags(thread, 0, __FILE__, __LINE__);
	mi_switch(SW_VOL, NULL);
	_mtx_unlock_spin_flags(thread->td_lock, 0, __FILE__, __LINE__);
#else
	uio_yield();
#endif
}

static int kqemu_open(struct cdev *device, int flags, int type, struct thread *thread)
{
	(void)flags, (void)type, (void)thread;
	if (device->si_drv1 != NULL)
		return EBUSY;
	device->si_drv1 = kqemu_init();
	if (device->si_drv1 == NULL)
		return ENOMEM;
	sessions++;
	return 0;
}

static int kqemu_close(struct cdev *device, int flags, int type, struct thread *thread)
{
	(void)flags, (void)type, (void)thread;
	if (device->si_drv1 == NULL)
		return ENODEV;
	kqemu_delete(device->si_drv1);
	device->si_drv1 = NULL;
	sessions--;
	return 0;
}

/* Giant is dropped while the guest runs: two guests may be in the monitor at once. */
static int run_guest(struct kqemu_session *session, u64 budget)
{
	int answer;

	_mtx_unlock_flags(&Giant, 0, __FILE__, __LINE__);
	do {
		u64 slice = budget < 10000 ? budget : 10000;

		answer = kqemu_run(session, REQUEST_RUN, slice);
		budget -= slice;
		let_others_run();
	} while (answer == ANSWER_BUDGET && budget != 0);
	_mtx_lock_flags(&Giant, 0, __FILE__, __LINE__);
	return answer;
}

static int kqemu_ioctl(struct cdev *device, unsigned long command, char *data, int flags,
    struct thread *thread)
{
	struct kqemu_session *session = device->si_drv1;
	struct kqemu_request *request = (struct kqemu_request *)(void *)data;
	u8 *guest;
	int answer = ANSWER_DONE;

	(void)flags, (void)thread;
	if (session == NULL)
		return ENODEV;
	guest = kqemu_guest_memory(session);
	guest += request->where & (GUEST_PAGES * PAGE_SIZE - PAGE_SIZE);
	switch (command) {
	case KQEMU_RUN:
		answer = run_guest(session, request->where);
		break;
	case KQEMU_RESET:
		answer = kqemu_run(session, REQUEST_RESET, 0);
		break;
	case KQEMU_CHECKSUM:
		answer = kqemu_run(session, REQUEST_CHECKSUM, 0);
		break;
	case KQEMU_READ:
		return copyout(guest, request->user, PAGE_SIZE);
	case KQEMU_WRITE:
		return copyin(request->user, guest, PAGE_SIZE);
	case KQEMU_ANSWER:
		return copyout(&session->state->answer, request->user, 4);
	default:
		return ENOTTY;
	}
	if (kqemu_debug)
		printf("kqemu: %s\n", answer_name((u32)answer));
	return 0;
}

static void kqemu_clone(void *argument, struct ucred *who, char *name, int length,
    struct cdev **device)
{
	(void)argument, (void)who, (void)length;
	if (*device == NULL && strcmp(name, "kqemu") == 0)
		*device = kqemu_device;
}

static int load(void)
{
	mtx_init(&kqemu_lock, "kqemu", NULL, MTX_SPIN);
	kqemu_device = make_dev(&kqemu_cdevsw, 0, 0, 0, 0660, "kqemu");
	clone_tag = eventhandler_register(NULL, "dev_clone", (void *)kqemu_clone, NULL, 1000);
	if (kqemu_device == NULL || clone_tag == NULL)
		return ENOMEM;
	printf("kqemu: sample, not for use\n");
	return 0;
}

static int __attribute__((cold, noinline)) refuse_unload(void)
{
	printf("kqemu: %d sessions are open\n", sessions);
	return EBUSY;
}

static int unload(void)
{
	if (sessions != 0)
		return refuse_unload();
	eventhandler_deregister(eventhandler_find_list("dev_clone"), clone_tag);
#ifdef SAMPLE_DESTROY_SCHED
	drain_dev_clone_events();
	destroy_dev_sched(kqemu_device);
#else
	destroy_dev(kqemu_device);
#endif
	mtx_destroy(&kqemu_lock);
	return 0;
}

static int kqemu_modevent(struct module *module, int event, void *argument)
{
	(void)module, (void)argument;
	switch (event) {
	case MOD_LOAD: return load();
	case MOD_UNLOAD: return unload();
	case MOD_SHUTDOWN: return 0;
	default: return EOPNOTSUPP;
	}
}

DEV_MODULE(kqemu, kqemu_modevent, NULL);
MODULE_VERSION(kqemu, 1);
