/*
 * The few declarations of a FreeBSD 6 to 8 kernel that these samples need, for amd64. Written anew:
 * only names, sizes and orders are the kernel's, because a module's file shows them.
 */
#ifndef FREEBSD_H
#define FREEBSD_H

#include "types.h"

typedef u64 vm_offset_t;
typedef u64 vm_paddr_t;
typedef unsigned long size_t;

/* Linker sets: an array of pointers, put together by section name. */
#define DATA_SET(set, object)						\
	static const void *const __set_##set##_sym_##object		\
	__attribute__((section("set_" #set), used)) = &object

struct mod_metadata {
	int version;
	int type;	/* MDT_ */
	const void *data;
	const char *value;
};

#define MDT_DEPEND 1
#define MDT_MODULE 2
#define MDT_VERSION 3

#define MODULE_METADATA(unique, type, data, value)			\
	static struct mod_metadata _mod_metadata##unique = { 1, type, data, value };	\
	DATA_SET(modmetadata_set, _mod_metadata##unique)

#define MODULE_VERSION(module, number)					\
	static int _##module##_version = number;			\
	MODULE_METADATA(_##module##_version, MDT_VERSION, &_##module##_version, #module)

#define MODULE_DEPEND(module, on, least, best, most)			\
	static int _##module##_depend_on_##on[3] = { least, best, most };	\
	MODULE_METADATA(_##module##_on_##on, MDT_DEPEND, &_##module##_depend_on_##on, #on)

struct sysinit {
	u32 subsystem;
	u32 order;
	void (*function)(const void *);
	const void *argument;
};

#define SYSINIT(unique, subsystem, order, function, argument)		\
	static struct sysinit unique##_sys_init = { subsystem, order, function, argument };	\
	DATA_SET(sysinit_set, unique##_sys_init)
#define SYSUNINIT(unique, subsystem, order, function, argument)		\
	static struct sysinit unique##_sys_uninit = { subsystem, order, function, argument };	\
	DATA_SET(sysuninit_set, unique##_sys_uninit)

#define SI_SUB_KMEM 0x1800000
#define SI_SUB_DRIVERS 0x3100000
#define SI_ORDER_MIDDLE 0x1000000
#define SI_ORDER_ANY 0xfffffff

struct module;
struct moduledata {
	const char *name;
	int (*handler)(struct module *, int, void *);
	void *argument;
};
enum { MOD_LOAD, MOD_UNLOAD, MOD_SHUTDOWN, MOD_QUIESCE };

#ifdef SAMPLE_DEPENDS_ON_KERNEL
#define DEPEND_ON_KERNEL(module)					\
	MODULE_DEPEND(module, kernel, SAMPLE_DEPENDS_ON_KERNEL,		\
	    SAMPLE_DEPENDS_ON_KERNEL, 899999);
#else
#define DEPEND_ON_KERNEL(module)
#endif

#define DEV_MODULE(module, handler, argument)				\
	static struct moduledata module##_mod = { #module, handler, argument };	\
	DEPEND_ON_KERNEL(module)					\
	MODULE_METADATA(_md_##module, MDT_MODULE, &module##_mod, #module);	\
	SYSINIT(module##module, SI_SUB_DRIVERS, SI_ORDER_MIDDLE, module_register_init, &module##_mod)

void module_register_init(const void *);

struct malloc_type {
	struct malloc_type *next;
	u64 magic;
	const char *description;
	void *handle;
};
#define M_MAGIC 877983977
#define M_NOWAIT 0x0001
#define M_WAITOK 0x0002
#define M_ZERO 0x0100

#define MALLOC_DEFINE(type, description)				\
	struct malloc_type type[1] = {{ NULL, M_MAGIC, description, NULL }};	\
	SYSINIT(type##_init, SI_SUB_KMEM, SI_ORDER_ANY, malloc_init, type);	\
	SYSUNINIT(type##_uninit, SI_SUB_KMEM, SI_ORDER_ANY, malloc_uninit, type)

void malloc_init(const void *);
void malloc_uninit(const void *);
void *malloc(unsigned long size, struct malloc_type *type, int flags);
void free(void *address, struct malloc_type *type);

struct sysctl_oid;
struct sysctl_oid_list {
	struct sysctl_oid *first;
};
struct sysctl_oid {
	struct sysctl_oid_list *parent;
	struct sysctl_oid *next;
	int number;
	u32 kind;
	void *pointer;
	s64 value;
	const char *name;
	int (*handler)(struct sysctl_oid *, void *, int, void *);
	const char *format;
	int references;
	u32 version;
	const char *description;
};
#define OID_AUTO (-1)
#define CTLTYPE_INT 2
#define CTLFLAG_RW 0xc0000000
#define SYSCTL_INT(parent, unique, variable, text)			\
	static struct sysctl_oid sysctl__##unique = { &parent, NULL, OID_AUTO,	\
	    CTLTYPE_INT | CTLFLAG_RW, variable, 0, #unique, sysctl_handle_int, "I", 0, 0, text };	\
	DATA_SET(sysctl_set, sysctl__##unique)

extern struct sysctl_oid_list sysctl__debug_children;
int sysctl_handle_int(struct sysctl_oid *, void *, int, void *);

struct cdev {
	void *private[4];
	void *si_drv1;
};
struct thread {
	struct mtx *td_lock;	/* from 700044 on */
};
struct clonedevs;
struct ucred;
struct cdevsw {
	int version;
	u32 flags;
	const char *name;
	int (*open)(struct cdev *, int, int, struct thread *);
	void *fdopen;
	int (*close)(struct cdev *, int, int, struct thread *);
	void *read, *write;
	int (*ioctl)(struct cdev *, unsigned long, char *, int, struct thread *);
	void *poll, *mmap, *strategy, *dump, *kqfilter, *purge, *spare, *mmap_single;
	void *list_head, *list_next[2], *devs;
	int references;
	void *giant;
};
#define D_VERSION_17032005 0x17032005	/* 6.x to 7.2 */
#define D_VERSION_28042009 0x28042009	/* 7.3 and 8.0 */
#define D_NEEDGIANT 0x00400000

struct cdev *make_dev(struct cdevsw *, int minor, u32 uid, u32 gid, int mode, const char *, ...);
void destroy_dev(struct cdev *);
int destroy_dev_sched(struct cdev *);
void drain_dev_clone_events(void);
void *eventhandler_register(void *list, const char *name, void *function, void *, int priority);
void eventhandler_deregister(void *list, void *tag);
void *eventhandler_find_list(const char *name);

struct mtx {
	void *object[4];
	volatile u64 owner;
};
#define MTX_DEF 0
#define MTX_SPIN 1
extern struct mtx Giant;
extern struct mtx sched_lock;
void mtx_init(struct mtx *, const char *name, const char *type, int options);
void mtx_destroy(struct mtx *);
void _mtx_lock_flags(struct mtx *, int, const char *file, int line);
void _mtx_unlock_flags(struct mtx *, int, const char *file, int line);
void _mtx_lock_spin_flags(struct mtx *, int, const char *file, int line);
void _mtx_unlock_spin_flags(struct mtx *, int, const char *file, int line);
void _thread_lock_flags(struct thread *, int, const char *file, int line);
void mi_switch(int flags, struct thread *);
void uio_yield(void);
#define SW_VOL 1

int printf(const char *, ...);
int copyin(const void *user, void *kernel, size_t size);
int copyout(const void *kernel, void *user, size_t size);
void *memcpy(void *, const void *, size_t);
void *memset(void *, int, size_t);
int strcmp(const char *, const char *);
vm_paddr_t pmap_kextract(vm_offset_t);

#define ENOENT 2
#define ENOMEM 12
#define EFAULT 14
#define EBUSY 16
#define ENODEV 19
#define EINVAL 22
#define ENOTTY 25
#define EOPNOTSUPP 45

#endif
