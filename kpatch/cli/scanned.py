"""What ``scan`` makes of one file. It imports no click, so that the fast path can take it too."""

# Annotations are values here: as texts, each would be compiled for its NamedTuple at import.

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kpatch import storage as files
from kpatch.containers import target as targets
from kpatch.elf.module import read_module
from kpatch.errors import DONE, FINDING
from kpatch.kernel.host import UNKNOWN_HOST, Host
from kpatch.patch.fast_path import is_nothing_for_us
from kpatch.report import documents
from kpatch.report.command_line import Given
from kpatch.report.scan_text import not_kqemu_text, scan_text
from kpatch.report.style import Style
from kpatch.report.verdict_text import verdict_line

if TYPE_CHECKING:
    from kpatch.patch.assess import Assessment
    from kpatch.report.typed import Assessed, CountedOnly, FileEntry
    from kpatch.signature.model import Signature


class Scanned(NamedTuple):
    """What there is to say of one file: to print, as documents, and its exit code."""

    texts: list[str]
    documents: "list[FileEntry]"
    code: int


class Wish(NamedTuple):
    """What the user asked for, the same for every file; without anything, ``scan FILE``."""

    style: Style
    host: Host = UNKNOWN_HOST
    signatures: "tuple[Signature, ...] | None" = None
    json: bool = False
    verbose: int = 0
    given: Given = ()
    quiet: bool = False

    @property
    def by_bytes_first(self) -> bool:
        """Whether a file that is nothing for kpatch may be told by its bytes alone."""
        return not (self.json or self.verbose or self.signatures)


def scan_file(wish: Wish, path: Path) -> Scanned:
    """Scan one file. Raises what reading it raises, and SignatureError."""
    done = Scanned([], [], DONE)
    for inside in targets.open_target(path).modules:
        module = read_module(inside.data, inside.name)
        refusal = is_nothing_for_us(module) if wish.by_bytes_first else None
        if refusal is not None:
            counted = documents.counted_only(inside.name)
            text = not_kqemu_text(inside.name, refusal, wish.style)
            done.texts.append(_verdict(wish, counted) if wish.quiet else text)
            done.documents.append(counted)
            continue
        # Imported here: most files in a folder do not come this far.
        from kpatch.patch.assess import assess

        result = assess(module, host=wish.host, signatures=wish.signatures)
        document = documents.assessment(result, digest=wish.json or wish.verbose > 1)
        done.documents.append(document)
        if wish.quiet:
            done.texts.append(_verdict(wish, document))
        elif not wish.json:
            place, level = str(path), wish.verbose
            kept = files.kept_for(path)
            text = scan_text(
                document, wish.style, verbose=level, path=place, given=wish.given, kept_for=kept
            )
            done.texts.append(text)
        done = done._replace(code=max(done.code, _exit_code(result)))
    return done


def _verdict(wish: Wish, document: "Assessed | CountedOnly") -> str:
    return verdict_line(document["file"], document["verdict"], wish.style)


def _exit_code(result: "Assessment") -> int:
    from kpatch.patch.assess import Verdict

    fix = result.source_fix
    unsound = result.verdict is Verdict.SOURCE_FIXED and fix is not None and not fix.is_sound
    findings = {Verdict.AFFECTED, Verdict.CHANGED, Verdict.UNKNOWN_BUILD}
    other_kernel = result.is_patched and result.refusal is not None
    return FINDING if result.verdict in findings or unsound or other_kernel else DONE
