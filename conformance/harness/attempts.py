"""What the event log says of each attempt: its error, and for how long its message was hidden."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from conformance.harness.invariants import TaskId, task_of
from conformance.harness.values import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conformance.harness.eventlog import Event
    from conformance.harness.judge import Seen


def errors(events: Sequence[Event], task: TaskId) -> list[str | None]:
    """The error text of each attempt that failed, in order."""
    return [event.row["error_message"] for event in events if _ends_attempt(event, task)]


def delays(events: Sequence[Event], task: TaskId) -> list[int | None]:
    """For how many seconds the message was hidden after each failed attempt that is not the last.

    None where it was left as it was. What hides it last counts, until the next attempt: a worker
    may have a mind of its own after the database has hidden it. Reads do not count.
    """
    found: list[int | None] = []
    waiting: int | None = None  # for its next attempt, the task of this message
    for event in events:
        if _ends_attempt(event, task):
            waiting = event.row["message_id"] if event.row["status"] == "queued" else None
            found += [None] if waiting is not None else []
        elif event.source == "task" and task_of(event.row) == task:
            waiting = None
        elif event.source == "message" and event.row["msg_id"] == waiting and _hides(event):
            found[-1] = hidden_for(event)
    return found


def reads(events: Sequence[Event]) -> Iterator[Event]:
    """The reads of messages: each counts one up."""
    for event in events:
        changed = event.source == "message" and event.old is not None and event.new is not None
        if changed and event.row["read_ct"] > (event.old or {})["read_ct"]:
            yield event


def hidden_for(event: Event) -> int:
    """For how many whole seconds a change of a message hides it.

    The database reckons from its clock just before the change is noted, so a little is missing.
    """
    return math.ceil((event.visible_at - event.at).total_seconds())


def hidden(events: Sequence[Event], seconds: int) -> Iterator[str]:
    """Where a read did not hide its message for so many seconds."""
    for event in reads(events):
        if (found := hidden_for(event)) != seconds:
            yield f"a read hid message {event.row['msg_id']} for {found} s, not {seconds}"


def problems(seen: Seen, task: TaskId, wanted: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it is expected of a task's attempts."""
    events, owner = seen.history.events, seen.tasks.get(task, {}).get("worker")
    if "by" in wanted and owner != (expected := seen.roles.get(wanted["by"])):
        yield f"worker {owner} had it last, not {wanted['by']} ({expected})"
    saw = [
        call.get("attempt")
        for worker in seen.workers
        for call in worker.of("call")
        if (call.get("run_id"), call.get("step_slug"), call.get("task_index", 0)) == task
    ]
    if "calls" in wanted and len(saw) != wanted["calls"]:
        yield f"its handler was called {len(saw)} times, not {wanted['calls']}"
    if "saw" in wanted and saw != wanted["saw"] and any(one is not None for one in saw):
        yield f"its handler saw the attempts {show(saw)}, not {show(wanted['saw'])}"
    if "errors" in wanted and (said := errors(events, task)) != wanted["errors"]:
        yield f"its attempts failed with {show(said)}, not {show(wanted['errors'])}"
    if "delays" in wanted and (waited := delays(events, task)) != wanted["delays"]:
        yield f"its message was hidden for {waited} s after its failures, not {wanted['delays']}"


def _ends_attempt(event: Event, task: TaskId) -> bool:
    """Whether an attempt of this task failed."""
    if event.source != "task" or event.old is None or event.old["status"] != "started":
        return False
    return task_of(event.row) == task and event.row["status"] in ("queued", "failed")


def _hides(event: Event) -> bool:
    """Whether a message is hidden: neither by a read, nor by an act of the case, for ever."""
    if event.old is None or event.new is None or event.new["read_ct"] > event.old["read_ct"]:
        return False
    return bool(event.new["vt"] != "infinity") and hidden_for(event) > 0
