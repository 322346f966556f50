"""The model's database as tables: what a SELECT would show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from pgflow_ref.model.rows import text_of
from pgflow_ref.model.state import value_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pgflow_ref.json_contract import Json
    from pgflow_ref.model.profile import Profile
    from pgflow_ref.model.rows import MessageRow
    from pgflow_ref.model.state import State

_JSONB: Final = {"input", "output", "message"}
_TIMES: Final = {"vt"}  # and all that end so
MESSAGE: Final = ("msg_id", "read_ct", "enqueued_at", "last_read_at", "vt", "message")
"""The columns of a queue that the model has."""

ARCHIVED: Final = (*MESSAGE, "archived_at")
"""The columns of an archive that the model has."""

_ENDED_AT: Final = {"stopped_at": "ended_at", "deprecated_at": "ended_at"}


def as_json(row: NamedTuple, columns: Sequence[str], *, boxed: bool = False) -> dict[str, Json]:
    """One row as `to_jsonb` shows it: some columns, times as text, a jsonb as its value.

    Args:
        row: a row of `rows.py`.
        columns: which columns.
        boxed: show a jsonb as a list with its value, so that NULL and JSON's null differ.

    Example:
        >>> from pgflow_ref.model.rows import FlowRow
        >>> as_json(FlowRow("f", 3, 5, 60, 0), ["flow_slug", "created_at"])
        {'flow_slug': 'f', 'created_at': '1970-01-01T00:00:00+00:00'}
    """
    shown = {
        column: _value(column, getattr(row, _ENDED_AT.get(column, column))) for column in columns
    }
    if boxed:
        there = [name for name in shown if name in _JSONB and getattr(row, name) is not None]
        shown |= {name: [shown[name]] for name in there}
    return shown


def message_as_json(row: MessageRow, columns: Sequence[str] = MESSAGE) -> dict[str, Json]:
    """A row of a queue, or with `ARCHIVED` of its archive; pgflow gives messages no headers."""
    return as_json(row, columns) | {"headers": None}


def rows(
    state: State, profile: Profile, *, boxed: bool = False
) -> dict[str, list[dict[str, Json]]]:
    """All tables of schema `pgflow` with their rows, as `as_json` shows them."""
    flows, runs = state.flows, state.runs.values()
    found: Mapping[str, Iterable[NamedTuple]] = {
        "flows": (flow.row for flow in flows.values()),
        "steps": (step for flow in flows.values() for step in flow.steps.values()),
        "deps": (dep for flow in flows.values() for dep in flow.deps.values()),
        "runs": (run.row for run in runs),
        "step_states": (row for run in runs for row in run.states.values()),
        "step_tasks": (task for run in runs for task in run.tasks.values()),
        "workers": state.workers.values(),
    }
    return {
        table: [as_json(row, profile.columns[table], boxed=boxed) for row in rows]
        for table, rows in found.items()
    }


def _value(column: str, value: object) -> Json:
    if value is None:
        return None
    if column in _JSONB:
        assert isinstance(value, str)
        return value_of(value)
    if isinstance(value, UUID):
        return str(value)
    if column in _TIMES or column.endswith("_at"):
        assert isinstance(value, int)
        return text_of(value)
    assert isinstance(value, (str, int))
    return value
