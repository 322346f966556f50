"""The page docs/performance.md, made of the results of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks import soak
from benchmarks.percentiles import percentile
from benchmarks.plan import CEILING_OF_TWO
from benchmarks.subjects import DENO_TUNED
from benchmarks.tables import shown
from benchmarks.targets import TARGETS, judge
from benchmarks.workloads import ONE_STEP, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchmarks.book import Book, Figure

FOLDER: Final = Path(__file__).parents[1] / "docs/performance"
"""Where the page's pictures and the results are."""

PAGE: Final = FOLDER.with_suffix(".md")
_PERCENTS: Final = (50, 95, 99)


def write(book: Book) -> str:
    """The page's text.

    Args:
        book: what was measured.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  # Markdown, of figures
    )
    return environment.get_template("performance.md").render(
        about=book.about,
        targets=judge(book.medians()),
        shown=lambda value: "–" if value is None else shown(value),  # noqa: RUF001
        workloads=WORKLOADS,
        table=lambda start: _table(book.named(start)),
        latency=_latencies(book),
        cores=_cores(book),
        no_client=_no_client(book.medians()),
        limits={target.figure: target.limit for target in TARGETS},
        soak_rate=soak.RATE,
    )


class Cores(NamedTuple):
    """What a task takes with a worker, in microseconds.

    Attributes:
        time: by the clock.
        worker: of a core, in the worker.
        server: of a core, in the server.
    """

    time: float
    worker: float
    server: float

    @property
    def busy(self) -> float:
        """How many cores are at work, on average."""
        return (self.worker + self.server) / self.time


def _cores(book: Book) -> dict[str, Cores]:
    """What a task takes with each worker, by its name."""
    medians = book.medians()
    kinds = ("time", "the worker's cpu", "the server's cpu")
    return {
        name: Cores(*(medians[f"a task, {kind}: {name}"] for kind in kinds))
        for name, _ in book.named("a task, time: ")
    }


def _no_client(medians: Mapping[str, float]) -> float | None:
    """How fast no client at all is, to the Deno worker with large settings; None: not measured."""
    start = f"{ONE_STEP.slug}: "
    ceiling, deno = (medians.get(start + name) for name in (CEILING_OF_TWO, DENO_TUNED.name))
    return None if ceiling is None or deno is None else ceiling / deno


def _table(figures: Iterable[tuple[str, Figure]]) -> str:
    """Figures as a table; empty where there are none."""
    rows = [
        f"| {name} | {shown(one.spread.median)} | {shown(one.spread.least)} |"
        f" {shown(one.spread.most)} | {one.unit} |"
        for name, one in figures
    ]
    head = ["| | median | least | most | |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else ""


def _latencies(book: Book) -> str:
    """Percentiles of all latencies as a table."""
    ends = dict(book.named("latency to the end: "))
    rows = []
    for name, figure in book.named("latency to the start: "):
        kinds = (list(figure.values.values()), list(ends[name].values.values()))
        percentiles = [percentile(kind, percent) for kind in kinds for percent in _PERCENTS]
        rows.append(f"| {name} | {' | '.join(map(shown, percentiles))} |")
    head = [
        "| ms | to the start: p50 | p95 | p99 | to the end: p50 | p95 | p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows])
