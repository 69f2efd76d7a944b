"""The error tree. Each leaf carries the exit code that the command line returns for it.

A message has three parts: what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

DONE = 0
FINDING = 1

Option: TypeAlias = Literal["--osversion", "--replace-source-fix"]
"""What a person can say to ``kpatch apply`` so that it does not refuse."""


class KpatchError(Exception):
    """Anything kpatch refuses or cannot do. Never raised itself, only its subclasses are.

    ``option`` is the one of ``apply`` that would have it done. ``left`` says what it left as it
    was; a command that writes fills it in.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "error"

    def __init__(
        self, what: str, *, where: str = "", todo: str = "", option: Option | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo
        self.option = option
        self.left = ""

    def __str__(self) -> str:
        """One line: ``where: what; todo; left``."""
        line = f"{self.where}: {self.what}" if self.where else self.what
        return "; ".join(filter(None, (line, self.todo, self.left)))

    def within(self, where: str) -> KpatchError:
        """The same error, said of ``where`` (usually a file) as well. Returns itself."""
        if not self.where:
            self.where = where
        elif not self.where.startswith(where) and f": {where}" not in self.where:
            self.where = f"{where}: {self.where}"
        return self


class UsageError(KpatchError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2
    kind = "usage"


class DamagedFileError(KpatchError):
    """Not an ELF file, or one whose tables contradict its size or each other."""

    exit_code = 10
    kind = "not-elf-or-damaged"


class UnknownModuleError(KpatchError):
    """A sound file, but not a module that a signature knows."""

    exit_code = 11
    kind = "unknown-module"


class OtherModuleError(UnknownModuleError):
    """A sound file with nothing in it for kpatch. In a folder it is passed over."""


class OtherSignatureError(UnknownModuleError):
    """A module that is patched with a signature which is not here."""


class MatchError(KpatchError):
    """A site matched nowhere, more than once, or where it may not be patched."""

    exit_code = 12
    kind = "no-single-match"


class NotAffectedError(KpatchError):
    """The module, or the kernel it is for, does not have the bug."""

    exit_code = 13
    kind = "not-affected"


class AlreadyFixedError(KpatchError):
    """The module carries one of the source fixes."""

    exit_code = 14
    kind = "already-fixed"


class KernelUnknownError(KpatchError):
    """The evidence does not say, or contradicts itself about, which kernel the module is for."""

    exit_code = 15
    kind = "kernel-unknown"


class LinkerRefusalError(KpatchError):
    """The kernel linker would refuse the file, or panic on it."""

    exit_code = 16
    kind = "kernel-linker-refuses"


class VerificationError(KpatchError):
    """The proof failed, or was withheld."""

    exit_code = 17
    kind = "verification-failed"


class FileAccessError(KpatchError):
    """A file could not be read, written or replaced."""

    exit_code = 18
    kind = "io"


class MachineError(KpatchError):
    """The machine refused what kpatch needs: memory, processes, open files, a library."""

    exit_code = 18
    kind = "machine"


class BugError(KpatchError):
    """What nobody foresaw: a bug of kpatch, as sysexits.h numbers it (EX_SOFTWARE)."""

    exit_code = 70
    kind = "bug"


class SignatureError(KpatchError):
    """A data file of ours (signature, kernel table) breaks its schema. A bug in the data."""

    exit_code = 2
    kind = "signature"
