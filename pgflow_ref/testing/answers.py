"""What the model's database answers to the operations of a client: their rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from pgflow_ref.json_contract import encode
from pgflow_ref.model import Refusal
from pgflow_ref.model.rows import datetime_of
from pgflow_ref.model.runs import map_output
from pgflow_ref.model.state import NUMERIC_OUT_OF_RANGE
from pgflow_ref.testing.database import CoreRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from pgflow_ref.model.rows import Run
    from pgflow_ref.operations import Operation, Row
    from pgflow_ref.testing.database import Database

_COUNTED: Final = ("queued", "started", "completed")
_MAX_INTEGER: Final = 2**31 - 1


def answer(database: Database, operation: Operation[Any]) -> Sequence[Row]:
    """Do what an operation asks for: the rows that PostgreSQL would give.

    Raises:
        CoreRefused: the database refuses it, and the operation has no error for that; else that
            error.
    """
    try:
        return _ANSWERS[operation.name](database, **operation.params)
    except CoreRefused as error:
        raise operation.refusals.get(error.refusal, error) from None


def _start_flow(
    database: Database,
    *,
    flow_slug: str,
    input: str,  # noqa: A002  # the operation's own word
    run_id: UUID | None,
) -> list[Row]:
    return [(database.start_flow(flow_slug, input, run_id),)]


def _start_flows(
    database: Database, *, flow_slug: str, inputs: list[str], run_ids: list[UUID]
) -> list[Row]:
    with database.transaction():
        for run_input, run_id in zip(inputs, run_ids, strict=True):
            database.start_flow(flow_slug, run_input, run_id)
    return [(len(run_ids),)]


def _delay_run(database: Database, *, run_id: UUID, seconds: int) -> list[Row]:
    run = database.runs[run_id]
    slug = run.row.flow_slug
    waiting = [task for task in run.tasks.values() if task.status == "queued"]
    for task in waiting:
        delay = seconds + (database.flows[slug].steps[task.step_slug].opt_start_delay or 0)
        if delay > _MAX_INTEGER:
            raise CoreRefused(f"to hide a message for {delay} s", Refusal(NUMERIC_OUT_OF_RANGE))
        database.hide(slug, task.message_id, delay)
    return [(len(waiting),)]


def _schedule_run(database: Database, *, run_id: UUID, at: datetime) -> list[Row]:
    seconds = math.ceil((at - datetime_of(database.clock)).total_seconds())
    return _delay_run(database, run_id=run_id, seconds=max(0, seconds))


def _get_run(database: Database, *, run_id: UUID) -> list[Row]:
    run = database.runs.get(run_id)
    return [] if run is None else [_of_run(run)]


def _get_run_with_states(database: Database, *, run_id: UUID) -> list[Row]:
    run = database.runs.get(run_id)
    if run is None:
        return []
    return [
        (*_of_run(run), *_of_step(run, slug)) for slug in database.flows[run.row.flow_slug].steps
    ]


def _get_step_output(database: Database, *, run_id: UUID, step_slug: str | None) -> list[Row]:
    run = database.runs.get(run_id)
    if run is None:
        return []
    if step_slug not in run.states:
        return [(None, None)]
    assert step_slug is not None
    if database.flows[run.row.flow_slug].steps[step_slug].step_type == "map":
        output: str | None = encode(map_output(run, step_slug))
    else:
        task = run.tasks.get((step_slug, 0))
        output = None if task is None else task.output
    return [(run.states[step_slug].status, output)]


def _of_run(run: Run) -> Row:
    return (*run.row[:6], *map(_moment, run.row[6:]))


def _of_step(run: Run, slug: str) -> Row:
    """The columns of `operations.get_run_with_states` that are a step's."""
    state = run.states[slug]
    tasks = [task for (name, _), task in run.tasks.items() if name == slug]
    attempts = max((task.attempts_count for task in tasks), default=0)
    errors = (task.error_message for task in tasks if task.error_message is not None)
    error = max(errors, default=state.error_message)
    moments = map(_moment, state[8:])
    counts = (sum(task.status == status for task in tasks) for status in _COUNTED)
    return (slug, state.status, state.remaining_deps, attempts, error, *moments, *counts)


def _moment(instant: int | None) -> datetime | None:
    return None if instant is None else datetime_of(instant)


_ANSWERS: Final[Mapping[str, Callable[..., Sequence[Row]]]] = {
    "start a run": _start_flow,
    "start runs": _start_flows,
    "delay a run": _delay_run,
    "schedule a run": _schedule_run,
    "get a run": _get_run,
    "get a run with its steps": _get_run_with_states,
    "get a step's output": _get_step_output,
}
"""By the operations' names."""
