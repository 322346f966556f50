"""A verdict as people read it: in a terminal, as Markdown for a release, as one HTML page."""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from markupsafe import Markup
from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from conformance.harness.markdown import block, code, plain, tidy
from conformance.harness.pages import TEMPLATES, environment
from conformance.harness.records import printable
from conformance.harness.run import short
from conformance.harness.summary import grid_of, show
from conformance.regress.findings import WHO
from conformance.regress.verdict import HEADINGS

if TYPE_CHECKING:
    from typing import TextIO

    from rich.console import RenderableType

    from conformance.regress.findings import Finding, Kind
    from conformance.regress.verdict import Verdict

FOLDER: Final = Path(__file__).parent / "templates"
STYLES: Final[dict[Kind, str]] = {"same": "green", "changed": "yellow", "broken": "bold red"}
MARKS: Final[dict[Kind, str]] = {"same": "✓", "changed": "≈", "broken": "✗"}
_LINES: Final = 12  # of a script in a terminal; the pages have all of it
_COMMANDS: Final = ("./scripts/", "pgflow-", "diff ")
_DETAIL: Final = 1_200  # characters of a detail, anywhere


def to_terminal(
    verdict: Verdict, file: TextIO, width: int | None = None, color: bool = False
) -> None:
    """Write the verdict to a terminal: what broke, what changed, what is the same.

    All that differs has its case and its script, where there is one. The last line is what it
    comes to.
    """
    parts: list[RenderableType] = []
    for kind, heading in HEADINGS.items():
        for who in WHO:
            found = verdict.of(kind, who)
            if found:
                title = f"{heading} for {who}" if kind != "same" else f"{heading}, for {who}"
                parts += [Text(title, style="bold"), Padding(_list(kind, found), (0, 0, 1, 2))]
    if verdict.failures:
        grid = grid_of(None, None)
        for part, why in verdict.failures.items():
            grid.add_row(Text(part, style="bold red"), Text(printable(why)))
        parts += [Text("What could not be looked at", style="bold"), Padding(grid, (0, 0, 1, 2))]
    if verdict.left_out:
        parts.append(Text(f"Not looked at: {', '.join(verdict.left_out)}.", style="dim"))
    style = "bold red" if verdict.failures else STYLES[verdict.kind]
    parts.append(Text(f"{verdict.title}. {printable(verdict.sentence)}", style=style))
    show(Group(*parts), file, width, color)


def _list(kind: Kind, found: list[tuple[str, Finding]]) -> RenderableType:
    grid = grid_of(1, None)
    for part, one in found:
        said = Text.assemble((printable(one.what), "bold"), ": ")
        said.append(printable(short(one.detail, _DETAIL)))
        case = f", {case_word(part)} {printable(one.case)}" if one.case else ""
        said.append(f" [{part}{case}]", style="dim")
        if one.script and kind != "same":
            lines = printable(one.script).splitlines()
            said.append("\n" + "\n".join(lines[:_LINES]), style="cyan")
            said.append("\n…" if len(lines) > _LINES else "", style="cyan")
        grid.add_row(Text(MARKS[kind], style=STYLES[kind]), said)
    return grid


def case_word(part: str) -> str:
    """What stands before a finding's case: one of the catalogs' is about the object, no more.

    Example:
        >>> case_word("catalogs"), case_word("model")
        ('see case', 'case')
    """
    return "see case" if part == "catalogs" else "case"


def language(script: str) -> str:
    """What a script is written in: SQL, or a command of this project's.

    Example:
        >>> language("SELECT 1;"), language("./scripts/conformance --core 0.8.1")
        ('sql', 'sh')
    """
    return "sh" if script.startswith(_COMMANDS) else "sql"


def to_markdown(verdict: Verdict) -> str:
    """The verdict as Markdown that can be pasted into a release."""
    made = environment(finalize=partial(plain, limit=_DETAIL), folder=FOLDER)
    made.filters.update(block=block, code=code)
    text = made.get_template("verdict.md.j2").render(**_values(verdict))
    return tidy(text)


def to_html(verdict: Verdict) -> str:
    """The verdict as one page that needs nothing else: no network, no other file, no script."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    style += (FOLDER / "verdict.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    made = environment(folder=FOLDER)
    return made.get_template("verdict.html.j2").render(
        **_values(verdict),
        style=Markup(style),  # noqa: S704 (files of ours)
        digest=digest,
    )


def _values(verdict: Verdict) -> dict[str, object]:
    """What both templates show; scripts are numbered, so that a line can name its own."""
    told = [*verdict.of("broken"), *verdict.of("changed")]
    scripts = {id(one): n for n, one in enumerate((one for _, one in told if one.script), start=1)}
    return {
        "verdict": verdict,
        "headings": HEADINGS,
        "who": WHO,
        "marks": MARKS,
        "case_word": case_word,
        "language": language,
        "level": "failed" if verdict.failures else _LEVELS[verdict.kind],
        "scripted": [one for _, one in told if one.script],
        "number_of": lambda one: scripts.get(id(one), 0),
    }


_LEVELS: Final[dict[Kind, str]] = {
    "same": "passed",
    "changed": "deviation",
    "broken": "failed",
}
