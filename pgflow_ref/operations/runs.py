"""Runs: start them and look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import (
    FlowNotFound,
    InvalidDelay,
    InvalidSchedule,
    NotJson,
    RunExists,
)
from pgflow_ref.json_contract import Json, decode
from pgflow_ref.operations.operation import Operation, as_int, as_uuid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from typing_extensions import LiteralString

    from pgflow_ref.errors import PgflowError
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
        tasks_queued: tasks that wait in the queue: for a worker, or for their next attempt.
        tasks_started: tasks that a worker has.
        tasks_completed: tasks that are completed.

    Example:
        for state in pgflow.get_run_with_states(run_id).step_states:
            print(state.step_slug, state.status, state.attempts, state.error_message)
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
    tasks_queued: int = 0
    tasks_started: int = 0
    tasks_completed: int = 0


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

    Example:
        run = pgflow.get_run(run_id)
        if run.is_over:
            print(run.status, run.output)
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


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What a step put out in a run.

    Attributes:
        status: of the step in that run; None where the run has no such step.
        output: what it put out, where it is completed.
    """

    status: str | None
    output: Json


def start_flow(flow_slug: str, input_json: str, run_id: UUID | None) -> Operation[UUID]:
    """Start a run (`pgflow.start_flow`); its id is what is given, or a new one."""
    return Operation(
        "start a run",
        "SELECT run_id FROM pgflow.start_flow(flow_slug => %(flow_slug)s::text,"
        " input => %(input)s::jsonb, run_id => %(run_id)s::uuid)",
        {"flow_slug": flow_slug, "input": input_json, "run_id": run_id},
        lambda rows: as_uuid(rows[0][0]),
        {**_refusals(flow_slug), ("23505", "runs_pkey"): RunExists(run_id)},
    )


def start_flows(
    flow_slug: str, inputs_json: Sequence[str], run_ids: Sequence[UUID]
) -> Operation[int]:
    """Start a run for each input, with the id in the same place; how many there are now."""
    return Operation(
        "start runs",
        "SELECT count(r.run_id) FROM unnest(%(inputs)s::text[], %(run_ids)s::uuid[])"
        " AS i (input, run_id) CROSS JOIN LATERAL pgflow.start_flow("
        "flow_slug => %(flow_slug)s::text, input => i.input::jsonb, run_id => i.run_id) r",
        {"flow_slug": flow_slug, "inputs": list(inputs_json), "run_ids": list(run_ids)},
        lambda rows: as_int(rows[0][0]),
        _refusals(flow_slug),
    )


def delay_run(run_id: UUID, seconds: int) -> Operation[int]:
    """Hide the messages of a run that was just started for so long; how many there are.

    All its first steps wait, each of them its own `start_delay` longer.
    """
    return Operation(
        "delay a run",
        _HIDE.replace("{seconds}", "%(seconds)s"),
        {"run_id": run_id, "seconds": seconds},
        lambda rows: as_int(rows[0][0]),
        {("22003", ""): InvalidDelay(f"{seconds} s and the steps' own start_delay are too long")},
    )


def schedule_run(run_id: UUID, at: datetime) -> Operation[int]:
    """Hide the messages of a run that was just started until then; see `delay_run`.

    By the clock of the database, in whole seconds from now, rounded up.
    """
    return Operation(
        "schedule a run",
        _HIDE.replace(
            "{seconds}",
            "greatest(0, ceil(extract(epoch FROM %(at)s::timestamptz - statement_timestamp())))",
        ),
        {"run_id": run_id, "at": at},
        lambda rows: as_int(rows[0][0]),
        {
            ("22003", ""): InvalidSchedule(
                f"{at} is too far away: a message can wait for {2**31 - 1} seconds, 68 years"
            )
        },
    )


# A start_delay is no column before 0.5.3: looked up in the row as JSON, it is then NULL.
_HIDE: Final[LiteralString] = (
    "SELECT count(v.msg_id) FROM pgflow.step_tasks t"
    " JOIN pgflow.steps s ON s.flow_slug = t.flow_slug AND s.step_slug = t.step_slug"
    " CROSS JOIN LATERAL pgmq.set_vt(t.flow_slug::text, t.message_id::bigint, ({seconds}"
    " + coalesce((to_jsonb(s) ->> 'opt_start_delay')::numeric, 0))::integer) v"
    " WHERE t.run_id = %(run_id)s AND t.status = 'queued'"
)


def get_step_output(run_id: UUID, step_slug: str | None) -> Operation[StepOutput | None]:
    """What a step put out; None where there is no such run.

    The output of a map step is the list of its tasks' outputs.
    """
    return Operation(
        "get a step's output",
        "SELECT s.status, CASE WHEN d.step_type = 'map' THEN"
        " (SELECT coalesce(jsonb_agg(t.output ORDER BY t.task_index), '[]')"
        " FROM pgflow.step_tasks t WHERE t.run_id = s.run_id AND t.step_slug = s.step_slug)"
        " ELSE (SELECT t.output FROM pgflow.step_tasks t"
        " WHERE t.run_id = s.run_id AND t.step_slug = s.step_slug AND t.task_index = 0)"
        " END::text"
        " FROM pgflow.runs r"
        " LEFT JOIN pgflow.step_states s ON s.run_id = r.run_id AND s.step_slug = %(step_slug)s"
        " LEFT JOIN pgflow.steps d ON d.flow_slug = s.flow_slug AND d.step_slug = s.step_slug"
        " WHERE r.run_id = %(run_id)s",
        {"run_id": run_id, "step_slug": step_slug},
        lambda rows: _step_output(rows[0]) if rows else None,
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
        " s.started_at, s.completed_at, s.failed_at, t.queued, t.started, t.completed"
        " FROM pgflow.runs r"
        " LEFT JOIN pgflow.step_states s USING (run_id)"
        " LEFT JOIN pgflow.steps d ON d.flow_slug = s.flow_slug AND d.step_slug = s.step_slug"
        " LEFT JOIN LATERAL (SELECT max(attempts_count) AS attempts, max(error_message) AS"
        " error_message, count(*) FILTER (WHERE status = 'queued') AS queued,"
        " count(*) FILTER (WHERE status = 'started') AS started,"
        " count(*) FILTER (WHERE status = 'completed') AS completed"
        " FROM pgflow.step_tasks WHERE run_id = s.run_id AND step_slug = s.step_slug) t ON true"
        " WHERE r.run_id = %(run_id)s ORDER BY d.step_index",
        {"run_id": run_id},
        _run_with_states,
    )


def _refusals(flow_slug: str) -> dict[tuple[str, str], PgflowError]:
    return {
        ("23503", "runs_flow_slug_fkey"): FlowNotFound(flow_slug),
        ("54001", ""): NotJson("$", "is nested deeper than the server's stack depth allows"),
    }


def _step_output(row: Row) -> StepOutput:
    status, output = row
    if status is None:
        return StepOutput(None, None)
    return StepOutput(str(status), None if output is None else decode(str(output)))


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
