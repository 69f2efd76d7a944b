"""The schema and what is printed: every command, every refusal, and not a key beside it."""

from __future__ import annotations

import ast
import json
import struct
from collections.abc import Iterator
from typing import Any, Final, is_typeddict

import click
import pytest

from kpatch.cli.commands import EXIT_CODES, group
from kpatch.elf.klink_model import Consequence
from kpatch.errors import KpatchError
from kpatch.patch.assess import Verdict
from kpatch.ports.build import Standing
from kpatch.ports.place import Change
from kpatch.ports.tree import Method
from kpatch.report import typed, typed_diff, typed_hook, typed_proof
from kpatch.verify.explore.options import MemoryModel
from kpatch.verify.explore.schedule import MoveKind
from tests.cli import schema
from tests.cli.golden import folder
from tests.cli.harness import REPOSITORY, run

_LEAVE: Final = ("--jobs", "1", "--cpus", "2", "--model", "sc", "--scenario", "leave")
_STEP: Final = ("--wrkdir", ".", "--wrksrc", ".", "--stagedir", ".")
_CALLS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "": (("nocmd",), ("--nooption",)),
    "scan": (
        ("scan", "kqemu-7.ko", "kqemu-i386.ko", "other.ko", "patched.ko"),
        ("scan", "bare.ko", "missing.ko", "half.ko", "text.ko"),
    ),
    "apply": (
        ("apply", "--dry-run", "kqemu-7.ko", "kqemu-7-cut.ko", "kqemu-linux.ko"),
        ("apply", "--no-verify", "kqemu-6.ko", "patched.ko", "kqemu-7-fix-a.ko"),
    ),
    "diff": (
        ("diff", "patched.ko"),
        ("diff", "kqemu-7.ko", "patched.ko"),
        ("diff", "half.ko"),
    ),
    "verify": (
        ("verify", *_LEAVE, "kqemu-7.ko", "patched.ko", "kqemu-7-fix-a.ko", "other.ko"),
        ("verify", *_LEAVE, "--replay", "0*2 0d 1*2 1d 1 0", "kqemu-7.ko"),
        ("verify", *_LEAVE, "--max-states", "2", "patched.ko"),
    ),
    "revert": (("revert", "patched.ko", "kqemu-7.ko"), ("revert", "stripped.ko")),
    "report": (("report", "--no-verify", "kqemu-7-offsets.ko"), ("report", "other.ko")),
    "explain": (("explain", "kqemu-7.ko"), ("explain", "TR"), ("explain", "nothing-of-ours")),
    "schema": (("schema", "--nooption"),),
    "lint-signatures": (
        ("lint-signatures", "--examples", str(REPOSITORY / "samples"), "ours.toml"),
        ("lint-signatures", "missing.toml"),
    ),
    "demo": (("demo", "other.ko"),),
    "hook": (
        ("hook",),
        ("hook", "--install"),
        ("hook", "--ports-dir", "tree"),
        ("hook", "--ports-dir", "tree", "--overlay", "o/verlay", "--install"),
    ),
    "hook apply": (("hook", "apply", *_STEP, "kqemu-7-data.ko"),),
    "hook verify": (("hook", "verify", *_STEP, "--no-verify", "patched.ko", "missing.ko"),),
    "hook staged": (("hook", "staged", *_STEP, "patched.ko"),),
    "hook packaged": (("hook", "packaged", *_STEP, "patched.ko"),),
}


