"""Changes of the model's database as the events that the suite's triggers write.

The model says how the database is before and after a call; what differs is what its triggers would
have told (`conformance/harness/eventlog.py`). Where a row changes several times within a call, only
the last counts, and a row that is written as it was is not told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from conformance.harness.eventlog import Event
from pgflow_ref.model.rows import datetime_of
from pgflow_ref.model.tables import ARCHIVED, MESSAGE, as_json, message_as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgflow_ref.model import Profile, State
    from pgflow_ref.model.rows import Instant, Queue, Run

_TABLES: Final = {
    "run": "runs",
    "step": "step_states",
    "task": "step_tasks",
    "worker": "workers",
}
_QUEUES: Final = {"message": MESSAGE, "archive": ARCHIVED}
SOURCES: Final = frozenset(_TABLES) | frozenset(_QUEUES)
"""Whose changes are told."""

_NO_ROWS: Final[Mapping[Any, Any]] = {}

Shown: TypeAlias = "Mapping[int, dict[str, Any]]"
"""Rows as events have them, by the identity of the model's row, which must live as long."""


class Change(NamedTuple):
    """One row before and after a call."""

    source: str
    old: Any  # a row of `rows.py`, or None
    new: Any


class Noted(NamedTuple):
    """What one call changed, in which transaction, and when."""

    txid: int
    clock: Instant
    changes: list[Change]


def changes(before: State, after: State) -> list[Change]:
    """The rows that differ.

    The order is one in which the core's statements may have made the changes: a step is completed
    by its task, then others are queued, and the run ends last.
    """
    found: list[Change] = []
    if after.runs is not before.runs:
        queued: list[Change] = []
        ended: list[Change] = []
        for run_id, run in after.runs.items():
            old = before.runs.get(run_id)
            if run is not old:
                _run_changes(old, run, found, queued, ended)
        _queue_changes(before, after, found)
        found += queued
        found += ended
    else:
        _queue_changes(before, after, found)
    if after.workers is not before.workers:
        found += _rows("worker", before.workers, after.workers)
    return found


def events(
    noted: Iterable[Noted],
    profile: Profile,
    sources: frozenset[str] = SOURCES,
    known: Shown = _NO_ROWS,
) -> list[Event]:
    """What was noted, as the suite's event log has it.

    Args:
        noted: the calls, in order.
        profile: which columns the tables have.
        sources: what is wanted; the others' events are left out, and leave gaps in the ids.
        known: rows that were shown before.
    """
    columns = _columns(profile)
    rows = dict(known)  # the new row of one event is the old one of the next
    told: list[Event] = []
    number = 0
    for txid, clock, changed in noted:
        at = None
        for source, old, new in changed:
            number += 1
            if source not in sources:
                continue
            at = at or datetime_of(clock)
            before = after = None
            if old is not None:
                before = rows.get(id(old)) or _row(source, old, columns)
            if new is not None:
                after = rows.get(id(new)) or _changed_row(source, old, new, before, columns)
                rows[id(new)] = after
            told.append(Event(number, at, txid, source, before, after))
    return told


def shown(noted: Iterable[Noted], profile: Profile) -> Shown:
    """The rows that were written, for those who will need them often."""
    columns = _columns(profile)
    return {
        id(new): _row(source, new, columns)
        for call in noted
        for source, _, new in call.changes
        if new is not None
    }


def _columns(profile: Profile) -> Mapping[str, Sequence[str]]:
    return {source: profile.columns[table] for source, table in _TABLES.items()} | _QUEUES


def _row(source: str, row: Any, columns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    show = message_as_json if source in _QUEUES else as_json
    return show(row, columns[source])


def _changed_row(
    source: str,
    old: Any,
    new: Any,
    before: dict[str, Any] | None,
    columns: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """A row as it is now, quickly: most of it is as it was."""
    if before is None or source == "worker":  # whose columns have other names than its fields
        return _row(source, new, columns)
    names = [
        name
        for name, was, is_now in zip(new._fields, old, new, strict=True)
        if was is not is_now and name in columns[source]
    ]
    return before | as_json(new, names)


def _run_changes(
    old: Run | None, run: Run, found: list[Change], queued: list[Change], ended: list[Change]
) -> None:
    if old is None:
        found.append(Change("run", None, run.row))
        found += _rows("step", _NO_ROWS, run.states)
        queued += _rows("task", _NO_ROWS, run.tasks)
        return
    if run.tasks is not old.tasks:
        for change in _rows("task", old.tasks, run.tasks):
            (queued if change.old is None else found).append(change)
    if run.states is not old.states:
        found += _rows("step", old.states, run.states)
    if run.row is not old.row and run.row != old.row:
        ended.append(Change("run", old.row, run.row))


def _queue_changes(before: State, after: State, found: list[Change]) -> None:
    if after.queues is before.queues:
        return
    for name, queue in after.queues.items():
        old: Queue | None = before.queues.get(name)
        if old is None or queue is old:
            continue
        found += _rows("message", old.messages, queue.messages)
        if queue.archive is not old.archive:
            found += _rows("archive", old.archive, queue.archive)


def _rows(source: str, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> Iterator[Change]:
    """Rows that were changed or inserted, then those that are gone."""
    if before is after:
        return
    for key, row in after.items():
        old = before.get(key)
        if old is not row and old != row:
            yield Change(source, old, row)
    for key, row in before.items():
        if key not in after:
            yield Change(source, row, None)
