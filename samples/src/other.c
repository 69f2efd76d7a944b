/* A FreeBSD driver that has nothing to do with kqemu: /dev/rot13 turns what is written to it. */
#include "freebsd.h"

static int rot13_open(struct cdev *, int, int, struct thread *);
static int rot13_close(struct cdev *, int, int, struct thread *);
static int rot13_ioctl(struct cdev *, unsigned long, char *, int, struct thread *);

static struct cdevsw rot13_cdevsw = {
	.version = D_VERSION_17032005,
	.flags = D_NEEDGIANT,
	.name = "rot13",
	.open = rot13_open,
	.close = rot13_close,
	.ioctl = rot13_ioctl,
};

MALLOC_DEFINE(M_ROT13, "rot13 buffers");

#define ROW(first) first, first + 1, first + 2, first + 3, first + 4, first + 5, first + 6, first + 7
static const u8 turned[] = {
	ROW('n'), 'v', 'w', 'x', 'y', 'z', ROW('a'), 'i', 'j', 'k', 'l', 'm',
};

static int rot13_usage;
SYSCTL_INT(sysctl__debug_children, rot13_usage, &rot13_usage, "letters turned so far");

static struct cdev *rot13_device;

static int rot13_open(struct cdev *device, int flags, int type, struct thread *thread)
{
	(void)flags, (void)type, (void)thread;
	device->si_drv1 = malloc(256, M_ROT13, M_WAITOK | M_ZERO);
	return 0;
}

static int rot13_close(struct cdev *device, int flags, int type, struct thread *thread)
{
	(void)flags, (void)type, (void)thread;
	free(device->si_drv1, M_ROT13);
	device->si_drv1 = NULL;
	return 0;
}

static int rot13_ioctl(struct cdev *device, unsigned long command, char *data, int flags,
    struct thread *thread)
{
	u8 *text = device->si_drv1;

	(void)flags, (void)thread;
	if (command != 0x80087201UL)
		return ENOTTY;
	if (copyin(*(void **)(void *)data, text, 256) != 0)
		return EFAULT;
	for (unsigned at = 0; at < 256; at++)
		if (text[at] >= 'a' && text[at] <= 'z') {
			text[at] = turned[text[at] - 'a'];
			rot13_usage++;
		}
	return copyout(text, *(void **)(void *)data, 256);
}

static int rot13_modevent(struct module *module, int event, void *argument)
{
	(void)module, (void)argument;
	switch (event) {
	case MOD_LOAD:
		rot13_device = make_dev(&rot13_cdevsw, 0, 0, 0, 0666, "rot13");
		return rot13_device == NULL ? ENOMEM : 0;
	case MOD_UNLOAD:
		destroy_dev(rot13_device);
		return 0;
	default:
		return EOPNOTSUPP;
	}
}

DEV_MODULE(rot13, rot13_modevent, NULL);
MODULE_VERSION(rot13, 1);
