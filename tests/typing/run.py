"""Starting runs and working on them, as a type checker sees it; see `declare.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from typing_extensions import assert_type

from pgflow_ref import (
    EmbeddedPostgres,
    Flow,
    PgFlow,
    PgflowError,
    Run,
    RunFailed,
    StepState,
    Worker,
    WorkerConfig,
)

order = Flow("order")


def start(url: str, connection: psycopg.Connection[Any], mine: UUID) -> None:
    PgFlow(connection)
    PgFlow(1)  # type: ignore[arg-type]
    PgFlow()  # type: ignore[call-arg]
    PgFlow(url, [])  # type: ignore[call-arg]
    with PgFlow(url, prepare=False) as pgflow:
        assert_type(pgflow, PgFlow)
        assert_type(pgflow.start_flow(order, {"total": 18.8}), UUID)
        assert_type(pgflow.start_flow("order", None, run_id=mine), UUID)
        pgflow.start_flow(7, {})  # type: ignore[arg-type]
        pgflow.start_flow("order", {}, run_id="7")  # type: ignore[arg-type]
        pgflow.start_flow("order")  # type: ignore[call-arg]
        assert_type(pgflow.start_flow_sync(order, [], timeout=1, poll_interval=0.1), Run)
        pgflow.start_flow_sync(order, [], 60)  # type: ignore[call-arg]
        pgflow.start_flow_sync(order, [], timeout="1 s")  # type: ignore[arg-type]


def look(pgflow: PgFlow, run_id: UUID) -> None:
    assert_type(pgflow.get_run(run_id), Run)
    assert_type(pgflow.get_run(str(run_id)), Run)
    pgflow.get_run(1)  # type: ignore[arg-type]
    try:
        run = pgflow.get_run_with_states(run_id)
    except RunFailed as error:
        run = error.run
    except PgflowError:
        return
    assert_type(run.run_id, UUID)
    assert_type(run.status, str)
    assert_type(run.is_over, bool)
    assert_type(run.completed_at, datetime | None)
    assert_type(run.step_states, tuple[StepState, ...])
    assert_type(run.step_states[0].attempts, int)
    run.status = "completed"  # type: ignore[misc]  # a run is read
    run.output["pay"]  # type: ignore[index,call-overload]  # it may be any JSON value, and None


def work(url: str, ready: list[UUID]) -> None:
    worker = Worker(order, url, max_concurrency=3, on_ready=ready.append)
    Worker(order, url, WorkerConfig(batch_size=1, min_poll_interval=0.5), prepare=False)
    Worker("order", url)  # type: ignore[arg-type]
    Worker(order)  # type: ignore[call-arg]
    WorkerConfig(batch_size="1")  # type: ignore[arg-type]
    WorkerConfig(batch=1)  # type: ignore[call-arg]
    assert_type(worker.run(), None)
    worker.stop()


def embed() -> None:
    with EmbeddedPostgres() as server:
        assert_type(server.url(), str)
