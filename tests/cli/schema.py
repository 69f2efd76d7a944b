"""Checks JSON documents against the schema that kpatch ships, with a library for schemas."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator


@cache
def validator() -> Draft202012Validator:
    """The shipped schema, which is one itself."""
    text = (resources.files("kpatch.report") / "schema.json").read_text(encoding="utf-8")
    found = json.loads(text)
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def problems(document: dict[str, Any]) -> list[str]:
    """Every place where the document breaks the schema."""
    return [
        f"{each.json_path}: {each.message[:2000]}" for each in validator().iter_errors(document)
    ]


def check(document: dict[str, Any], command: str, code: int) -> None:
    """Fail unless ``document`` is the whole answer of ``command`` that exited with ``code``."""
    assert not problems(document), "\n".join(problems(document))
    assert (document["command"], document["exit_code"]) == (command, code)
    assert all(each["verdict"] for each in document["files"])
