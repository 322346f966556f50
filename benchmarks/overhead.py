"""What the worker itself costs a task: the machine and `execute`, with no database.

The machine is fed what a shell would report of tasks whose handlers do nothing, in full batches,
and what it asks for is done at once.
"""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pgflow_ref import execute, machine, protocol
from pgflow_ref.config import WorkerConfig
from pgflow_ref.shape import StepShape
from pgflow_ref.task import Task, TaskKey

if TYPE_CHECKING:
    from pgflow_ref import Context

_SECOND: Final = 0.000_001  # how far the machine's clock goes on with each event
_WORKER: Final = UUID(int=1)
_STEP: Final = StepShape("only")
_INPUT: Final = '{"run": {"order": 7, "lines": ["tea", "milk"]}}'


class _Never:
    """A worker that is not asked to stop."""

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002  # as of an Event
        return False


def of_tasks(tasks: int, batch: int = 100) -> float:
    """Microseconds a task, for so many tasks in batches."""
    state, now = _ready(batch), 1.0
    began = time.perf_counter()
    for first in range(0, tasks, batch):
        claimed = tuple(_task(number) for number in range(first, first + batch))
        state, now = _one_batch(state, claimed, now)
    return (time.perf_counter() - began) / tasks * 1_000_000


def memory_in_flight(tasks: int = 1_000) -> float:
    """Kilobytes that so many tasks in flight take."""
    state = _ready(tasks)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        claimed = tuple(_task(number) for number in range(tasks))
        state, commands = _step(state, protocol.TasksClaimed(1.0, claimed))
        held = [_prepared(task) for task in claimed]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(state.running) == len(held) == tasks, "all of them are in flight"
    return (after - before) / 1000 + 0 * len(commands)


def _ready(batch: int) -> machine.State:
    """A machine that has read once."""
    config = WorkerConfig(max_concurrency=2 * batch, batch_size=batch)
    state = machine.State(machine.Plan(config, {"only": 60.0}, frozenset()))
    for event in protocol.Started(0.0), protocol.Registered(0.0):
        state, _ = _step(state, event)
    return state


def _one_batch(
    state: machine.State, claimed: tuple[Task, ...], now: float
) -> tuple[machine.State, float]:
    """Claim, run, finish and record a batch."""
    message_ids = tuple(task.message_id for task in claimed)
    state, _ = _step(state, protocol.MessagesRead(now, message_ids, 0.5))
    state, commands = _step(state, protocol.TasksClaimed(now, claimed))
    for command in commands:
        if isinstance(command, protocol.Run):
            now += _SECOND
            outcome = execute.call(_nothing, *_prepared(command.task))
            state, _ = _step(state, protocol.Finished(now, command.task.key, outcome))
    while state.recording:
        state, _ = _step(state, protocol.Recorded(now, min(state.recording)))
    return state, now


def _step(
    state: machine.State, event: protocol.Event
) -> tuple[machine.State, list[protocol.Command]]:
    """One turn of the shell's loop: also the question when to wake."""
    state, commands = machine.step(state, event)
    machine.wake_at(state)
    return state, commands


def _prepared(task: Task) -> tuple[Any, Context]:
    return execute.prepare(_STEP, task, _WORKER, _Never())


def _task(number: int) -> Task:
    return Task(TaskKey(UUID(int=number), "only", 0, 1), "one_step", number, _INPUT)


def _nothing(given: Any, ctx: Context) -> object:  # noqa: ARG001  # as handlers are
    return {}
