"""From an assessment to a plan, or the error that says why there is none."""

from __future__ import annotations

from kpatch.elf.module import Module
from kpatch.errors import DamagedFileError, KpatchError, UnknownModuleError
from kpatch.kernel.detect import Detection, HostLayout
from kpatch.patch.assess import Assessment, Verdict
from kpatch.patch.neutralise import neutralise
from kpatch.patch.plan import Plan, make_plan
from kpatch.units import counted


def prepare(assessment: Assessment, *, replace_source_fix: bool = False) -> Plan:
    """Plan the repair of an assessed module.

    ``replace_source_fix`` switches off source fix A or B first, since two locks would guard one
    slot. Raises the assessment's refusal, AlreadyFixedError where the source fix cannot be
    switched off, LinkerRefusalError where the kernel linker would not take the module,
    DamagedFileError for a module that says it has program headers, and KernelUnknownError where
    cpuid's place is in doubt.
    """
    module, fix = assessment.module, assessment.source_fix
    replaces = replace_source_fix and fix is not None and fix.is_replaceable
    if assessment.refusal is not None and not (
        replaces and assessment.verdict is Verdict.SOURCE_FIXED
    ):
        raise assessment.refusal
    match, detection = assessment.match, assessment.detection
    if match is None or detection is None:
        raise _nothing_to_plan(assessment)
    detection.require_affected()
    for finding in assessment.linker:
        if finding.is_fatal:
            raise finding.error().within(module.name)
    if module.header.phnum:
        raise _with_program_headers(module)
    layout = _layout(module, detection)
    return make_plan(
        module,
        match,
        cpuid=layout.cpuid,
        tss_stride=layout.tss_stride,
        neutralised=neutralise(module, fix) if replaces and fix is not None else None,
    )


def _nothing_to_plan(assessment: Assessment) -> KpatchError:
    return UnknownModuleError(
        f"there is nothing to plan: {assessment.reason}", where=assessment.module.name
    )


def _with_program_headers(module: Module) -> DamagedFileError:
    return DamagedFileError(
        f"it says that it has {counted(module.header.phnum, 'program header')}; a relocatable file "
        "has none, and other readers lose its relocations by them",
        where=module.name,
        todo="set e_phnum, the two bytes at file offset 0x38, to 0",
    )


def _layout(module: Module, detection: Detection) -> HostLayout:
    try:
        return detection.require_layout()
    except KpatchError as error:
        raise (error.within(module.name) if module.name else error) from None
