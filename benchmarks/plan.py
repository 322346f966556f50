"""Which parts a run of the benchmarks has, and how much of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks import growth, idle, latency, overhead, profile, starting, throughput
from benchmarks.pairs import LEAST_ROUNDS, in_turns, order
from benchmarks.subjects import DENO, DENO_TUNED, PYTHON, PYTHON_TUNED, SUBJECTS
from benchmarks.workloads import ONE_STEP, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.bed import Bed
    from benchmarks.book import Book
    from benchmarks.subjects import Subject
    from benchmarks.workloads import Workload

_MILLION: Final = 1_000_000
_IN_FLIGHT: Final = 1_000
_SHOWN: Final = 100  # letters of a statement
CEILING: Final = "the ceiling, one connection"
CEILING_OF_TWO: Final = "the ceiling, two connections"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: how often those that are compared are taken in turns.
        share: of each workload's runs.
        workloads: which.
        subjects: who.
        latency_runs: runs that are started one at a time, for each strategy.
        strategies: how the worker hears of them.
        starts: runs that are started for one measurement.
        idle: seconds for which an idle worker is watched.
        tasks: tasks that the machine is given without a database.
        histories: finished runs that the database holds.
        workers: processes that share a queue.
        others: whether that is measured as well which no target is about.
    """

    rounds: int
    share: float
    workloads: Sequence[Workload]
    subjects: Sequence[Subject]
    latency_runs: int
    strategies: Sequence[str]
    starts: int
    idle: float
    tasks: int

    histories: Sequence[int]
    workers: Sequence[int]
    others: bool = True


QUICK: Final = Size(
    rounds=LEAST_ROUNDS,
    share=0.2,
    workloads=(ONE_STEP,),
    subjects=(PYTHON, PYTHON_TUNED, DENO, DENO_TUNED),
    latency_runs=100,
    strategies=("notify",),
    starts=1_000,
    idle=10.0,
    tasks=20_000,
    histories=(0, _MILLION),
    workers=(),
    others=False,
)
FULL: Final = Size(
    rounds=7,
    share=1.0,
    workloads=WORKLOADS,
    subjects=SUBJECTS,
    latency_runs=500,
    strategies=idle.STRATEGIES,
    starts=5_000,
    idle=60.0,
    tasks=100_000,
    histories=(0, 1_000, 10_000, 100_000, _MILLION),
    workers=(1, 2, 4, 8, 16),
)


def measure_throughput(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """Queues of every workload, drained by everybody in turns."""
    for whole in size.workloads:
        workload = _scaled(whole, size)
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
    subjects = [
        replace(PYTHON.told(signal_strategy=strategy), name=strategy)
        for strategy in size.strategies
    ]
    if size.others:
        subjects.append(DENO)
    for subject in subjects:
        measured = latency.of_worker(bed, subject, size.latency_runs)
        for number, (to_start, to_end) in enumerate(
            zip(measured.to_start, measured.to_end, strict=True)
        ):
            book.note(f"latency to the start: {subject.name}", number, to_start, "ms")
            book.note(f"latency to the end: {subject.name}", number, to_end, "ms")
        for name, value in measured.figures(subject.name).items():
            book.note(name, 0, value, "ms")
        yield f"latency: {subject.name}"


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


def measure_growth(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """The same work beside ever more runs that are over, and by ever more workers."""
    workload = _scaled(ONE_STEP, size)
    templates: dict[int, str] = {}
    for finished in size.histories:
        templates[finished] = growth.with_history(bed, workload, finished)
        yield f"{finished:,} finished runs are made"
    for number in range(size.rounds):
        for name in order([str(finished) for finished in size.histories], number):
            with bed.copy(templates[int(name)]) as url:
                drained = throughput.drain(url, workload, [PYTHON_TUNED])
            book.note(f"finished runs: {name}", number, drained.rate, "tasks/s")
            memory = f"memory: the process, beside {int(name):,} finished runs"
            book.note(memory, number, drained.megabytes, "MB")
            yield f"beside {int(name):,} finished runs"
    if _MILLION in size.histories:
        book.compare("million / none", f"finished runs: {_MILLION}", "finished runs: 0")
    for number in range(size.rounds):
        for name in order([str(workers) for workers in size.workers], number):
            with bed.database(workload) as url:
                drained = throughput.drain(url, workload, [PYTHON_TUNED] * int(name))
            book.note(f"workers: {name}", number, drained.rate, "tasks/s")
            yield f"{name} workers"


def measure_statements(bed: Bed, book: Book, size: Size) -> Iterator[str]:
    """The server's time by statement."""
    if not size.others:
        return
    statements = profile.of_server(bed, ONE_STEP)
    whole = sum(one.milliseconds for one in statements if one.is_whole)
    for one in statements:
        name = f"server: {'' if one.is_whole else '.. '}`{one.text[:_SHOWN]}`"
        book.note(name, 0, 100 * one.milliseconds / whole, "% of the server's time")
    yield "statements"


def _scaled(whole: Workload, size: Size) -> Workload:
    return replace(whole, runs=max(1, round(whole.runs * size.share)))


PARTS: Final[dict[str, Callable[[Bed, Book, Size], Iterator[str]]]] = {
    "throughput": measure_throughput,
    "latency": measure_latency,
    "starting": measure_starting,
    "idle": measure_idle,
    "overhead": measure_overhead,
    "growth": measure_growth,
    "statements": measure_statements,
}
"""By the names that `--only` takes. Each measures, notes, and says what it has just done."""
