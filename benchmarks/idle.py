"""What a worker costs that has nothing to do."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import psutil
import psycopg

from benchmarks.bed import define
from benchmarks.subjects import PYTHON, are_there
from benchmarks.workloads import ONE_STEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bed import Bed
    from pgflow_ref.config import SignalStrategy

_SETTLE: Final = 2.0  # seconds for imports, the first reads and the first sign of life
STRATEGIES: Final[tuple[SignalStrategy, ...]] = ("polling", "long_poll", "notify")


def side_by_side(bed: Bed, seconds: float) -> dict[SignalStrategy, float]:
    """Percent of one core that an idle worker takes, with each strategy and otherwise its defaults.

    Args:
        bed: where; each has a database of its own.
        seconds: how long they are watched; the system counts in hundredths of a second.
    """
    with ExitStack() as stack:
        workers = {
            strategy: stack.enter_context(_at_work(bed, strategy)) for strategy in STRATEGIES
        }
        time.sleep(_SETTLE)
        before = {strategy: _seconds(process) for strategy, process in workers.items()}
        began = time.monotonic()
        time.sleep(seconds)
        share = 100 / (time.monotonic() - began)
        return {
            strategy: (_seconds(process) - before[strategy]) * share
            for strategy, process in workers.items()
        }


@contextmanager
def _at_work(bed: Bed, strategy: SignalStrategy) -> Iterator[psutil.Process]:
    """A worker that is registered."""
    subject = replace(PYTHON.told(signal_strategy=strategy), name=f"python, {strategy}")
    with bed.database() as url, psycopg.connect(url, autocommit=True) as connection:
        define(connection, ONE_STEP.slug, ONE_STEP.steps)
        with subject.at_work(url, ONE_STEP) as worker:
            worker.until(lambda: are_there(connection), within=20.0)
            yield psutil.Process(worker.pid)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
