"""Short schedules for the worker's machine: states to begin in, and how to play on from there."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pgflow_ref import WorkerConfig
from pgflow_ref.execute import STOPPED, timed_out
from pgflow_ref.machine import Plan, State, step
from pgflow_ref.protocol import (
    Command,
    Event,
    Finished,
    MessagesRead,
    Read,
    Record,
    Registered,
    Started,
    TasksClaimed,
)
from pgflow_ref.task import Completed, Failed, Outcome, Result, Task, TaskKey

# `make` has a dependent, `end` has none; with a heartbeat so rare that no schedule below has one,
# but where it is asked for.
TIMEOUTS = {"make": 60.0, "end": 30.0}
VISIBILITY = 62
OK = Completed('"ok"')
NO = Failed("no")
LATE = timed_out(30)
GIVEN_BACK = STOPPED


def task(number: int, slug: str = "end", attempt: int = 1) -> Task:
    return Task(TaskKey(UUID(int=number), slug, 0, attempt), "f", number, "{}")


ONE, TWO, THREE = task(1), task(2), task(3)
MAKE = task(1, "make")
MORE = (task(4), task(5), task(6))


def result(of: Task, outcome: Outcome = OK) -> Result:
    return Result(of, outcome)


def record(*tasks: Task, outcome: Outcome = OK, lane: int = 0, reads: int = 0) -> Record:
    """Record these, with the same outcome, and then read so many; 0: none."""
    results = tuple(result(one, outcome) for one in tasks)
    return Record(results, lane, Read(reads, VISIBILITY) if reads else None)


def finished(now: float, of: Task, outcome: Outcome = OK) -> Finished:
    return Finished(now, of.key, outcome)


def new(**options: Any) -> State:
    usual = {"heartbeat_interval": 3600, "recovery_interval": None, "recorders": 1}
    config = WorkerConfig(**{**usual, **options})
    return State(Plan(config, TIMEOUTS, frozenset({"make"})))


def play(state: State, *schedule: tuple[Event, list[Command]]) -> State:
    """Show the events to the machine, one after the other; each is followed by these commands."""
    for event, expected in schedule:
        state, commands = step(state, event)
        assert commands == expected, f"after {event}"
    return state


def reading(**options: Any) -> State:
    """A worker at time 0 whose first read is on its way."""
    state = new(**options)
    for event in (Started(0.0), Registered(0.0)):
        state, _ = step(state, event)
    return state


def waiting(**options: Any) -> State:
    """A worker at time 0 whose first read found nothing; it waits for 1 second."""
    state, _ = step(reading(**options), MessagesRead(0.0, (), 0.0))
    return state


def busy(*tasks: Task, **options: Any) -> State:
    """A worker at time 0 that runs these tasks, and no other: it is full."""
    state = reading(**{"max_concurrency": len(tasks), **options})
    state, _ = step(state, MessagesRead(0.0, tuple(one.message_id for one in tasks), 0.0))
    state, _ = step(state, TasksClaimed(0.0, tasks))
    return state


def calm(*tasks: Task, **options: Any) -> State:
    """A worker at time 0 that runs these tasks, has free slots, and last read nothing."""
    state = busy(*tasks, **{"max_concurrency": 10, **options})
    state, _ = step(state, MessagesRead(0.0, (), 0.0))
    return state
