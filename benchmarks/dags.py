"""Flows of ever more steps: to compile, to define, to start, and to run."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from benchmarks.bed import shape_of
from benchmarks.subjects import PYTHON_TUNED
from benchmarks.throughput import drain
from benchmarks.workloads import Workload
from pgflow_ref import PgFlow
from pgflow_ref.compile import compile_flow

if TYPE_CHECKING:
    from benchmarks.bed import Bed


class Dag(NamedTuple):
    """What a flow of many steps takes.

    Attributes:
        compiled: milliseconds to make its statements, with no database.
        defined: milliseconds to put them into the database, in one transaction.
        started: milliseconds of one `start_flow`.
        rate: tasks per second of its one run.
    """

    compiled: float
    defined: float
    started: float
    rate: float


def layers(steps: int) -> dict[str, tuple[str, ...]]:
    """Steps in layers, as wide as there are layers; each needs two of the layer before.

    One shape for all sizes: a flow of ten has a fan-out and a fan-in already, and one of ten
    thousand neither a single chain nor a single fan.

    Example:
        >>> layers(5)["step_4"]
        ('step_2', 'step_3')
    """
    width = round(math.sqrt(steps))
    return {
        f"step_{at}": tuple(f"step_{need}" for need in _needs(at, width)) for at in range(steps)
    }


def _needs(at: int, width: int) -> list[int]:
    layer, place = divmod(at, width)
    before = (layer - 1) * width
    return sorted({before + place, before + (place + 1) % width}) if layer else []


def of_steps(bed: Bed, steps: int) -> Dag:
    """Measure a flow of so many steps, whose one run a tuned worker does.

    Raises:
        SubjectFailed: it did not do its work.
    """
    workload = Workload(f"dag_{steps}", f"{steps:,} steps", layers(steps), runs=1)
    with bed.database() as url, psycopg.connect(url, autocommit=True) as connection:
        shape = shape_of(workload.slug, workload.steps)
        began = time.perf_counter()
        statements = compile_flow(shape)
        compiled = time.perf_counter() - began
        began = time.perf_counter()
        with connection.transaction():
            for statement in statements:
                connection.execute(statement)
        defined = time.perf_counter() - began
        with PgFlow(url) as pgflow:
            pgflow.flow_exists(workload.slug)  # it connects when it is first asked for something
            began = time.perf_counter()
            pgflow.start_flow(workload.slug, {})
            started = time.perf_counter() - began
        rate = drain(url, workload, [PYTHON_TUNED]).rate
    return Dag(1000 * compiled, 1000 * defined, 1000 * started, rate)
