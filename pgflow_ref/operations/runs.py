"""Runs: start them and look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_ref.errors import FlowNotFound, NotJson, RunExists
from pgflow_ref.json_contract import Json, decode
from pgflow_ref.operations.operation import Operation, as_int, as_uuid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from pgflow_ref.operations.operation import Row


@dataclass(frozen=True, slots=True)
class StepState:
    """One step of one run, as `pgflow.step_states` has it.

    Attributes:
        step_slug: the step.
        status: created, started, completed or failed.
        remaining_deps: steps that it still waits for.
        attempts: how often its task was started (of several tasks: the most).
        error_message: the last failure of its task, also when it was retried since; None: none.
        created_at: with the run.
        started_at: when its task was queued, or None.
        completed_at: or None.
        failed_at: or None.
    """

    step_slug: str
    status: str
    remaining_deps: int
    attempts: int
    error_message: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a flow, as `pgflow.runs` has it.

    Attributes:
        run_id: its id.
        flow_slug: its flow.
        status: started, completed or failed.
        input: what it was started with.
        output: the outputs of its leaf steps by slug; None before it is completed.
        remaining_steps: steps that are not completed.
        started_at: when it was started.
        completed_at: or None.
        failed_at: or None.
        step_states: its steps in the order of the flow; empty where they were not asked for.
    """

    run_id: UUID
    flow_slug: str
    status: str
    input: Json
    output: Json
    remaining_steps: int
    started_at: datetime
    completed_at: datetime | None
    failed_at: datetime | None
    step_states: tuple[StepState, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether the run is completed or failed."""
        return self.status != "started"


def start_flow(flow_slug: str, input_json: str, run_id: UUID | None) -> Operation[UUID]:
    """Start a run (`pgflow.start_flow`); its id is what is given, or a new one."""
    return Operation(
        "start a run",
        "SELECT run_id FROM pgflow.start_flow(flow_slug => %(flow_slug)s::text,"
        " input => %(input)s::jsonb, run_id => %(run_id)s::uuid)",
        {"flow_slug": flow_slug, "input": input_json, "run_id": run_id},
        lambda rows: as_uuid(rows[0][0]),
        {
            ("23503", "runs_flow_slug_fkey"): FlowNotFound(flow_slug),
            ("23505", "runs_pkey"): RunExists(run_id),
            ("54001", ""): NotJson("$", "is nested deeper than the server's stack depth allows"),
        },
    )


def get_run(run_id: UUID) -> Operation[Run | None]:
    """One run without its steps; None where there is none."""
    return Operation(
        "get a run",
        "SELECT run_id, flow_slug, status, input::text, output::text, remaining_steps, started_at,"
        " completed_at, failed_at FROM pgflow.runs WHERE run_id = %(run_id)s",
        {"run_id": run_id},
        lambda rows: _run(rows[0]) if rows else None,
    )


def get_run_with_states(run_id: UUID) -> Operation[Run | None]:
    """One run with the states of its steps; None where there is none."""
    return Operation(
        "get a run with its steps",
        "SELECT r.run_id, r.flow_slug, r.status, r.input::text, r.output::text, r.remaining_steps,"
        " r.started_at, r.completed_at, r.failed_at, s.step_slug, s.status, s.remaining_deps,"
        " coalesce(t.attempts, 0), coalesce(t.error_message, s.error_message), s.created_at,"
        " s.started_at, s.completed_at, s.failed_at"
        " FROM pgflow.runs r"
        " LEFT JOIN pgflow.step_states s USING (run_id)"
        " LEFT JOIN pgflow.steps d ON d.flow_slug = s.flow_slug AND d.step_slug = s.step_slug"
        " LEFT JOIN LATERAL (SELECT max(attempts_count) AS attempts, max(error_message) AS"
        " error_message FROM pgflow.step_tasks WHERE run_id = s.run_id"
        " AND step_slug = s.step_slug) t ON true"
        " WHERE r.run_id = %(run_id)s ORDER BY d.step_index",
        {"run_id": run_id},
        _run_with_states,
    )


def _run(row: Row, states: tuple[StepState, ...] = ()) -> Run:
    run_id, flow_slug, status, given, output, remaining, started, completed, failed = row[:9]
    return Run(
        as_uuid(run_id),
        str(flow_slug),
        str(status),
        decode(str(given)),
        None if output is None else decode(str(output)),
        as_int(remaining),
        started,  # type: ignore[arg-type]  # timestamptz comes as datetime
        completed,  # type: ignore[arg-type]
        failed,  # type: ignore[arg-type]
        states,
    )


def _run_with_states(rows: Sequence[Row]) -> Run | None:
    if not rows:
        return None
    states = (StepState(*row[9:]) for row in rows if row[9] is not None)  # type: ignore[arg-type]
    return _run(rows[0], tuple(states))
