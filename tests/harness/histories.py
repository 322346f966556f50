"""Histories made by hand: a story is named changes of rows, and playing it gives the event log."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from conformance.harness.eventlog import Event
from conformance.harness.invariants import History
from pgflow_ref.shape import FlowShape, Options, StepShape

RUN = "01234567-0000-0000-0000-000000000000"
FLOW = FlowShape("flow", Options(), (StepShape("a"), StepShape("b", ("a",))))
LIMITS = {"a": 1, "b": 2}
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Change(NamedTuple):
    """In this transaction, these columns of this row got these values; None: it was deleted."""

    txid: int
    source: str
    key: object
    columns: dict[str, Any] | None


Story = dict[str, Change]


def run(txid: int, **columns: Any) -> Change:
    return Change(txid, "run", RUN, {"run_id": RUN, **columns})


def step(txid: int, slug: str, status: str) -> Change:
    return Change(txid, "step", slug, {"run_id": RUN, "step_slug": slug, "status": status})


def task(txid: int, slug: str, **columns: Any) -> Change:
    names = {"run_id": RUN, "step_slug": slug, "task_index": 0}
    return Change(txid, "task", slug, {**names, **columns})


def queued(txid: int, slug: str, message: int) -> Change:
    fresh = {"attempts_count": 0, "last_worker_id": None, "output": None}
    return task(txid, slug, status="queued", message_id=message, **fresh)


def claimed(txid: int, slug: str, worker: str | None, attempt: int = 1) -> Change:
    started = {"status": "started", "attempts_count": attempt}
    return task(txid, slug, last_worker_id=worker, **started)


def archived(txid: int, message: int) -> Change:
    return Change(txid, "archive", message, {"msg_id": message})


def message(txid: int, number: int, read_ct: int, hidden: float | None = None) -> Change:
    """A message is sent, read or hidden: until so many seconds after the story begins."""
    columns: dict[str, Any] = {"msg_id": number, "read_ct": read_ct}
    if hidden is not None:
        columns["vt"] = (BEGIN + timedelta(seconds=hidden)).isoformat()
    return Change(txid, "message", number, columns)


def deleted(txid: int, number: int) -> Change:
    return Change(txid, "message", number, None)


COMPLETED: Story = {
    "the run starts": run(1, status="started", remaining_steps=2, output=None),
    "a starts": step(1, "a", "started"),
    "b waits": step(1, "b", "created"),
    "a is queued": queued(1, "a", 1),
    "a is claimed": claimed(2, "a", "w1"),
    "a's task is completed": task(3, "a", status="completed", output=1),
    "a is completed": step(3, "a", "completed"),
    "b starts": step(3, "b", "started"),
    "b is queued": queued(3, "b", 2),
    "one step remains": run(3, remaining_steps=1),
    "a's message is archived": archived(3, 1),
    "b is claimed": claimed(4, "b", "w1"),
    "b is to be tried again": task(5, "b", status="queued"),
    "b is claimed again": claimed(6, "b", "w2", 2),
    "b's task is completed": task(7, "b", status="completed", output={"n": [1, True]}),
    "b is completed": step(7, "b", "completed"),
    "no step remains": run(7, remaining_steps=0),
    "the run is completed": run(7, status="completed", output={"b": {"n": [1, True]}}),
    "b's message is archived": archived(7, 2),
}

FAILED: Story = {
    **dict(list(COMPLETED.items())[: list(COMPLETED).index("b's task is completed")]),
    "b's task fails": task(7, "b", status="failed"),
    "b fails": step(7, "b", "failed"),
    "the run fails": run(7, status="failed"),
    "b's message is archived": archived(7, 2),
}


def without(story: Story, *names: str) -> Story:
    return {name: change for name, change in story.items() if name not in names}


def instead(story: Story, name: str, change: Change) -> Story:
    """The story with another change in this place."""
    assert name in story
    return {**story, name: change}


def after(story: Story, name: str, *changes: Change) -> Story:
    """The story with more changes after this one."""
    told: Story = {}
    for known, change in story.items():
        told[known] = change
        if known == name:
            told.update({f"{name}, {number}": more for number, more in enumerate(changes)})
    assert len(told) == len(story) + len(changes)
    return told


def of_run(name: str, change: Change) -> Change:
    """The same change in another run."""
    columns = dict(change.columns or {})
    for key in ("message_id", "msg_id"):
        if key in columns:
            columns[key] += 1000
    if "run_id" in columns:
        columns["run_id"] = name
    return Change(change.txid + 1000, change.source, (name, change.key), columns)


def play(story: Story) -> list[Event]:
    """The events, as the triggers would have noted them."""
    rows: dict[tuple[str, object], dict[str, Any]] = defaultdict(dict)
    events = []
    for number, (txid, source, key, columns) in enumerate(story.values(), 1):
        old = rows[source, key]
        at = BEGIN + timedelta(seconds=number)
        if columns is None:
            events.append(Event(number, at, txid, source, rows.pop((source, key)), None))
            continue
        new = rows[source, key] = {**old, **columns}
        events.append(Event(number, at, txid, source, old or None, new))
    return events


def history(story: Story) -> History:
    return History(FLOW, LIMITS, play(story))
