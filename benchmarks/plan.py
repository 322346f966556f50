"""Which parts a run of the benchmarks has; `sizes.py` says how much of each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks import growing, idle, latency, overhead, soak, spending, starting, throughput
from benchmarks.pairs import in_turns
from benchmarks.subjects import DENO, DENO_TUNED, PYTHON, PYTHON_TUNED
from benchmarks.workloads import ONE_STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.bed import Bed
    from benchmarks.book import Book
    from benchmarks.latency import Latencies
    from benchmarks.sizes import Size
    from benchmarks.workloads import Workload

_IN_FLIGHT: Final = 1_000
SOAK: Final = "soak"
"""The part that runs only where it is asked for."""

CEILING: Final = "the ceiling, one connection"
CEILING_OF_TWO: Final = "the ceiling, two connections"


def measure_throughput(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """Queues of every workload, drained by everybody in turns."""
    for whole in size.workloads:
        workload = size.scaled(whole)
        subjects = _who_drains(bed, workload, size)
        for number, name, value in in_turns(subjects, size.rounds):
            book.note(f"{whole.slug}: {name}", number, value, "tasks/s")
            yield f"{whole.says}: {name}"
    for name, above, below in (
        ("tuned / ceiling", PYTHON_TUNED.name, CEILING),
        ("tuned / deno", PYTHON_TUNED.name, DENO_TUNED.name),
        ("default / deno", PYTHON.name, DENO.name),
    ):
        book.compare(name, f"{ONE_STEP.slug}: {above}", f"{ONE_STEP.slug}: {below}")


def _who_drains(bed: Bed, workload: Workload, size: Size) -> dict[str, Callable[[], float]]:
    """Everybody who is measured with a workload, by name."""
    who: dict[str, Callable[[], float]] = {
        one.name: partial(throughput.of_worker, bed, workload, one) for one in size.subjects
    }
    who[CEILING] = partial(throughput.of_ceiling, bed, workload)
    if size.others:
        who[CEILING_OF_TWO] = partial(throughput.of_ceiling, bed, workload, 2)
    return who


def measure_latency(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """An idle system, and one run at a time."""
    told, *others = [
        replace(PYTHON.told(signal_strategy=strategy), name=strategy)
        for strategy in sorted(size.strategies, key=lambda strategy: strategy != "notify")
    ]
    # There is a promise about the first, so it has the machine for itself. The others wait, for
    # what takes far longer than anybody beside them could take from them.
    _note_latencies(book, told.name, latency.of_worker(bed, told, size.latency_runs))
    yield f"latency: {told.name}"
    if size.others:
        others.append(DENO)
    for name, measured in latency.side_by_side(bed, others, size.latency_runs).items():
        _note_latencies(book, name, measured)
    yield "latency: all"


def _note_latencies(book: Book, name: str, measured: Latencies) -> None:
    ends = zip(measured.to_start, measured.to_end, strict=True)
    for number, (to_start, to_end) in enumerate(ends):
        book.note(f"latency to the start: {name}", number, to_start, "ms")
        book.note(f"latency to the end: {name}", number, to_end, "ms")
    for percentile, value in measured.figures(name).items():
        book.note(percentile, 0, value, "ms")


def measure_starting(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """Runs started, in three ways."""
    subjects: dict[str, Callable[[], float]] = {
        "inside the server": lambda: starting.in_server(bed, size.starts),
        "start_flows": lambda: starting.start_flows(bed, size.starts),
    }
    if size.others:
        subjects["start_flow"] = lambda: starting.start_flow(bed, size.starts)
        subjects["enqueue"] = lambda: starting.enqueue(bed, size.starts)
    for number, name, value in in_turns(subjects, size.rounds):
        book.note(f"starting: {name}", number, value, "runs/s")
        yield f"starting: {name}"
    book.compare("start_flows / server", "starting: start_flows", "starting: inside the server")


def measure_idle(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """Workers with nothing to do, side by side: they do not disturb each other."""
    for strategy, percent in idle.side_by_side(bed, size.idle).items():
        book.note(f"idle cpu {strategy}", 0, percent, "% of a core")
    yield "idle workers"


def measure_overhead(_: Bed, book: Book, size: Size) -> Iterator[str]:
    """The worker's own share, with no database."""
    for number in range(size.rounds):
        book.note("overhead", number, overhead.of_tasks(size.tasks), "µs a task")
        memory = overhead.memory_in_flight(_IN_FLIGHT)
        book.note(f"memory: {_IN_FLIGHT:,} tasks in flight", number, memory, "kB")
        yield "overhead"


def measure_soak(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """Steady work for as long as was asked for."""
    samples: list[soak.Sample] = []
    for sample in soak.of_worker(bed, size.soak):
        for name, (value, unit) in sample.figures().items():
            book.note(f"soak, sampled: {name}", len(samples), value, unit)
        samples.append(sample)
        yield f"{sample.minutes:.1f} of {size.soak:g} minutes"
    for name, value in soak.verdicts(samples).items():
        book.note(f"soak: {name}", 0, value, "")


PARTS: Final[dict[str, Callable[[Bed, Book, Size], Iterator[str]]]] = {
    "throughput": measure_throughput,
    "latency": measure_latency,
    "starting": measure_starting,
    "idle": measure_idle,
    "overhead": measure_overhead,
    "history": growing.measure_history,
    "waiting": growing.measure_waiting,
    "steps": growing.measure_dags,
    "workers": growing.measure_workers,
    "promises": growing.measure_promises,
    "cores": spending.measure_cores,
    "statements": spending.measure_statements,
    "trials": spending.measure_trials,
    SOAK: measure_soak,
}
"""By the names that `--only` takes. Each measures, notes, and says what it has just done."""
