"""The table of what is lost where, in the page about JSON.

python -m conformance.json.page            write it
python -m conformance.json.page --check    say whether it would change (exit code 1)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from conformance.json.errors import ERRORS
from conformance.json.values import VALUES, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.json.values import Value

PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "json.md"
BEGIN: Final = "<!-- begin of what python -m conformance.json.page writes -->\n"
END: Final = "<!-- end of it -->\n"
_WORDS: Final = {
    "start": "run's input",
    "work": "output",
    "fail": "error text",
    "return": "output",
}


def table() -> str:
    """The table, in Markdown.

    The suite tries every value with every worker, and fails when a worker loses anything else, or
    does not lose this.
    """
    values, texts = load(VALUES), load(ERRORS)
    said = (
        f"{len(values)} values go through every two workers of the conformance suite, and"
        f" {len(texts)} error texts through each of them. These are lost, and no others:"
    )
    lines = [
        said,
        "",
        "| value | worker | as | becomes | because |",
        "|---|---|---|---|---|",
        *(line for value in (*values, *texts) for line in _rows(value)),
        "",
    ]
    return "\n".join(lines)


def write(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + table() + "\n" + END + after


def _rows(value: Value) -> Iterator[str]:
    if value.stored is not None:
        cells = [_cell(value.name), "(PostgreSQL)", "jsonb", f"`{value.stored}`", _cell(value.why)]
        yield f"| {' | '.join(cells)} |"
    grouped: dict[tuple[str, str | None, str], list[str]] = {}
    for (worker, word), loss in value.lost.items():
        why = f"{loss.reason.says} ({loss.reason.reference})"
        grouped.setdefault((_WORDS[word], loss.becomes, why), []).append(worker)
    for (place, becomes, why), workers in grouped.items():
        shown = "an error, or nothing" if becomes is None else f"`{_cell(becomes)}`"
        yield f"| {_cell(value.name)} | {', '.join(workers)} | {place} | {shown} | {_cell(why)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write the table, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if write(page) == page else f"{PAGE} would change")
    PAGE.write_text(write(page), encoding="utf-8")


if __name__ == "__main__":
    main()
