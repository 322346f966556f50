"""Measure what this project promises about its speed; `scripts/bench` runs it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, page, plots, profile, soak, tables
from benchmarks.bed import make_bed
from benchmarks.book import Book
from benchmarks.plan import PARTS, SOAK
from benchmarks.sizes import FULL, QUICK
from benchmarks.subjects import SubjectFailed, prepare_deno
from pgflow_ref import PgflowError
from pgflow_ref.install import wanted, wanted_pgmq

if TYPE_CHECKING:
    from collections.abc import Sequence

_OUT: Final = Path("build/bench")


def main(words: Sequence[str]) -> int:
    """Measure, print, and keep; 0 where no target that was measured is missed, 1 where one is."""
    parser = _parser()
    asked = parser.parse_args(words)
    if SOAK in (asked.only or ()) and asked.soak is None:
        parser.error(f"--only {SOAK} needs --soak MINUTES")
    console = Console()
    place = page.FOLDER if asked.docs else asked.out
    try:
        place.mkdir(parents=True, exist_ok=True)
        book = _read(asked.read) if asked.read else _measure(asked, console, place)
    except (PgflowError, SubjectFailed, OSError, ValueError) as error:
        console.print(f"[red]{type(error).__name__}[/]: {escape(str(error))}")
        return 2
    (place / "results.json").write_text(book.to_json(), encoding="utf-8")
    drawn = plots.draw(book, place)
    if asked.docs:
        page.PAGE.write_text(page.write(book), encoding="utf-8")
    console.print(tables.of_figures(book), tables.of_targets(book))
    if "not measured" in book.about:
        console.print(f"[yellow]Not measured[/]: {escape(book.about['not measured'])}")
    console.print(f"All figures, and {len(drawn)} pictures of them: {place}")
    return 0 if tables.all_met(book) else 1


def _read(results: Path) -> Book:
    return Book.from_json(results.read_text(encoding="utf-8"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure workers against what is promised of them."
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, in three minutes")
    parser.add_argument(
        "--only", action="append", choices=[*PARTS], help="a part; several times for several"
    )
    parser.add_argument(
        "--soak",
        type=_minutes,
        metavar="MINUTES",
        help="watch a worker at steady work for so long, after all else; with --only soak, alone",
    )
    parser.add_argument("--core", default="0.5.0", help="version or path (default: %(default)s)")
    parser.add_argument("--pgmq", help="version or path (default: the usual one)")
    parser.add_argument(
        "--out", type=Path, default=_OUT, help="where results go (default: %(default)s)"
    )
    parser.add_argument(
        "--flame", action="store_true", help="draw where a worker's time goes, as flame.svg"
    )
    parser.add_argument(
        "--docs", action="store_true", help="write docs/performance.md, and results beside it"
    )
    parser.add_argument(
        "--read", type=Path, metavar="RESULTS", help="show these results, and measure nothing"
    )
    return parser


def _minutes(word: str) -> float:
    """Of `--soak`."""
    minutes = float(word)
    if not soak.LEAST <= minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"at least {soak.LEAST:g} minute")
    return minutes


def _parts(asked: argparse.Namespace) -> list[str]:
    """Which are measured: those of `--only`, or all; and the soak where its minutes are given."""
    named = [name for name in asked.only or PARTS if name != SOAK]
    return named if asked.soak is None else [*named, SOAK]


def _measure(asked: argparse.Namespace, console: Console, place: Path) -> Book:
    """Do what was asked for, with progress."""
    core = wanted(asked.core)
    pgmq = wanted_pgmq(asked.pgmq) if asked.pgmq else None
    size = replace(QUICK if asked.quick else FULL, soak=asked.soak or 0.0)
    columns = (TextColumn("{task.description}"), BarColumn(pulse_style="dim"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        line = progress.add_task("preparing", total=None)
        prepare_deno()
        with make_bed(core, pgmq) as bed:
            book = Book(machine.about(bed, core.label))
            book.about["date"] = datetime.now(timezone.utc).date().isoformat()
            book.about["size"] = "quick" if asked.quick else "full"
            for name in _parts(asked):
                progress.update(line, description=name)
                done = None
                for done in PARTS[name](bed, book, size):
                    progress.update(line, description=f"{name} ({done})")
                if done is None and asked.only:
                    console.print(f"{name}: only a full run measures this, one without --quick")
            if asked.flame:
                progress.update(line, description="flame graph")
                profile.flame_graph(bed, place / "flame.svg")
    return book


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
