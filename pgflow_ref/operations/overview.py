"""An overview of all flows: what they consist of, and how their runs went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_ref.operations.operation import Operation, as_int

if TYPE_CHECKING:
    from datetime import datetime

    from pgflow_ref.operations.operation import Row


@dataclass(frozen=True, slots=True)
class FlowOverview:
    """A flow in the database.

    Attributes:
        flow_slug: the flow.
        created_at: when it was created there.
        steps: the slugs of its steps, in their order.
        started: runs that are going on.
        completed: runs that are completed.
        failed: runs that failed.
    """

    flow_slug: str
    created_at: datetime
    steps: tuple[str, ...]
    started: int
    completed: int
    failed: int


def flows_overview() -> Operation[tuple[FlowOverview, ...]]:
    """All flows, by their slugs."""
    return Operation(
        "look over the flows",
        "SELECT f.flow_slug, f.created_at, ARRAY(SELECT s.step_slug FROM pgflow.steps s"
        " WHERE s.flow_slug = f.flow_slug ORDER BY s.step_index), coalesce(r.started, 0),"
        " coalesce(r.completed, 0), coalesce(r.failed, 0) FROM pgflow.flows f"
        # Once over all runs; a look for each flow and status would read them as often.
        " LEFT JOIN (SELECT flow_slug, count(*) FILTER (WHERE status = 'started') AS started,"
        " count(*) FILTER (WHERE status = 'completed') AS completed,"
        " count(*) FILTER (WHERE status = 'failed') AS failed"
        " FROM pgflow.runs GROUP BY flow_slug) r USING (flow_slug) ORDER BY f.flow_slug",
        {},
        lambda rows: tuple(map(_overview, rows)),
    )


def _overview(row: Row) -> FlowOverview:
    slug, created_at, steps, started, completed, failed = row
    assert isinstance(steps, list)
    return FlowOverview(
        str(slug),
        created_at,  # type: ignore[arg-type]  # timestamptz comes as datetime
        tuple(map(str, steps)),
        as_int(started),
        as_int(completed),
        as_int(failed),
    )
