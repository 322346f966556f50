"""Starting runs and working on them, as a type checker sees it; see `declare.py`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg_pool import ConnectionPool
from typing_extensions import assert_type

from pgflow_ref import (
    Capabilities,
    EmbeddedPostgres,
    Event,
    Flow,
    FlowHealth,
    FlowUpserted,
    Job,
    PgFlow,
    PgflowError,
    Pruned,
    Recovered,
    Run,
    RunFailed,
    StepState,
    Worker,
    WorkerConfig,
    WorkerHealth,
)
from pgflow_ref.json_contract import Json
from pgflow_ref.logs import ConsoleLog, JsonLog
from pgflow_ref.opentelemetry import Bridge

order, send = Flow("order"), Job("send")


def targets(url: str, connection: psycopg.Connection[Any], pool: ConnectionPool[Any]) -> None:
    PgFlow(connection, flows=[order])
    PgFlow(pool, listeners=[print], config=WorkerConfig(batch_size=1))
    PgFlow(1)  # type: ignore[arg-type]
    PgFlow()  # type: ignore[call-arg]
    PgFlow(url, False)  # type: ignore[call-arg,arg-type]
    PgFlow(url, flows=["order"])  # type: ignore[list-item]
    PgFlow(url, listeners=[order])  # type: ignore[list-item]


def start(url: str, mine: UUID) -> None:
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
        assert_type(pgflow.start_flows(order, [1, "two", None]), list[UUID])
        pgflow.start_flows(order, 3)  # type: ignore[arg-type]


def later(pgflow: PgFlow, when: datetime) -> None:
    assert_type(pgflow.enqueue("send", {}), UUID)
    assert_type(pgflow.enqueue(send, {}, delay=5, scheduled_at=when), UUID)
    assert_type(pgflow.enqueue_in(send, {}, 1.5), UUID)
    assert_type(pgflow.enqueue_in(send, {}, timedelta(minutes=1)), UUID)
    assert_type(pgflow.enqueue_at(send, {}, when), UUID)
    pgflow.enqueue(send, {}, delay="soon")  # type: ignore[arg-type]
    pgflow.enqueue_in(send, {}, when)  # type: ignore[arg-type]
    pgflow.enqueue_at(send, {}, 60)  # type: ignore[arg-type]
    pgflow.enqueue_at(send, {}, when.date())  # type: ignore[arg-type]


def define(pgflow: PgFlow) -> None:
    done = pgflow.upsert_flow("order", steps=[{"slug": "pay", "deps": []}], timeout=5)
    assert_type(done, FlowUpserted)
    assert_type(done.status, Literal["compiled", "recompiled"])
    pgflow.upsert_flow("order")  # type: ignore[call-arg]
    pgflow.upsert_flow("order", steps=["pay"])  # type: ignore[list-item]
    assert_type(pgflow.ensure_flow(order), tuple[str, ...])
    pgflow.ensure_flow("order")  # type: ignore[arg-type]
    assert_type(pgflow.delete_flow("order"), bool)
    assert_type(pgflow.flow_exists(order), bool)
    assert_type(pgflow.list_flows(), tuple[Flow, ...])
    assert_type(pgflow.get_flow("order"), Flow)


def look_after(pgflow: PgFlow) -> None:
    health = pgflow.health_check()
    assert_type(health.problems, tuple[str, ...])
    assert_type(health.workers, tuple[WorkerHealth, ...])
    assert_type(health.flows, tuple[FlowHealth, ...])
    assert_type(health.core, str | None)
    assert_type(pgflow.recover_stalled_tasks(order, grace=5), Recovered)
    assert_type(pgflow.prune_data(timedelta(days=30)), Pruned)
    pgflow.prune_data("30 days")  # type: ignore[arg-type]
    pgflow.prune_data()  # type: ignore[call-arg]
    assert_type(pgflow.capabilities(), Capabilities)
    assert_type(pgflow.core_version(), str)


def workers(pgflow: PgFlow) -> None:
    assert_type(pgflow.start_worker(order, max_concurrency=3), UUID)
    assert_type(pgflow.start_worker("order"), UUID)
    pgflow.start_worker(7)  # type: ignore[arg-type]
    assert_type(pgflow.stop_worker("order"), None)
    assert_type(pgflow.run(), None)
    assert_type(pgflow.close(), None)


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
    assert_type(pgflow.get_flow_input(run_id), Json)
    assert_type(pgflow.get_step_output(run_id, "pay"), Json)
    pgflow.get_step_output(run_id)  # type: ignore[call-arg]
    run.output["pay"]  # type: ignore[index,call-overload]  # it may be any JSON value, and None


def work(url: str, ready: list[UUID], heard: list[Event]) -> None:
    worker = Worker(order, url, max_concurrency=3, on_ready=ready.append)
    Worker(order, url, WorkerConfig(batch_size=1, min_poll_interval=0.5), prepare=False)
    Worker(order, url, listeners=[ConsoleLog(), JsonLog(), Bridge(), heard.append])
    Worker("order", url)  # type: ignore[arg-type]
    Worker(order)  # type: ignore[call-arg]
    WorkerConfig(batch_size="1")  # type: ignore[arg-type]
    WorkerConfig(signal_strategy="pigeons")  # type: ignore[arg-type]
    WorkerConfig(recovery_interval=None, visibility_timeout=None)
    WorkerConfig(max_concurrency=None)  # type: ignore[arg-type]
    WorkerConfig(batch=1)  # type: ignore[call-arg]
    assert_type(worker.run(), None)
    worker.stop()


def embed() -> None:
    with EmbeddedPostgres() as server:
        assert_type(server.url(), str)
