"""Checks JSON documents: a shape is a type, a set of words, a list of one shape, or a table."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Shape: TypeAlias = Any


class Optional:
    """A shape whose key may be missing, or whose value may be null."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


class Open:
    """The shape of a table that may have more keys than are named."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


def mismatches(value: Any, shape: Shape, where: str = "$") -> list[str]:
    """Every place where ``value`` is not of ``shape``; a key that no shape names is one too."""
    if isinstance(shape, Optional):
        return [] if value is None else mismatches(value, shape.shape, where)
    if isinstance(shape, Open):
        known = {key: each for key, each in value.items() if key in shape.shape}
        return mismatches(known, shape.shape, where)
    if isinstance(shape, dict):
        return _table(value, shape, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where} is no list: {value!r}"]
        return [
            found
            for index, each in enumerate(value)
            for found in mismatches(each, shape[0], f"{where}[{index}]")
        ]
    if isinstance(shape, set):
        return [] if value in shape else [f"{where} is {value!r}, not one of {sorted(shape)}"]
    if isinstance(value, bool) and shape is not bool:
        return [f"{where} is a truth value"]
    return [] if isinstance(value, shape) else [f"{where} is {value!r}, no {shape}"]


def _table(value: Any, shape: dict[Any, Shape], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is no table: {value!r}"]
    shapes = dict.fromkeys(value, shape[str]) if set(shape) == {str} else shape
    found = [f"{where} has {key!r}, which is unknown" for key in value if key not in shapes]
    for key, inner in shapes.items():
        if key in value:
            found += mismatches(value[key], inner, f"{where}.{key}")
        elif not isinstance(inner, Optional):
            found.append(f"{where} lacks {key!r}")
    return found


_MACHINE: Final[Shape] = {
    "machine": {"qemu", "bochs"},
    "name": {"QEMU", "Bochs"},
    "version": str,
    "cpus": int,
    "rounds": int,
    "verdict": {"passed", "failed", "withheld"},
    "runs": [
        {
            "name": str,
            "kind": {"control", "test"},
            "gdt": {"shared", "private"},
            "holds": bool,
            "outcome": {"done", "hang", "reset", "broken"},
            "rounds": int,
            "wrong_tss": int,
            "faults": int,
            "seconds": (int, float),
            "findings": [str],
            "cpus": [dict],
            "registers": [str],
        }
    ],
}
ERROR: Final[Shape] = {
    "error": {
        "usage",
        "not-elf-or-damaged",
        "unknown-module",
        "no-single-match",
        "not-affected",
        "already-fixed",
        "kernel-unknown",
        "kernel-linker-refuses",
        "verification-failed",
        "io",
    },
    "exit_code": {2, 10, 11, 12, 13, 14, 15, 16, 17, 18},
    "what": str,
    "where": str,
    "todo": str,
}
REFUSED: Final[Shape] = {"file": str, "status": {"refused"}, "error": ERROR}
_FACTS: Final[Shape] = {"size": int, "sha256": str}
_READER: Final[Shape] = {
    "reader": {"pyelftools", "LIEF"},
    "version": str,
    "agrees": bool,
    "differences": [str],
}
_EVIDENCE: Final[Shape] = {
    "source": str,
    "seen": str,
    "means": str,
    "versions": [dict],
    "confidence": Optional(str),
    "is_decisive": bool,
    "is_overridden": bool,
}
_SITE: Final[Shape] = {
    "site": {"entry", "exit"},
    "image_offset": int,
    "section_offset": int,
    "file_offset": int,
    "size": int,
    "instructions": [str],
}
MODULE: Final[Shape] = {
    "file": str,
    "size": int,
    "sha256": str,
    "verdict": {
        "affected",
        "patched",
        "patched-then-changed",
        "patched-then-stripped",
        "fixed-by-source",
        "not-affected",
        "unknown-build",
        "not-kqemu",
    },
    "reason": str,
    "identity": dict,
    "linker": [dict],
    "refusal": Optional(ERROR),
    "patch": Optional(
        {
            "version": str,
            "signature": str,
            "cpuid": int,
            "original_sha256": str,
            "original_size": int,
            "source_fix": str,
        }
    ),
    "source_fix": Optional(
        {"variant": {"A", "B", "C", "unknown"}, "judgement": str, "evidence": [str]}
    ),
    "kernel": Optional(
        {
            "low": Optional(int),
            "high": Optional(int),
            "kernels": [str],
            "gdt": {"shared", "private", "unknown"},
            "cpuid": Optional(int),
            "evidence": [_EVIDENCE],
            "conflicts": [dict],
            "not_affected": Optional(str),
            "uncovered": Optional(str),
        }
    ),
    "match": Optional(
        {
            "signature": str,
            "title": str,
            "image": {
                "section": str,
                "section_offset": int,
                "file_offset": int,
                "size": int,
                "header": {str: int},
                "evidence": str,
            },
            "names": {str: (int, str)},
            "sites": [_SITE],
        }
    ),
}
_LINE: Final[Shape] = {
    "offset": int,
    "raw": str,
    "text": str,
    "labels": [str],
    "relocations": [str],
}
DIFFERENCE: Final[Shape] = {
    "before": {"name": str, **_FACTS},
    "after": {"name": str, **_FACTS},
    "tables": [
        {
            "table": {"header", "sections", "symbols", "relocations", "other contents"},
            "columns": [str],
            "removed": [[str]],
            "added": [[str]],
        }
    ],
    "hunks": [
        {
            "section": str,
            "place": str,
            "before": {"offset": int, "lines": int},
            "after": {"offset": int, "lines": int},
            "relocations": [str],
            "rows": [
                {
                    "change": {"same", "removed", "added"},
                    "before": Optional(_LINE),
                    "after": Optional(_LINE),
                }
            ],
        }
    ],
    "omitted": [{"section": str, "place": str, "before": int, "after": int}],
}
APPLIED: Final[Shape] = {
    "file": str,
    "status": {"patched", "already-patched", "would-patch"},
    "output": str,
    "in_place": bool,
    "copy": Optional(str),
    "before": _FACTS,
    "after": _FACTS,
    "module": MODULE,
    "notices": [str],
    "diff": Optional(DIFFERENCE),
}
REVERTED: Final[Shape] = {
    "file": str,
    "status": {"reverted", "taken-out"},
    "output": str,
    "before": _FACTS,
    "after": _FACTS,
    "notices": [str],
}
_EXPLORED: Final[Shape] = {
    "verdict": {"proven", "violated", "not-proven"},
    "kind": {"obligation", "control"},
    "name": str,
    "scenario": str,
    "model": {"sc", "tso"},
    "cpus": int,
    "states": int,
    "transitions": int,
    "holds": bool,
    "bound": Optional(str),
    "counterexamples": [dict],
}
PROOF: Final[Shape] = {
    "file": Optional(str),
    "verdict": {"proven", "violated", "not-proven", "withheld", "not-judged"},
    "patched": bool,
    "cpuid": int,
    "signature": str,
    "seconds": (int, float),
    "max_states": int,
    "every_instruction": bool,
    "window": Optional({"patched": int, "unpatched": int, "bound": int, "holds": bool}),
    "checks": [{"name": str, "sentence": str, "holds": bool, "wrong": [str], "unknown": [str]}],
    "explored": [Open(_EXPLORED)],
    "obligations": int,
    "missing": [str],
    "caveat": str,
}
REPLAYED: Final[Shape] = {"file": str, "obligation": str, "lanes": dict}
FILES: Final = {
    "scan": MODULE,
    "apply": {**APPLIED, "proof": Optional(PROOF), "readers": [_READER]},
    "diff": DIFFERENCE,
    "revert": REVERTED,
    "demo": {
        "file": str,
        "machine": {"qemu", "bochs"},
        "name": str,
        "version": str,
        "cpus": int,
        "rounds": int,
        "holds": bool,
        "scenes": [
            {
                "name": str,
                "must_panic": bool,
                "holds": bool,
                "panicked": bool,
                "outcome": {"done", "hang", "reset", "broken"},
                "said": str,
                "seconds": (int, float),
                "panic": Optional(dict),
                "processes": [{"cpu": int, "rounds": int, "clobbered": int}],
                "registers": [str],
            }
        ],
    },
    "verify": {**PROOF, "readers": [_READER], "machines": [_MACHINE]},
}


def check(document: dict[str, Any], command: str, code: int) -> None:
    """Fail unless ``document`` is the whole answer of ``command`` that exited with ``code``."""
    envelope = {
        "kpatch": str,
        "command": {command},
        "exit_code": {code},
        "files": [dict],
        "error": Optional(ERROR),
    }
    found = mismatches(document, envelope)
    for index, each in enumerate(document["files"]):
        shape = FILES[command]
        if each.get("status") == "refused":
            shape = REFUSED
        elif "lanes" in each:
            shape = REPLAYED
        found += mismatches(each, shape, f"$.files[{index}]")
    assert not found, "\n".join(found)
