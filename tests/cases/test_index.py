"""Where the outcome of each script that makes such inputs is a test. A row names what it covers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
INDEX: dict[str, dict[str, tuple[str, ...]]] = {
    "ds_prefix.sh": {"cases/test_tools.py": ("a_prefix_that_does_nothing_is_proven_not_to",)},
    "many_sections.sh": {
        "cases/test_tools.py": ("a_module_of_3000_sections_is_proven",),
    },
    "note_removed.sh": {
        "cases/test_tools.py": (
            "without_its_note_it_is_known_and_says_what_it_cannot_give_back",
            "what_no_kernel_loads_any_more_is_told_as_such",
        ),
        "patch/test_stripped.py": ("a_module_without_its_note_is_proven_as_it_is",),
    },
    "staged_strip.sh": {
        "cases/test_tools.py": ("staged_files_that_tools_rewrote_are_accepted",),
        "patch/test_stripped.py": ("the_round_trip_through_every_tool",),
        "ports/test_steps.py": ("other_bytes_in_the_stage_are_proven_again",),
    },
    "make_elf_inputs.py": {
        "cases/test_odd_modules.py": (
            "it_is_patched_and_gives_its_original_back",
            "it_is_refused_with_what_helps",
        ),
        "patch/test_messages.py": ("compressed_debug_sections_are_named_with_the_way_out",),
    },
    "make_packages.sh": {
        "cases/test_packages.py": (
            "the_module_and_its_sums_change_and_nothing_else",
            "it_is_refused_and_stays_as_it_is",
        ),
        "package/test_pkg_shape.py": (
            "it_becomes_the_package_that_pkg_would_make_of_the_patched_module",
        ),
        "package/test_foreign.py": ("it_is_told_under_its_own_name_and_as_module_and_package",),
    },
    "messages.sh": {
        "cli/test_containers.py": ("the_patch_is_the_same_through_every_container",),
        "patch/test_messages.py": (
            "what_is_no_kernel_is_answered_with_which_file_to_give",
            "compressed_debug_sections_are_named_with_the_way_out",
        ),
        "patch/test_gzipped.py": ("several_members_and_padding_are_read_as_gunzip_does",),
        "cli/test_replacing.py": (
            "an_immutable_file_is_named_as_such_and_no_copy_stays",
            "acl_and_extended_attributes_survive",
            "standard_input_is_no_name_for_the_file_behind_it",
        ),
        "cli/test_interrupted.py": ("a_disk_that_is_full_leaves_the_old_file",),
        "cli/test_any_step.py": ("interrupted_at_any_step_it_leaves_nothing_else_behind",),
        "cli/test_boundary.py": ("an_interrupt_while_kpatch_starts_is_told_as_everywhere",),
    },
}


@pytest.mark.parametrize("script", INDEX)
def test_the_outcome_of_each_script_is_a_test(script: str) -> None:
    for file, names in INDEX[script].items():
        source = (TESTS / file).read_text(encoding="utf-8")
        found = set(re.findall(r"^def test_(\w+)\(", source, re.MULTILINE))
        assert set(names) <= found, file
