"""How much a run of the benchmarks measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from benchmarks import idle
from benchmarks.pairs import LEAST_ROUNDS
from benchmarks.subjects import DENO, DENO_TUNED, PYTHON, PYTHON_TUNED, SUBJECTS
from benchmarks.workloads import HUNDRED_KB, ONE_STEP, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.subjects import Subject
    from benchmarks.workloads import Workload

MILLION: Final = 1_000_000
"""Finished runs beside which the worker is still to be fast."""


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
        waiting: runs that wait in the queue.
        first: how many of those are completed.
        dags: steps of a flow.
        workers: processes that share a queue.
        tried: who is tried with something different, and on what.
        soak: minutes of steady work; not measured unless it is asked for.
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
    waiting: Sequence[int]
    first: int
    dags: Sequence[int]
    workers: Sequence[int]
    tried: Sequence[tuple[Subject, Workload]]
    soak: float = 0.0
    others: bool = True

    def scaled(self, whole: Workload) -> Workload:
        """A workload with this size's share of its runs."""
        return replace(whole, runs=max(1, round(whole.runs * self.share)))


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
    histories=(0, MILLION),
    waiting=(),
    first=0,
    dags=(),
    workers=(),
    tried=(),
    others=False,
)
FULL: Final = Size(
    rounds=LEAST_ROUNDS,
    share=1.0,
    workloads=WORKLOADS,
    subjects=SUBJECTS,
    latency_runs=500,
    strategies=idle.STRATEGIES,
    starts=5_000,
    idle=60.0,
    tasks=100_000,
    histories=(0, 1_000, 10_000, 100_000, MILLION),
    waiting=(5_000, 100_000),
    first=5_000,
    dags=(10, 100, 1_000, 10_000),
    workers=(1, 2, 4, 8, 16),
    tried=(
        (PYTHON, ONE_STEP),
        (PYTHON_TUNED, replace(ONE_STEP, runs=2_000)),
        (PYTHON_TUNED, replace(HUNDRED_KB, runs=120)),
    ),
)
