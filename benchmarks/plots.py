"""Figures as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from matplotlib.figure import Figure as Picture

from benchmarks.plan import CEILING, CEILING_OF_TWO
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.book import Book, Figure

mpl.use("Agg")

_WIDE: Final = (9.0, 4.5)  # inches
_DOTS: Final = 110  # an inch
_CEILINGS: Final = {CEILING, CEILING_OF_TWO}


def draw(book: Book, folder: Path) -> list[Path]:
    """Draw all that was measured; the files, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "throughput": throughput(book),
        "latency": latency(book),
        "history": curve(book, {"": "finished runs: "}, "finished runs in the tables"),
        "steps": curve(book, {"": "steps, run: "}, "steps of the flow"),
        "workers": curve(
            book,
            {"at the server": "workers: ", "behind PgBouncer": "workers behind PgBouncer: "},
            "worker processes",
        ),
        "soak": soak(book),
    }
    drawn = []
    for name, picture in pictures.items():
        if picture is not None:
            drawn.append(folder / f"{name}.png")
            picture.savefig(drawn[-1], dpi=_DOTS, metadata={"Software": None})
    return drawn


def throughput(book: Book) -> Picture | None:
    """For each workload everybody's tasks per second, as a share of the one-connection ceiling."""
    bars = {
        (workload.says, subject): _shares(book, workload.slug, figure)
        for workload in WORKLOADS
        for subject, figure in book.named(f"{workload.slug}: ")
        if subject != CEILING
    }
    if not bars:
        return None
    workloads = list(dict.fromkeys(workload for workload, _ in bars))
    subjects = list(dict.fromkeys(subject for _, subject in bars))
    picture, axes = _empty("tasks per second, where the ceiling on one connection is 1")
    thick = 0.8 / len(subjects)
    for place, subject in enumerate(subjects):
        there = [at for at, workload in enumerate(workloads) if (workload, subject) in bars]
        values = [bars[workloads[at], subject] for at in there]
        middles = [sorted(share)[len(share) // 2] for share in values]
        below = [middle - min(share) for middle, share in zip(middles, values, strict=True)]
        above = [max(share) - middle for middle, share in zip(middles, values, strict=True)]
        colour = "0.7" if subject in _CEILINGS else None
        axes.barh(
            [at + place * thick for at in there],
            middles,
            height=thick,
            xerr=[below, above],
            label=subject,
            color=colour,
            error_kw={"elinewidth": 1},
        )
    axes.axvline(1.0, color="0.4", linewidth=1)
    axes.set_yticks([at + 0.4 - thick / 2 for at in range(len(workloads))], workloads)
    axes.invert_yaxis()
    picture.legend(fontsize="small", loc="outside lower center", ncols=3)
    return picture


def _shares(book: Book, slug: str, figure: Figure) -> list[float]:
    ceiling = book.figures[f"{slug}: {CEILING}"].values
    return [value / ceiling[number] for number, value in figure.values.items()]


def latency(book: Book) -> Picture | None:
    """How many of the runs had begun after how long."""
    kinds = list(book.named("latency to the start: "))
    if not kinds:
        return None
    picture, axes = _empty("share of runs whose handler has begun")
    for name, figure in kinds:
        values = sorted(figure.values.values())
        axes.plot(values, [(at + 1) / len(values) for at in range(len(values))], label=name)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds after start_flow was called")
    axes.legend(fontsize="small")
    return picture


def curve(book: Book, starts: Mapping[str, str], axis: str) -> Picture | None:
    """Tasks per second against a number that is in the figures' names.

    Args:
        book: what was measured.
        starts: how the names of each curve's figures begin, by what the curve is called.
        axis: what the number is.
    """
    curves = {
        says: {int(name): figure.spread for name, figure in book.named(start)}
        for says, start in starts.items()
    }
    curves = {says: points for says, points in curves.items() if points}
    if not curves:
        return None
    numbers = sorted({number for points in curves.values() for number in points})
    picture, axes = _empty(f"tasks per second, by {axis}")
    for says, points in curves.items():
        middles = [spread.median for spread in points.values()]
        errors = [
            [spread.median - spread.least for spread in points.values()],
            [spread.most - spread.median for spread in points.values()],
        ]
        places = [numbers.index(number) for number in points]
        axes.errorbar(places, middles, yerr=errors, marker="o", capsize=3, label=says)
    axes.set_xticks(range(len(numbers)), [f"{number:,}" for number in numbers])
    axes.set_xlabel(axis)
    axes.set_ylim(bottom=0)
    if len(curves) > 1:
        axes.legend(fontsize="small")
    return picture


def soak(book: Book) -> Picture | None:
    """The worker's memory, and the median latency of its runs, over the time of the soak."""
    kinds = dict(book.named("soak, sampled: "))
    if not kinds:
        return None
    minutes = list(kinds["time"].values.values())
    picture = Picture(figsize=_WIDE, layout="constrained")
    for place, name in enumerate(("memory", "median latency")):
        axes = picture.add_subplot(2, 1, place + 1)
        values = list(kinds[name].values.values())
        axes.plot(minutes, values, linewidth=1.5)
        axes.set_ylabel(f"{name}, {kinds[name].unit}")
        axes.set_ylim(0, 1.2 * max(values))  # from zero, else nothing would look flat
        axes.grid(visible=True, axis="both", color="0.9")
    axes.set_xlabel("minutes")
    return picture


def _empty(title: str) -> tuple[Picture, Axes]:
    picture = Picture(figsize=_WIDE, layout="constrained")
    axes = picture.subplots()
    axes.set_title(title, fontsize="medium")
    axes.grid(visible=True, axis="both", color="0.9")
    axes.set_axisbelow(True)
    return picture, axes
