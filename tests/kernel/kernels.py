"""Linked kernels of our own: struct pcpu and init_secondary as 6.x, 7.x and 8.x have them."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

VERSIONS: Final = {6: 602000, 7: 700055, 8: 800107}
CPUID: Final = {6: 0x3C, 7: 0x34, 8: 0x34}
ENTRIES: Final = {6: 8, 7: 9, 8: 13}
"""Descriptors in a GDT; the TSS has number 6, in 8.x number 9 (selector 0x48)."""

_TIME: Final = {
    6: "struct { long sec; unsigned long frac; } pc_switchtime;",
    7: "unsigned long pc_switchtime;",
    8: "unsigned long pc_switchtime;",
}
_BEHIND: Final = {
    6: "",
    7: "void *pc_allcpu; void *pc_spinlocks;",
    8: "void *pc_allcpu; void *pc_spinlocks; long pc_cp_time[5]; void *pc_device;",
}

_SOURCE: Final = """
typedef unsigned u_int;
int osreldate = {osreldate};
struct tss {{ unsigned rsvd0; unsigned long rsp0; unsigned words[23]; }} __attribute__((packed));
struct region {{ unsigned short limit; unsigned long base; }} __attribute__((packed));
struct segment {{ unsigned long base; long rest[3]; }};
struct tss common_tss[16];
unsigned long gdt[{entries} * {tables}];
struct segment gdt_segs[{entries}];
struct region r_gdt;
struct pcpu {{
    void *pc_curthread, *pc_idlethread, *pc_fpcurthread, *pc_deadthread, *pc_curpcb;
    {time}
    int pc_switchticks;
    {more}
    u_int pc_cpuid;
    u_int pc_cpumask;
    u_int pc_other_cpus;
    {behind}
}};
struct pcpu __pcpu[1];
int bootAP, mp_naps; unsigned long stopped, started; int cpu_apic_ids[16];
void lgdt(struct region *); void ssdtosyssd(struct segment *, void *);
void ssdtosd(struct segment *, void *); void launched(int);
#define GET(field) ({{ u_int got; __asm volatile("movl %%gs:%c1, %0" : "=r"(got) \\
    : "i"(__builtin_offsetof(struct pcpu, field))); got; }})

__asm(".globl lgdt; .type lgdt,@function; lgdt: lgdt (%rdi); mov $16, %eax; mov %eax, %ds; ret;"
      ".size lgdt, . - lgdt");

void init_secondary(void)
{{
    int cpu = bootAP;
    common_tss[cpu] = common_tss[0];
    common_tss[cpu].rsp0 = 0;
    gdt_segs[{slot}].base = (long)&common_tss[cpu];
    {gdt}
    mp_naps++;
    unsigned short tr = {slot} * 8;
    __asm volatile("ltr %0" : : "r"(tr));
    while (!started) __asm volatile("pause");
    launched(GET(pc_cpuid));
}}

void cpustop(void)
{{
    u_int cpu = GET(pc_cpuid), mask = GET(pc_cpumask);
    __asm volatile("lock; btsq %1, %0" : "+m"(stopped) : "r"((unsigned long)cpu));
    while (!(started & mask)) __asm volatile("pause");
    if (GET(pc_other_cpus) & stopped) launched(cpu_apic_ids[cpu]);
}}
void launched(int cpu) {{ mp_naps += 1 << cpu; }}
void ssdtosyssd(struct segment *from, void *to) {{ *(volatile long *)to = from->base; }}
void ssdtosd(struct segment *from, void *to) {{ *(volatile long *)to = from->base; }}
void _start(void) {{ }}
"""
_SHARED: Final = """
    ssdtosyssd(&gdt_segs[{slot}], &gdt[{slot}]);
    lgdt(&r_gdt);
"""
_PRIVATE: Final = """
    struct region ap_gdt;
    for (int x = 0; x < {entries}; x++)
        if (x != {slot} && x != {slot} + 1)
            ssdtosd(&gdt_segs[x], &gdt[{entries} * cpu + x]);
    ssdtosyssd(&gdt_segs[{slot}], &gdt[{entries} * cpu + {slot}]);
    ap_gdt.limit = {entries} * 8 - 1;
    ap_gdt.base = (long)&gdt[{entries} * cpu];
    lgdt(&ap_gdt);
"""
_MIXED: Final = """
    ssdtosyssd(&gdt_segs[{slot}], &gdt[{entries} * cpu + {slot}]);
    lgdt(&r_gdt);
"""
_PLAIN: Final = (
    *("-O2", "-ffreestanding", "-mcmodel=kernel", "-mno-red-zone", "-fno-pic", "-no-pie"),
    *("-nostdlib", "-static", "-fcommon", "-mno-sse", "-fno-stack-protector", "-w"),
    "-Wl,-Ttext=0xffffffff80100000",
)


@cache
def kernel(
    branch: int,
    *options: str,
    compiler: str = "gcc",
    osreldate: int = 0,
    more: str = "",
    gdt: str = "shared",
) -> bytes:
    """A kernel with struct pcpu, the GDT and init_secondary as FreeBSD ``branch`` has them.

    ``more`` are fields in front of cpuid. A table for every CPU is there in both cases, as in
    kernels of 2006, so its size does not tell.
    """
    slot = 9 if branch == 8 else 6
    numbers = {"slot": slot, "entries": ENTRIES[branch]}
    source = _SOURCE.format(
        osreldate=osreldate or VERSIONS[branch],
        time=_TIME[branch],
        behind=_BEHIND[branch],
        more=more,
        gdt={"shared": _SHARED, "private": _PRIVATE, "mixed": _MIXED}[gdt].format(**numbers),
        tables=16,
        **numbers,
    )
    with TemporaryDirectory() as folder:
        (Path(folder) / "kernel.c").write_text(source)
        subprocess.run(
            [compiler, *_PLAIN, *options, "-o", "kernel", "kernel.c"], cwd=folder, check=True
        )
        return (Path(folder) / "kernel").read_bytes()
