"""The keys of the documents of ``kpatch hook``, for the type checker."""

from __future__ import annotations

from typing import TypedDict

from kpatch.report.typed_proof import ProofFacts


class GuideStepFacts(TypedDict):
    """One thing to do: a file to put somewhere, or lines to add to one."""

    what: str
    where: str
    lines: list[str]


class GuideFacts(TypedDict):
    """The steps of one way into a build."""

    title: str
    steps: list[GuideStepFacts]


class TrapFacts(TypedDict):
    """One thing to know before a build."""

    rule: str
    what: str
    where: str
    todo: str
    blocks: bool


class SurveyFacts(TypedDict):
    """What was seen in a ports tree. ``ways`` has a key for each port."""

    ports_dir: str
    era: str
    method: str | None
    ports: list[str]
    ways: dict[str, str | None]
    blocked: bool
    traps: list[TrapFacts]


class ActionFacts(TypedDict):
    """One file of the hook, and what happened to it."""

    file: str
    change: str


class StepFacts(TypedDict):
    """What one step of a build did to one file."""

    step: str
    file: str
    verdict: str
    standing: str
    sha256: str
    line: str
    proof: ProofFacts | None
