"""The command of `scripts/mutants`: try mutants, print what became of them, publish the table."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final, get_args

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from conformance.core.mutants import SECONDS, Fate, Verdict, try_all
from conformance.core.mutations import RULES
from conformance.core.pages import DOCS, render
from pgflow_ref.profiles import known

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PAGE: Final = DOCS / "mutants.md"
_ENOUGH: Final = 0.95  # of the mutants that are not equivalent
_CORES: Final = ("0.5.0", "0.8.1")
_SHARE: Final = 3
_FATES: Final = get_args(Fate)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--core", "cores", multiple=True, type=click.Choice(known()), default=_CORES)
@click.option("--share", default=_SHARE, help="Try one in so many of the mutants of each rule.")
@click.option("--seconds", default=SECONDS, help="Look so long for each, at most.")
@click.option("--only", default="", help="Only mutants whose id begins so, such as fail_task:12.")
@click.option("--write", is_flag=True, help=f"Write {PAGE.name} with what was found.")
def main(cores: tuple[str, ...], share: int, seconds: float, only: str, *, write: bool) -> None:
    """Change one thing at a time in the core's functions: do the differential tests notice?

    Exit code 0: at least 95 % of those that are not equivalent were killed, and none that is listed
    as equivalent; 1: not so.
    """
    console = Console(highlight=False, emoji=False)
    verdicts = _watched(console, cores, share, seconds, only)
    _print(console, verdicts)
    if write:
        PAGE.write_text(page(verdicts, share, seconds), encoding="utf-8")
        console.print(f"written: {PAGE}")
    sys.exit(0 if good(verdicts) else 1)


def good(verdicts: Sequence[Verdict]) -> bool:
    """Whether the tests have teeth, and the list of equivalent mutants is true."""
    fates = Counter(verdict.fate for verdict in verdicts)
    judged = fates["killed"] + fates["survived"]
    stale = any(verdict.is_stale for verdict in verdicts)
    return judged > 0 and not stale and fates["killed"] >= _ENOUGH * judged


def page(verdicts: Sequence[Verdict], share: int, seconds: float) -> str:
    """The page of the documentation, in Markdown."""
    killed = sorted(verdict.seconds for verdict in verdicts if verdict.fate == "killed")
    return render(
        PAGE,
        verdicts=sorted(verdicts, key=lambda one: (one.core, one.mutant.function, one.number)),
        fates=Counter(verdict.fate for verdict in verdicts),
        by_function=_by(verdicts, lambda one: (one.core, one.mutant.function)),
        by_rule=_by(verdicts, lambda one: (one.mutant.rule,)),
        rules=RULES,
        share=share,
        seconds=seconds,
        median=killed[len(killed) // 2],
        longest=killed[-1],
    )


def _by(
    verdicts: Sequence[Verdict], key: Callable[[Verdict], tuple[str, ...]]
) -> dict[tuple[str, ...], Counter[str]]:
    table: dict[tuple[str, ...], Counter[str]] = {}
    for verdict in verdicts:
        table.setdefault(key(verdict), Counter())[verdict.fate] += 1
    return dict(sorted(table.items()))


def _watched(
    console: Console, cores: Sequence[str], share: int, seconds: float, only: str
) -> list[Verdict]:
    """Try them all, with a line for each that is not killed, and a bar."""
    columns = (TextColumn("mutants"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    verdicts = []
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("mutants", total=None)
        for total, verdict in try_all(cores, share, seconds, only):
            progress.update(bar, total=total, advance=1)
            verdicts.append(verdict)
            if verdict.fate == "survived" or verdict.is_stale:
                progress.console.print(_line(verdict), markup=False, soft_wrap=True)
    return verdicts


def _line(verdict: Verdict) -> str:
    mutant = verdict.mutant
    repeat = ["./scripts/mutants", "--core", verdict.core, "--share", "1", "--only", mutant.id]
    fate = "killed, but listed as equivalent" if verdict.is_stale else verdict.fate
    return (
        f"{fate}: core {verdict.core}, {mutant.id} ({mutant.rule}, line {mutant.line}):"
        f" {mutant.before!r} to {mutant.after!r}{': ' if verdict.problem else ''}{verdict.problem}"
        f"\n    {shlex.join(repeat)}"
    )


def _print(console: Console, verdicts: Sequence[Verdict]) -> None:
    fates = Counter(verdict.fate for verdict in verdicts)
    table = Table(box=None, header_style="dim")
    for title in ("core", "function", *_FATES):
        table.add_column(title, justify="left" if title in ("core", "function") else "right")
    functions = _by(verdicts, lambda one: (one.core, one.mutant.function))
    for names, counts in functions.items():
        table.add_row(*names, *(str(counts[fate]) for fate in _FATES))
    table.add_row("", "all", *(str(fates[fate]) for fate in _FATES), style="bold")
    console.print(table)
    judged = fates["killed"] + fates["survived"]
    if judged:
        part = 100 * fates["killed"] / judged
        console.print(f"{part:.1f} % of {judged} mutants that are not equivalent were killed.")


if __name__ == "__main__":
    main()
