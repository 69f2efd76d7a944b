/*
 * A front end with what kqemu.ko has and the samples do not: its requests, a device that is made when
 * somebody asks for it by name, and the kernel functions that go with both. Behind it a sample's core.
 */
typedef unsigned long u64;
typedef unsigned int u32;

struct moduledata { const char *name; int (*handler)(void *, int, void *); void *argument; };
struct sysinit { u32 subsystem, order; void (*function)(const void *); const void *argument; };
struct mtx { void *object[3]; volatile u64 mtx_lock; };
struct proc { u64 before[30]; struct vmspace *p_vmspace; };
struct thread { void *td_lock; struct proc *td_proc; u64 unused[20]; u32 td_flags; long td_retval[2]; };
struct cdev { u64 unused[9]; void *si_drv1; };
struct cdevsw {
	int version;
	u32 flags;
	const char *name;
	int (*open)(struct cdev *, int, int, struct thread *);
	void *fdopen, *close, *read, *write;
	int (*ioctl)(struct cdev *, u64, char *, int, struct thread *);
	void *rest[20];
};
struct init { u64 ram_base, ram_size, pages[5]; };
struct state { u64 registers[16], others[40]; };

#define KQEMU_INIT 0x80387102UL
#define KQEMU_EXEC 0xc1c07101UL
#define HLT 0xf4
#define RUN 1
#define RESET 2
#define HALTED 1

extern struct mtx Giant;
extern void *kernel_map;
extern long physmem;
void _mtx_lock_flags(struct mtx *, int, const char *, int);
void _mtx_unlock_flags(struct mtx *, int, const char *, int);
int strcmp(const char *, const char *);
int vsnprintf(char *, u64, const char *, __builtin_va_list);
u64 kmem_alloc(void *, u64);
void kmem_free(void *, u64, u64);
u64 pmap_extract(void *, u64), pmap_kextract(u64);
int vm_map_wire(void *, u64, u64, int), vm_map_unwire(void *, u64, u64, int);
void module_register_init(const void *);
void *eventhandler_register(void *, const char *, void *, void *, int);
void clone_setup(void **), clone_cleanup(void **), dev_ref(struct cdev *);
int clone_create(void **, struct cdevsw *, int *, struct cdev **, int), unit2minor(int);
int dev_stdclone(char *, char **, const char *, int *);
struct cdev *make_dev(struct cdevsw *, int, int, int, int, const char *, ...);

/* The sample's core. */
void *kqemu_init(void);
unsigned char *kqemu_guest_memory(void *);
int kqemu_run(void *, u32, u64);

static void *clones;
static char text[16];

static struct thread *current_thread(void)
{
	struct thread *thread;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(thread));
	return thread;
}

static void say(const char *format, ...)
{
	__builtin_va_list list;

	__builtin_va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	__builtin_va_end(list);
}

static int front_open(struct cdev *device, int flags, int type, struct thread *thread)
{
	say("opened");
	device->si_drv1 = 0;
	return thread != current_thread() || (flags & 3) != 3;
}

/* As kqemu has the guest's pages wired, and gets pages for its tables. */
static int pages(u64 user)
{
	void **map = (void **)current_thread()->td_proc->p_vmspace;
	u64 page = kmem_alloc(kernel_map, 4096);

	if (vm_map_wire(map, user, user + 4096, 1) != 0 || pmap_extract(map[20], user) != user)
		return 1;
	vm_map_unwire(map, user, user + 4096, 1);
	if (page == 0 || pmap_extract(((void **)kernel_map)[20], page) != pmap_kextract(page))
		return 1;
	kmem_free(kernel_map, page, 4096);
	return 0;
}

static int front_ioctl(struct cdev *device, u64 command, char *data, int flags, struct thread *thread)
{
	struct init *init = (struct init *)data;
	struct state *state = (struct state *)data;
	void *session = device->si_drv1;

	if (command == KQEMU_INIT) {
		if (session != 0 || (init->ram_base & 4095) != 0 || init->ram_size == 0 || pages(init->ram_base))
			return 5;
		device->si_drv1 = kqemu_init();
		kqemu_guest_memory(device->si_drv1)[0] = HLT;
		return device->si_drv1 == 0;
	}
	if (command == KQEMU_EXEC) {
		if (session == 0 || state->registers[15] != ~0UL || state->others[0] != 0)
			return 5;
		if (Giant.mtx_lock != (u64)thread)	/* mtx_owned() */
			return 6;
		kqemu_run(session, RESET, 0);
		_mtx_unlock_flags(&Giant, 0, "", 0);
		if (Giant.mtx_lock == (u64)thread)
			return 7;
		thread->td_retval[0] = kqemu_run(session, RUN, 1000);
		_mtx_lock_flags(&Giant, 0, "", 0);
		return thread->td_retval[0] != HALTED;
	}
	return 22;
}

static struct cdevsw front = { 0x17032005, 0x400000, "kqemu", front_open, .ioctl = front_ioctl };

static void front_clone(void *argument, void *who, char *name, int length, struct cdev **device)
{
	int unit = -1;

	if (*device != 0 || (strcmp(name, "kqemu") != 0 && dev_stdclone(name, 0, "kqemu", &unit) != 1))
		return;
	if (clone_create(&clones, &front, &unit, device, 0) != 0) {
		*device = make_dev(&front, unit2minor(unit), 0, 0, 0660, "kqemu%d", unit);
		dev_ref(*device);
	}
}

static int event(void *module, int type, void *argument)
{
	if (physmem / 2 * 4096 < 1 << 24)
		return 12;
	clone_setup(&clones);
	if (type != 0)
		clone_cleanup(&clones);
	return eventhandler_register(0, "dev_clone", front_clone, 0, 1000) == 0;
}

static struct moduledata front_module = { "kqemu", event, 0 };
static struct sysinit front_sysinit = { 0x3100000, 0x4000000, module_register_init, &front_module };
static const void *const entry __attribute__((section("set_sysinit_set"), used)) = &front_sysinit;