@pytest.fixture(scope="module")
def documents() -> dict[str, list[dict[str, Any]]]:
    """What each command answers, to calls that work and to calls that are refused."""
    with folder() as place:
        whole = (place / "kqemu-7.ko").read_bytes()
        (place / "half.ko").write_bytes(whole[: len(whole) // 2])
        (place / "text.ko").write_text("no module\n")
        (place / "bare.ko").write_bytes(_misaligned(whole))
        ours = (REPOSITORY / "signatures" / "kqemu-amd64-tr.toml").read_text(encoding="utf-8")
        (place / "ours.toml").write_text(ours.replace("kqemu-7.ko", "kqemu-8.ko"))
        _tree(place / "tree")
        return {
            name: [run(*call, "--json").document for call in calls]
            for name, calls in _CALLS.items()
        }


def _misaligned(whole: bytes) -> bytes:
    """A module that the kernel linker would place wrongly: its first section has alignment 0."""
    (table,) = struct.unpack_from("<Q", whole, 0x28)  # e_shoff
    at = table + 64 + 48  # section 1, sh_addralign
    return whole[:at] + bytes(8) + whole[at + 8 :]


def _tree(place: Any) -> None:
    """A ports tree with overlays and the port, as far as the survey looks at it."""
    (place / "Mk" / "Uses").mkdir(parents=True)
    (place / "Mk" / "bsd.port.mk").write_text("OVERLAYS?=\nUSE_OVERLAYS=yes\n")
    port = place / "emulators" / "kqemu-kmod"
    port.mkdir(parents=True)
    (port / "Makefile").write_text("PORTNAME=kqemu\n.include <bsd.port.mk>\n")


@pytest.mark.parametrize("command", _CALLS)
def test_every_document_is_as_the_schema_says(
    documents: dict[str, list[dict[str, Any]]], command: str
) -> None:
    for document, call in zip(documents[command], _CALLS[command], strict=True):
        assert schema.problems(document) == [], call
        assert document["command"] == command, call


def test_an_unknown_key_fails_wherever_it_stands(
    documents: dict[str, list[dict[str, Any]]],
) -> None:
    seen: set[str] = set()
    for document in (_short(each) for found in documents.values() for each in found):
        assert schema.validator().is_valid(document)
        for place, path in _objects(document, document["command"]):
            if path in seen or path.endswith((".names", ".header")):
                continue  # Their keys are a signature's own names.
            seen.add(path)
            place["nobody knows this"] = 1
            assert not schema.validator().is_valid(document), path
            del place["nobody knows this"]
    assert {"scan.files[].linker[]", "verify.files[].checks[]", "hook.survey.traps[]"} <= seen


def _short(value: Any) -> Any:
    """A document with no more than two of each list: what is checked is its keys."""
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return [_short(each) for each in value[:2]] if isinstance(value, list) else value


def test_no_object_of_the_schema_is_open_and_no_value_is_anything() -> None:
    for node, path in _objects(_schema()["$defs"], ""):
        if "properties" in node:
            parts = node.get("additionalProperties") is False
            whole = node.get("unevaluatedProperties") is False
            # Those that others add keys to are closed where they are used.
            assert parts or whole or path.endswith("_keys"), path
        if path.endswith((".properties", ".$defs")) or path == "":
            for name, each in node.items():
                assert each, f"{path}.{name}"
        if node.get("type") == "array":
            assert "items" in node, path


def _objects(value: Any, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object of a document, with the path to it, in which lists have no numbers."""
    if isinstance(value, dict):
        yield value, path
        for key, each in value.items():
            yield from _objects(each, f"{path}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each, f"{path}[]")


def test_every_command_has_its_documents_in_the_test_and_in_the_schema() -> None:
    context = click.Context(group)
    names = set(group.list_commands(context)) | {""}
    hook = group.get_command(context, "hook")
    assert isinstance(hook, click.Group)
    names |= {f"hook {each}" for each in hook.commands}
    assert names == set(_CALLS) == set(_schema()["properties"]["command"]["enum"])


def test_the_words_of_the_schema_are_those_of_the_program() -> None:
    found = _schema()["$defs"]
    module, difference = found["module"]["properties"], found["action"]["properties"]
    kinds = {each.kind for each in _leaves(KpatchError)}
    for words, known in (
        (module["verdict"], {each.value for each in Verdict}),
        (module["linker"]["items"]["properties"]["outcome"], {each.value for each in Consequence}),
        (difference["change"], {each.value for each in Change}),
        (found["step"]["properties"]["standing"], {each.value for each in Standing}),
        (found["survey"]["properties"]["method"]["anyOf"][0], {each.value for each in Method}),
        (found["explored"]["properties"]["model"], {each.value for each in MemoryModel}),
        (found["error"]["properties"]["error"], kinds),
    ):
        assert set(words["enum"]) == known
    codes = _schema()["properties"]["exit_code"]["enum"]
    assert {str(each) for each in codes} == set(EXIT_CODES)
    moves = found["lanes"]["properties"]["steps"]["items"]["properties"]["move"]["enum"]
    assert set(moves) == {each.value for each in MoveKind}


def _schema() -> dict[str, Any]:
    found = json.loads(run("schema").out)
    assert isinstance(found, dict)
    return found


def _leaves(kind: type[KpatchError]) -> Iterator[type[KpatchError]]:
    below = kind.__subclasses__()
    yield from [kind] if not below else (each for one in below for each in _leaves(one))


def _shipped() -> dict[str, Any]:
    found = schema.validator().schema
    assert isinstance(found, dict)
    return found


TYPED: Final[dict[str, Any]] = {
    "error": typed.ErrorFacts,
    "refused": typed.Refused,
    "facts": typed.Facts,
    "module": typed.Assessed,
    "module.identity": typed.IdentityFacts,
    "module.linker[]": typed.RuleFacts,
    "module.patch": typed.PatchFacts,
    "module.source_fix": typed.SourceFixFacts,
    "module.kernel": typed.KernelFacts,
    "module.kernel.evidence[]": typed.EvidenceFacts,
    "module.kernel.evidence[].versions[]": typed.RangeFacts,
    "module.kernel.conflicts[]": typed.ConflictFacts,
    "module.match": typed.MatchFacts,
    "module.match.image": typed.ImageFacts,
    "module.match.sites[]": typed.SiteFacts,
    "applied": typed.Applied,
    "reverted": typed.Reverted,
    "lint": typed.Linted,
    "finding": typed.LintFacts,
    "explanation": typed.Explained,
    "report": typed.Reported,
    "report.size": typed_diff.SizeFacts,
    "report.sections[]": typed_diff.SectionFacts,
    "report.trampolines[]": typed_diff.TrampolineFacts,
    "report.trampolines[].lines[]": typed_diff.AnnotatedFacts,
    "difference_keys": typed_diff.Compared,
    "difference_keys.before": typed_diff.NamedFacts,
    "difference_keys.tables[]": typed_diff.TableFacts,
    "difference_keys.hunks[]": typed_diff.HunkFacts,
    "difference_keys.hunks[].before": typed_diff.SpanFacts,
    "difference_keys.hunks[].rows[]": typed_diff.RowFacts,
    "difference_keys.omitted[]": typed_diff.OmittedFacts,
    "line": typed_diff.LineFacts,
    "proof_keys": typed_proof.ProofFacts,
    "proof_keys.window": typed_proof.WindowFacts,
    "check": typed_proof.CheckFacts,
    "explored": typed_proof.ExploredFacts,
    "explored.counterexamples[]": typed_proof.CounterexampleFacts,
    "lanes": typed_proof.LanesFacts,
    "lanes.steps[]": typed_proof.LaneStepFacts,
    "reader": typed_proof.ReadingFacts,
    "replayed": typed_proof.ReplayFacts,
    "machine": typed_proof.MachineFacts,
    "machine.runs[]": typed_proof.TriedFacts,
    "machine.runs[].cpus[]": typed_proof.CpuFacts,
    "demo": typed_proof.Demonstrated,
    "demo.scenes[]": typed_proof.SceneFacts,
    "demo.scenes[].panic": typed_proof.PanicFacts,
    "demo.scenes[].processes[]": typed_proof.ProcessFacts,
    "guide": typed_hook.GuideFacts,
    "guide.steps[]": typed_hook.GuideStepFacts,
    "survey": typed_hook.SurveyFacts,
    "survey.traps[]": typed_hook.TrapFacts,
    "action": typed_hook.ActionFacts,
    "step": typed_hook.StepFacts,
}
"""Place in the schema -> keys that the type checker knows."""


def _node(place: str) -> dict[str, Any]:
    """The object of the schema at ``place``; that which may be null without its null."""
    first, *rest = place.split(".")
    node = _shipped()["$defs"][first]
    for name in rest:
        node = node["properties"][name.removesuffix("[]")]
        node = node["items"] if name.endswith("[]") else node
        node = next((one for one in node.get("anyOf", ()) if one.get("type") == "object"), node)
    assert isinstance(node, dict)
    return node


@pytest.mark.parametrize("name", TYPED)
def test_the_type_checker_knows_the_keys_of_the_schema(name: str) -> None:
    known, keys = _node(name), TYPED[name]
    assert keys.__required_keys__ | keys.__optional_keys__ == set(known["properties"])
    may_miss = {"readers"} if name == "applied" else set()
    assert keys.__required_keys__ - may_miss == set(known["required"])


def test_the_type_checker_knows_the_keys_of_an_answer() -> None:
    required, optional = typed.Envelope.__required_keys__, typed.Envelope.__optional_keys__
    assert required == set(_shipped()["required"])
    assert required | optional == set(_shipped()["properties"])
    more = typed_proof.Verified.__required_keys__ - typed_proof.ProofFacts.__required_keys__
    assert more == set(_shipped()["$defs"]["verified"]["properties"]) - {"verdict"}


def test_every_typed_document_stands_beside_its_part_of_the_schema() -> None:
    known = {*TYPED.values(), typed.Beside, typed.CountedOnly, typed.FileEntry, typed.Envelope}
    known |= {typed_diff.Differing, typed_proof.Verified}
    for module in (typed, typed_diff, typed_hook, typed_proof):
        made = {each for each in vars(module).values() if is_typeddict(each)}
        assert made <= known, made - known


def test_no_document_is_made_outside_the_room_for_them() -> None:
    """Its mark: a dictionary with the file or the verdict in it, or a method that makes one."""
    package = REPOSITORY / "kpatch"
    for path in sorted(package.rglob("*.py")):
        if path.is_relative_to(package / "report"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.name != "to_document", path
            keys = node.keys if isinstance(node, ast.Dict) else ()
            words = {key.value for key in keys if isinstance(key, ast.Constant)}
            assert not words & {"file", "verdict", "lanes", "seconds"}, f"{path}: {words}"
