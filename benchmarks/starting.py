"""Runs started per second: call by call, all in one call, and inside the server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.bed import define
from benchmarks.workloads import ONE_STEP
from pgflow_ref import PgFlow

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bed import Bed

_INPUT: Final[dict[str, object]] = {"order": 7, "lines": ["tea", "milk"]}
_IN_SERVER: Final = (
    "SELECT count(*) FROM (SELECT pgflow.start_flow(%s, i) FROM"
    " jsonb_array_elements(%s::jsonb) i OFFSET 0) s"
)


def in_server(bed: Bed, runs: int) -> float:
    """Runs per second of one statement that calls `pgflow.start_flow` for each input."""
    inputs = Jsonb([_INPUT] * runs)

    def start(url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_IN_SERVER, (ONE_STEP.slug, inputs))

    return _rate(bed, runs, start)


def start_flows(bed: Bed, runs: int) -> float:
    """Runs per second of one call of `PgFlow.start_flows`."""

    def start(url: str) -> None:
        with PgFlow(url) as pgflow:
            pgflow.start_flows(ONE_STEP.slug, [_INPUT] * runs)

    return _rate(bed, runs, start)


def start_flow(bed: Bed, runs: int) -> float:
    """Runs per second of `PgFlow.start_flow`, called again and again."""

    def start(url: str) -> None:
        with PgFlow(url) as pgflow:
            for _ in range(runs):
                pgflow.start_flow(ONE_STEP.slug, _INPUT)

    return _rate(bed, runs, start)


def enqueue(bed: Bed, runs: int) -> float:
    """Runs per second of `enqueue`, called again and again; as users call it, on one client."""

    def start(url: str) -> None:
        with PgFlow(url) as pgflow:
            for _ in range(runs):
                pgflow.enqueue(ONE_STEP.slug, _INPUT)

    return _rate(bed, runs, start)


def _rate(bed: Bed, runs: int, start: Callable[[str], None]) -> float:
    """Runs per second from before the connection is made."""
    with bed.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            define(connection, ONE_STEP.slug, ONE_STEP.steps)
        began = time.perf_counter()
        start(url)
        seconds = time.perf_counter() - began
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT count(*) FROM pgflow.runs").fetchone()
    assert row == (runs,), f"{row} runs are there, and {runs} were started"
    return runs / seconds
