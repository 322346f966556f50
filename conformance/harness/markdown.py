"""One stream of results as Markdown, for the page that a CI server shows of a job.

    cat build/conformance/summary.md >> "$GITHUB_STEP_SUMMARY"

All text comes from elsewhere, so whatever Markdown or HTML would take for its own is escaped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from conformance.harness.pages import environment
from conformance.harness.records import OUTCOMES, printable
from conformance.harness.run import SYMBOLS, WORDS, astray, fleet, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.harness.changes import Changes
    from conformance.harness.run import Run

_FAILURES: Final = 50  # told at length; the rest is counted, for such pages have a limit of size
_ROWS: Final = 200  # of any table
_TEXT: Final = 400  # characters of one text
_CAME: Final = 80  # and of a value
_SPECIAL: Final = re.compile(r"([\\`*_\[\]#!|~$:@])")
_BEGINS: Final = re.compile(r"^(\d*)([-+.)=])(?=\s|$|\2)")  # a list, or a line under a heading
_MARKS: Final = dict(zip(OUTCOMES, "✅❌🟡🟣⚪💥", strict=True))


def to_markdown(run: Run) -> str:
    """Make the text."""
    made = environment(finalize=plain)
    made.filters.update(
        code=code,
        fleet=fleet,
        block=block,
        ways=ways,
        astray=astray,
        name=run.name,
        shorten=lambda text: short(text, _CAME),
    )
    made.globals.update(symbols=SYMBOLS, marks=_MARKS, words=WORDS)
    text = made.get_template("summary.md.j2").render(
        run=run,
        verdict=run.verdict,
        cells=run.cells(),
        matrix=run.matrix(),
        groups=list(dict.fromkeys(case.group for case in run.cases)),
        outcomes=OUTCOMES,
        failures=run.failures[:_FAILURES],
        known=run.known(),
        losses=run.harmed(),
        ways=len({loss.route for loss in run.losses}),
        rows=_ROWS,
    )
    return tidy(text)


def plain(text: str, limit: int = _TEXT) -> str:
    r"""Write a text so that Markdown shows it as it is, in one line.

    Args:
        text: the text.
        limit: characters of it; a longer one is shortened in its middle.

    Example:
        >>> print(plain("a|b <b> *c*\nd"))
        a\|b &lt;b&gt; \*c\* d
    """
    one_line = " ".join(short(printable(text), limit).split())
    one_line = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _BEGINS.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", one_line))


def code(text: str) -> Markup:
    """Write a text as code in one line, within a table too."""
    one_line = " ".join(printable(text).split())
    # Markdown's own code span cannot hold a | within a table.
    for character, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        one_line = one_line.replace(character, name)
    return Markup(f"<code>{_SPECIAL.sub(_entity, one_line)}</code>")  # noqa: S704 (escaped above)


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[1])};"


def block(text: str, language: str = "") -> Markup:
    """Write a text as a block of code, in a fence that is longer than any within it."""
    body = printable(text).rstrip()
    ticks = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, ticks + 1)
    return Markup(f"{fence}{language}\n{body}\n{fence}")  # noqa: S704 (no HTML within a fence)


def ways(routes: Sequence[tuple[str, ...]]) -> str:
    """Name a few of many ways."""
    shown = [" → ".join(route) for route in routes[:3]]
    rest = len(routes) - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")


def changes_to_markdown(changes: Changes) -> str:
    """Make the text that says what changed between two runs."""
    template = environment(finalize=plain).get_template("changes.md.j2")
    return tidy(template.render(changes=changes, rows=_ROWS))


def tidy(text: str) -> str:
    """Without the empty lines that a template leaves."""
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
