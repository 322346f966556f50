"""Figures as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from matplotlib.figure import Figure as Picture

from benchmarks.plan import CEILING, CEILING_OF_TWO
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence
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
        "history": curve(book, "finished runs: ", "finished runs in the tables"),
        "workers": curve(book, "workers: ", "worker processes"),
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
    axes.legend(fontsize="small")
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


def curve(book: Book, start: str, axis: str) -> Picture | None:
    """Tasks per second against a number that is in the figures' names."""
    points = [(int(name), figure.spread) for name, figure in book.named(start)]
    if not points:
        return None
    picture, axes = _empty(f"tasks per second, by {axis}")
    places: Sequence[int] = range(len(points))
    middles = [spread.median for _, spread in points]
    errors = [
        [spread.median - spread.least for _, spread in points],
        [spread.most - spread.median for _, spread in points],
    ]
    axes.errorbar(places, middles, yerr=errors, marker="o", capsize=3)
    axes.set_xticks(places, [f"{number:,}" for number, _ in points])
    axes.set_xlabel(axis)
    axes.set_ylim(bottom=0)
    return picture


def _empty(title: str) -> tuple[Picture, Axes]:
    picture = Picture(figsize=_WIDE, layout="constrained")
    axes = picture.subplots()
    axes.set_title(title, fontsize="medium")
    axes.grid(visible=True, axis="both", color="0.9")
    axes.set_axisbelow(True)
    return picture, axes
