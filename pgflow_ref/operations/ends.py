"""How runs end: what a worker that somebody listens to tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgflow_ref.operations.operation import Operation, as_uuid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow_ref.operations.operation import Row
    from pgflow_ref.task import TaskKey


@dataclass(frozen=True, slots=True)
class RunEnd:
    """A run that is over.

    Attributes:
        run_id: the run.
        status: completed or failed.
        output: its output as JSON text, or None.
        reason: the error of the task that failed it, or None.
    """

    run_id: UUID
    status: str
    output: str | None
    reason: str | None


_ENDS: Final = (
    "SELECT r.run_id, r.status, r.output::text, (SELECT t.error_message FROM pgflow.step_tasks t"
    " WHERE t.run_id = r.run_id AND t.status = 'failed' ORDER BY t.failed_at LIMIT 1)"
    " FROM pgflow.runs r WHERE r.status <> 'started' AND "
)


def ended_runs(run_ids: Sequence[UUID]) -> Operation[list[RunEnd]]:
    """Those of these runs that are over."""
    return Operation(
        "look at runs that are over",
        _ENDS + "r.run_id = ANY(%(run_ids)s::uuid[])",
        {"run_ids": list(run_ids)},
        _ended,
    )


def runs_ended_by(keys: Sequence[TaskKey]) -> Operation[list[RunEnd]]:
    """The runs that these tasks ended: both at the same time, since the core notes its `now()`."""
    return Operation(
        "look at runs that were ended before",
        _ENDS + "EXISTS (SELECT FROM unnest(%(runs)s::uuid[], %(steps)s::text[],"
        " %(indexes)s::integer[]) AS k(run_id, step_slug, task_index)"
        " JOIN pgflow.step_tasks o ON o.run_id = k.run_id AND o.step_slug = k.step_slug"
        " AND o.task_index = k.task_index WHERE o.run_id = r.run_id AND"
        " coalesce(o.completed_at, o.failed_at) = coalesce(r.completed_at, r.failed_at))"
        " AND r.run_id = ANY(%(runs)s::uuid[])",
        {
            "runs": [key.run_id for key in keys],
            "steps": [key.step_slug for key in keys],
            "indexes": [key.task_index for key in keys],
        },
        _ended,
    )


def runs_failed_here(flow_slug: str) -> Operation[list[RunEnd]]:
    """The flow's runs that have failed in this transaction: the core notes its `now()`."""
    return Operation(
        "look at runs that have failed",
        _ENDS + "r.flow_slug = %(flow_slug)s AND r.failed_at = now()",
        {"flow_slug": flow_slug},
        _ended,
    )


def _ended(rows: Sequence[Row]) -> list[RunEnd]:
    return [
        RunEnd(
            as_uuid(run_id),
            str(status),
            None if output is None else str(output),
            None if reason is None else str(reason),
        )
        for run_id, status, output, reason in rows
    ]
