"""What ``kpatch explain`` knows by name: terms, kernels by number, and the pages of docs/."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kpatch.data import pages_folder
from kpatch.errors import UsageError
from kpatch.report.file_documents import explained
from kpatch.report.typed import Explained

PAGES: Final = "docs/"
_PAGE: Final = ".md"


def is_page(about: str) -> bool:
    """Is it the name of a page, or written as one? A folder of that name here may have others."""
    if not about.startswith(PAGES):
        return False
    return about.endswith(_PAGE) or not Path(about).exists()


def page_named(about: str) -> Explained:
    """A page of the documentation, which an installed kpatch carries inside: ``docs/limits.md``.

    Raises UsageError.
    """
    name = about.removeprefix(PAGES).removesuffix(_PAGE)
    if name not in _pages():
        raise UsageError(f"no page '{about}'", todo="pages: " + ", ".join(map(_called, _pages())))
    place = pages_folder() / f"{name}{_PAGE}"
    lines = place.read_text(encoding="utf-8").splitlines()
    return explained(_called(name), "page", lines)


def term_named(about: str) -> Explained:
    """What a word means, or the page that has it for a name. Raises UsageError."""
    # Imported here: the scenarios and properties are defined beside the emulator.
    from kpatch.report.kernel_words import kernel_of

    known = _terms()
    plain = " ".join(about.lower().split())
    word = plain.replace("_", "-")
    tries = (plain, word, word.replace(" ", "-"), word.removesuffix("s"))
    kernel = word.removesuffix("-release")
    for spelling in (*tries, kernel, f"exit code {word}", f"tr {word}", f"source fix {word}"):
        if spelling in known:
            return explained(spelling, "term", [f"{spelling}: {known[spelling]}"])
    of_number = kernel_of(plain)
    if of_number is not None:
        return explained(plain, "term", [f"{plain}: {of_number}"])
    if word.removesuffix(_PAGE) in _pages():
        return page_named(word)
    raise _unknown(about, word)


def to_choose_from() -> list[str]:
    """The terms and pages to choose from; a lint's name means something beside its message only."""
    return [*_terms_to_list(), *map(_called, _pages())]


def _unknown(about: str, word: str) -> UsageError:
    from difflib import get_close_matches

    if Path(about).is_dir():
        return UsageError(f"'{about}' is a folder", todo="name one file, or a word")
    near = get_close_matches(word, [*_terms_to_list(), *_pages()], 3, 0.5)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(
        f"'{about}' is no file and no term",
        todo=f"{meant}'kpatch explain --list' names all terms",
    )


def _pages() -> list[str]:
    return sorted(place.stem for place in pages_folder().glob(f"*{_PAGE}"))


def _called(name: str) -> str:
    return f"{PAGES}{name}{_PAGE}"


def _terms_to_list() -> list[str]:
    from kpatch.report.glossary import lint_terms

    return sorted(_terms().keys() - lint_terms().keys())


def _terms() -> dict[str, str]:
    from kpatch.cli.commands import COMMANDS, EXIT_CODES
    from kpatch.report.glossary import terms

    return terms(EXIT_CODES, COMMANDS)
