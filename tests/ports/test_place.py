"""Writing the files of the hook, and taking away exactly those."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpatch.errors import FileAccessError, UsageError
from kpatch.ports import place, stamp
from kpatch.ports.place import Change, HookFile
from kpatch.ports.tree import Method, survey
from tests.ports.harness import Tree


def files(tree: Tree) -> tuple[HookFile, ...]:
    """The files of the tree's own method."""
    seen = survey(tree.ports_dir)
    assert seen.method is not None
    return place.files_for(seen.method, seen.ports, tree.overlay)


def everything(folder: Path) -> dict[Path, bytes | None]:
    """Every path below, with the contents of files."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def install(tree: Tree) -> list[Change]:
    """Install, and say what happened."""
    actions = place.plan_install(files(tree))
    place.carry_out(actions)
    return [action.change for action in actions]


def uninstall(tree: Tree) -> list[Change]:
    """Uninstall, and say what happened."""
    actions = place.plan_uninstall(files(tree))
    place.carry_out(actions)
    return [action.change for action in actions]


def test_a_plan_writes_nothing(plain: Tree) -> None:
    before = everything(plain.root)
    place.plan_install(files(plain))
    place.plan_uninstall(files(plain))
    assert everything(plain.root) == before


def test_installing_writes_the_shipped_text_and_a_stamp(plain: Tree) -> None:
    assert set(install(plain)) == {Change.WRITE}
    for file in files(plain):
        text = file.destination.read_text()
        assert text.startswith((place._DATA / file.template).read_text())
        assert text.splitlines()[-1].startswith("# Written by kpatch hook; SHA-256")
        assert file.destination.stat().st_mode & 0o777 == 0o644


def test_installing_twice_changes_nothing(plain: Tree) -> None:
    install(plain)
    before = everything(plain.root)
    assert set(install(plain)) == {Change.SAME}
    assert everything(plain.root) == before


def test_uninstalling_gives_back_the_tree_as_it_was(plain: Tree) -> None:
    before = everything(plain.root)
    install(plain)
    assert set(uninstall(plain)) == {Change.REMOVE}
    assert everything(plain.root) == before


def test_uninstalling_twice_says_that_nothing_is_there(plain: Tree) -> None:
    install(plain)
    uninstall(plain)
    assert set(uninstall(plain)) == {Change.ABSENT}


def test_a_changed_file_is_kept(plain: Tree) -> None:
    install(plain)
    changed = files(plain)[0].destination
    changed.write_text("# mine\n" + changed.read_text())
    assert uninstall(plain)[0] is Change.KEPT
    assert changed.read_text().startswith("# mine\n")


def test_other_files_in_the_folders_are_kept(plain: Tree) -> None:
    install(plain)
    other = files(plain)[0].destination.parent / "other"
    other.write_text("x")
    uninstall(plain)
    assert other.read_text() == "x"


def test_a_file_of_an_older_kpatch_is_replaced(plain: Tree) -> None:
    install(plain)
    path = files(plain)[0].destination
    path.write_bytes(stamp.stamped("# what an older version wrote\n"))
    assert install(plain)[0] is Change.UPDATE
    assert path.read_bytes() == files(plain)[0].contents


def test_a_file_of_somebody_else_stops_the_whole_installation(plain: Tree) -> None:
    last = files(plain)[-1].destination
    last.parent.mkdir(parents=True)
    last.write_text("# mine\n")
    before = everything(plain.root)
    with pytest.raises(UsageError, match="a file that kpatch did not write"):
        install(plain)
    assert everything(plain.root) == before


def test_a_link_is_a_file_of_somebody_else(plain: Tree) -> None:
    install(plain)
    path = files(plain)[0].destination
    path.rename(path.with_name("real"))
    path.symlink_to("real")
    with pytest.raises(UsageError):
        install(plain)
    assert uninstall(plain)[0] is Change.KEPT


def test_a_script_that_calls_the_steps_is_left(tmp_path: Path) -> None:
    old = Tree(tmp_path, "old")
    script = old.port / "scripts" / "post-build"
    script.parent.mkdir()
    script.write_text('. "$SCRIPTDIR/kpatch.sh"; kpatch_step apply\n')
    assert install(old) == [Change.WRITE, Change.ADOPTED, Change.WRITE, Change.WRITE]
    assert uninstall(old) == [Change.REMOVE, Change.KEPT, Change.REMOVE, Change.REMOVE]
    assert "kpatch_step" in script.read_text()


def test_a_failed_write_leaves_no_half_file(tmp_path: Path) -> None:
    modern = Tree(tmp_path, "modern")
    modern.overlay.write_text("a file where the folder should be")
    with pytest.raises(FileAccessError, match="cannot write it"):
        install(modern)
    assert modern.overlay.read_text() == "a file where the folder should be"


def test_every_shipped_file_of_both_methods_exists() -> None:
    for method in Method:
        for file in place.files_for(method, (), Path("overlay")):
            assert file.contents
    assert place.fragment().is_file()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r")))
def test_a_stamped_text_holds(text: str) -> None:
    assert stamp.holds(stamp.stamped(text + "\n"))


@given(st.text(max_size=40), st.data())
def test_a_stamp_does_not_survive_a_change_of_any_byte(text: str, data: st.DataObject) -> None:
    written = bytearray(stamp.stamped(text + "\n"))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    assert not stamp.holds(bytes(written))


@given(st.binary())
def test_any_bytes_can_be_asked_for_their_stamp(data: bytes) -> None:
    assert not stamp.holds(data)
