"""The parts that find out what time is spent on, and whether it can be saved."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks import profile, throughput
from benchmarks.pairs import in_turns, order
from benchmarks.trials import TRIALS
from benchmarks.workloads import ONE_STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bed import Bed
    from benchmarks.book import Book
    from benchmarks.sizes import Size
    from benchmarks.subjects import Subject

_SHOWN: Final = 48  # letters of a statement, to know it by
_MUCH: Final = 0.005  # of the server's time: planning that is worth a line
_AS_IT_IS: Final = "as it is"


def measure_cores(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """What a task takes of the cores, on each side of the connection."""
    if not size.others:
        return
    workload = size.scaled(ONE_STEP)
    subjects = {one.name: one for one in size.subjects}
    for number in range(size.rounds):
        for name in order(list(subjects), number):
            with bed.database(workload) as url:
                drained = throughput.drain(url, workload, [subjects[name]])
            took = {
                "time": 1_000_000 / drained.rate,
                "the worker's cpu": drained.worker,
                "the server's cpu": drained.server,
            }
            for what, microseconds in took.items():
                book.note(f"a task, {what}: {name}", number, microseconds, "µs")
            yield f"{name}: cores"


def measure_statements(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """The server's time by statement."""
    if not size.others:
        return
    statements = profile.of_server(bed, size.scaled(ONE_STEP))
    whole = sum(one.milliseconds + one.planning for one in statements if one.is_whole)
    shares: defaultdict[str, float] = defaultdict(float)
    for one in statements:
        name = f"{'' if one.is_whole else '.. '}`{one.text[:_SHOWN]}`"
        shares[f"server: {name}"] += 100 * one.milliseconds / whole
        if one.planning >= _MUCH * whole:
            shares[f"planning: {name}"] += 100 * one.planning / whole
    for name, share in shares.items():
        book.note(name, 0, share, "% of the server's time")
    yield "statements"


def measure_trials(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """The worker as it is, and with something about it different."""
    for subject, whole in size.tried:
        workload = size.scaled(whole)
        who: dict[str, Callable[[], float]] = {
            name: partial(throughput.of_worker, bed, workload, one)
            for name, one in _tried(subject).items()
        }
        start = f"tried, {subject.name}, {whole.says}: "
        for number, name, value in in_turns(who, size.rounds):
            book.note(f"{start}{name}", number, value, "tasks/s")
            yield f"{start}{name}"
        for name in list(who)[1:]:
            book.compare(f"{start}{name} / {_AS_IT_IS}", f"{start}{name}", f"{start}{_AS_IT_IS}")


def _tried(subject: Subject) -> dict[str, Subject]:
    trials = {name: replace(subject, trial=name) for name in TRIALS}
    return {
        _AS_IT_IS: subject,
        "one recorder": subject.told(recorders=1),
        "four recorders": subject.told(recorders=4),
        **trials,
    }
