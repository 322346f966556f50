"""The files that are made of a stream of results, beside the stream itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.harness.badge import to_badge
from conformance.harness.junit import to_junit
from conformance.harness.markdown import to_markdown
from conformance.harness.report import render_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from conformance.harness.run import Run

STREAM: Final = "results.jsonl"
MAKERS: Final[dict[str, tuple[str, Callable[[Run], str]]]] = {
    "html": ("report.html", render_page),
    "junit": ("junit.xml", to_junit),
    "markdown": ("summary.md", to_markdown),
    "badge": ("badge.svg", to_badge),
}
"""By the name of a form: the name of its file, and what makes its text."""


def make(run: Run, form: str) -> str:
    """The text of one form."""
    _, maker = MAKERS[form]
    return maker(run)


def write(run: Run, folder: Path, forms: Iterable[str] = tuple(MAKERS)) -> list[Path]:
    """Write files of a run into a folder, which is made, and say which.

    Every file is there as a whole or as it was before, however the process ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for form in forms:
        name, _ = MAKERS[form]
        replace(folder / name, make(run, form))
        written.append(folder / name)
    return written


def replace(path: Path, text: str) -> None:
    """Write a file in one go."""
    half = path.with_name(f".{path.name}.half")
    half.write_text(text, encoding="utf-8", errors="replace")
    half.replace(path)
