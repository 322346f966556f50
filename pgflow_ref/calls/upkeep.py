"""Calls of upkeep: how the database is, what stalled, what is old."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from pgflow_ref import operations as ops
from pgflow_ref.calls.names import flow_slug, stored_slug
from pgflow_ref.calls.retries import until_free
from pgflow_ref.calls.schedule import seconds
from pgflow_ref.capabilities import Capabilities, probe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from uuid import UUID

    from pgflow_ref.calls.requests import Call
    from pgflow_ref.flow import Flow
    from pgflow_ref.operations import FlowHealth, Queue, Recovered, WorkerHealth

_BATCH: Final = 1_000
"""Runs that are deleted in one transaction, so that none of them takes long."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted.

    Attributes:
        runs: runs that were over.
        tasks: their tasks.
        messages: their messages, most of them in archives.

    Example:
        >>> Pruned(runs=2, tasks=5, messages=6).tasks
        5
    """

    runs: int
    tasks: int
    messages: int


@dataclass(frozen=True, slots=True)
class Health:
    """How pgflow in a database is.

    Attributes:
        status: `ok`; `degraded` where something needs looking after; `down` where nothing can run.
        problems: one sentence for each thing that is not as it should be.
        server: the version of PostgreSQL, or None where it is not reached.
        core: the oldest release of the core that can what this one can, or None.
        pgmq: the version of the pgmq extension; None where it is plain SQL, or not reached.
        workers: workers of any language that gave a sign of life within the last hour.
        flows: all flows of the database.

    Example:
        >>> Health("down", problems=("no connection to database 'app'",)).status
        'down'
    """

    status: Literal["ok", "degraded", "down"]
    problems: tuple[str, ...] = ()
    server: str | None = None
    core: str | None = None
    pgmq: str | None = None
    workers: tuple[WorkerHealth, ...] = ()
    flows: tuple[FlowHealth, ...] = ()


def capabilities() -> Call[Capabilities]:
    """What the core can do; see `PgFlow.capabilities`."""
    found: Capabilities = yield probe()
    return found


def recover_stalled_tasks(flow: Flow | str | None, grace: float | timedelta) -> Call[Recovered]:
    """Put stalled tasks back; see `PgFlow.recover_stalled_tasks`."""
    slug = None if flow is None else flow_slug(flow)
    patience = seconds(grace, "grace")
    core = yield from capabilities()
    recovered: Recovered = yield ops.recover_stalled_tasks(
        slug, patience, by_core=core.requeue_stalled_tasks
    )
    return recovered


def prune_data(older_than: float | timedelta, flow: Flow | str | None) -> Call[Pruned]:
    """Delete runs that have been over for long; see `PgFlow.prune_data`."""
    age = seconds(older_than, "older_than")
    slugs: list[str] = [stored_slug(flow)] if flow is not None else (yield ops.flows_with_runs())
    total = Pruned(0, 0, 0)
    for slug in slugs:
        found = _BATCH
        while found == _BATCH:
            pruned = yield from until_free(partial(_prune, slug, age))
            found = pruned.runs
            total = Pruned(
                total.runs + pruned.runs,
                total.tasks + pruned.tasks,
                total.messages + pruned.messages,
            )
    return total


def _prune(slug: str, age: float) -> Call[Pruned]:
    run_ids: list[UUID] = yield ops.runs_over_for(slug, age, _BATCH)
    if not run_ids:
        return Pruned(0, 0, 0)
    queue: Queue = yield ops.queue_of(slug)
    messages = 0
    if queue.exists:
        messages = yield ops.delete_messages_of_runs(slug, run_ids)
    runs, tasks = yield ops.delete_runs(slug, run_ids)
    return Pruned(runs, tasks, messages)


def health_check(registered: Sequence[str]) -> Call[Health]:
    """How all is; see `PgFlow.health_check`."""
    server: str | None = None
    try:
        server = yield ops.server_version()
        core: Capabilities = yield probe()
        workers: tuple[WorkerHealth, ...] = yield ops.workers_health()
        flows: tuple[FlowHealth, ...] = yield ops.flows_health()
    except Exception as error:  # noqa: BLE001  # whatever the database says is the answer
        said = " ".join(str(error).split()) or type(error).__name__
        return Health("down", (said,), server)
    problems = (*_of_flows(flows, workers), *_missing(registered, flows))
    status: Literal["ok", "degraded"] = "degraded" if problems else "ok"
    return Health(status, problems, server, core.core, core.pgmq, workers, flows)


def _of_flows(flows: Sequence[FlowHealth], workers: Sequence[WorkerHealth]) -> list[str]:
    served = {worker.flow_slug for worker in workers if worker.is_alive}
    problems: list[str] = []
    for flow in flows:
        if not flow.has_queue:
            problems.append(
                f"flow {flow.flow_slug!r} has no queue, so none of its runs can start; "
                "ensure_flow makes one"
            )
        if flow.stalled_tasks:
            problems.append(
                f"flow {flow.flow_slug!r}: stalled tasks: {flow.stalled_tasks}; "
                "recover_stalled_tasks puts them back"
            )
        if flow.visible_messages and flow.flow_slug not in served:
            problems.append(
                f"flow {flow.flow_slug!r}: waiting messages: {flow.visible_messages}, "
                "and no worker gave a sign of life lately"
            )
    return problems


def _missing(registered: Sequence[str], flows: Sequence[FlowHealth]) -> list[str]:
    there = {flow.flow_slug for flow in flows}
    return [
        f"flow {slug!r} is not in the database; ensure_flow creates it"
        for slug in registered
        if slug not in there
    ]
