"""What a worker asks of the database, as calls of the model: `operations/tasks.py` once more.

Each function here stands for the operation of the same name there, and is performed in a
`Transaction`: `transact` does some of them together, or, if the database refuses one, none of them.

Example:
    >>> from uuid import UUID
    >>> from pgflow_ref.model import State, apply, calls
    >>> from pgflow_ref.profiles import load
    >>> core, worker = load("0.5.0").profile, UUID(int=1)
    >>> state = State()
    >>> for call in (
    ...     calls.CreateFlow("greet"),
    ...     calls.AddStep("greet", "hello"),
    ...     calls.StartFlow("greet", "{}"),
    ...     calls.RegisterWorker(worker, "greet", "greet"),
    ... ):
    ...     state = apply(state, call, core).state
    >>> state = transact(state, core, lambda tx: read_messages(tx, "greet", 62, 10)).state
    >>> done = transact(state, core, lambda tx: claim(tx, "greet", (1,), worker))
    >>> [(task.key.step_slug, task.key.attempt, task.input) for task in done.value]
    [('hello', 1, '{"run": {}}')]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from pgflow_ref import operations
from pgflow_ref.model import apply, calls
from pgflow_ref.model.rows import MessageRow, Record
from pgflow_ref.model.state import Refused
from pgflow_ref.task import Completed, TaskInput, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from pgflow_ref.model import Profile, Refusal, State
    from pgflow_ref.model.calls import Call
    from pgflow_ref.operations.tasks import Claimed
    from pgflow_ref.task import Result, Task

T = TypeVar("T")

UNTRANSLATABLE_CHARACTER: Final = "22P05"
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Transaction:
    """Calls that take effect together.

    Each of them takes its time, so that `now()`, the same for all in PostgreSQL, goes on between.

    Attributes:
        state: the database as this transaction sees it.
        states: how each call left it, in order.
    """

    __slots__ = ("profile", "state", "states")

    def __init__(self, state: State, profile: Profile) -> None:
        self.state, self.profile = state, profile
        self.states: list[State] = []

    def call(self, call: Call) -> tuple[object, ...]:
        """Do one call; its rows.

        Raises:
            Refused: the database refuses it.
        """
        reply = apply(self.state, call, self.profile)
        if reply.refusal is not None:
            raise Refused(*reply.refusal)
        self.put(reply.state)
        return reply.rows

    def put(self, state: State) -> None:
        """Leave the database as `state`: a change that no call makes."""
        self.state = state
        self.states.append(state)


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What came of a transaction.

    Attributes:
        state: the database afterwards.
        states: the database after each call, in order; none where it was refused.
        value: what it gives back; None where it was refused.
        refusal: why it was refused, or None.
    """

    state: State
    states: tuple[State, ...]
    value: T | None
    refusal: Refusal | None = None


def transact(state: State, profile: Profile, work: Callable[[Transaction], T]) -> Done[T]:
    """Do this work in one transaction."""
    tx = Transaction(state, profile)
    try:
        value = work(tx)
    except Refused as refused:
        return Done(state._replace(clock=tx.state.clock), (), None, refused.refusal)
    return Done(tx.state, tuple(tx.states), value)


# The operations


def register_worker(tx: Transaction, worker_id: UUID, queue_name: str, name: str) -> None:
    """Insert the worker's row."""
    tx.call(calls.RegisterWorker(worker_id, queue_name, name))


def heartbeat(tx: Transaction, worker_id: UUID) -> None:
    """Give a sign of life."""
    tx.call(calls.Heartbeat(worker_id))


def mark_stopped(tx: Transaction, worker_id: UUID) -> None:
    """Mark the worker as stopped; a worker asks for it only where its row has a `stopped_at`."""
    if "workers_are_stopped" in tx.profile.behaviours:
        tx.call(calls.Heartbeat(worker_id))
        tx.call(calls.EndWorker(worker_id))


def read_messages(
    tx: Transaction, queue_name: str, visibility_timeout: int, quantity: int
) -> tuple[int, ...]:
    """Read visible messages and hide them; their ids."""
    rows = tx.call(calls.Read(queue_name, visibility_timeout, quantity))
    return tuple(row.msg_id for row in rows if isinstance(row, MessageRow))


def start_tasks(
    tx: Transaction, flow_slug: str, message_ids: Sequence[int], worker_id: UUID
) -> dict[Claimed, TaskInput]:
    """Claim the tasks of these messages; their inputs."""
    rows = tx.call(calls.StartTasks(flow_slug, tuple(message_ids), worker_id))
    # A map step's item that is not there has no input; as text that is what Python makes of None.
    return {
        (row.msg_id, row.run_id, row.step_slug): TaskInput(str(row.input), _beside(tx.state, row))
        for row in rows
        if isinstance(row, Record)
    }


def claimed_tasks(
    tx: Transaction, flow_slug: str, message_ids: Sequence[int], worker_id: UUID
) -> dict[Claimed, TaskKey]:
    """Which of these messages' tasks this worker has, and at which attempt."""
    return {
        (task.message_id, task.run_id, task.step_slug): TaskKey(
            task.run_id, task.step_slug, task.task_index, task.attempts_count
        )
        for run in tx.state.runs.values()
        if run.row.flow_slug == flow_slug
        for task in run.tasks.values()
        if task.status == "started"
        and task.message_id in message_ids
        and task.last_worker_id == worker_id
    }


def claim(
    tx: Transaction, flow_slug: str, message_ids: Sequence[int], worker_id: UUID
) -> tuple[Task, ...]:
    """Both of the above, as a worker does them: the tasks that are this worker's now."""
    inputs = start_tasks(tx, flow_slug, message_ids, worker_id)
    return operations.claim(flow_slug, inputs, claimed_tasks(tx, flow_slug, message_ids, worker_id))


def record(tx: Transaction, result: Result, worker_id: UUID) -> bool:
    """Complete or fail a task, if it is still this worker's; whether it was."""
    check_storable(result)
    if not holds(tx.state, result.task.key, worker_id):
        return False
    finish(tx, result)
    return True


def record_together(
    tx: Transaction, results: Iterable[Result], worker_id: UUID
) -> tuple[bool, ...]:
    """A batch, in the order in which a worker records it."""
    ordered = sorted(results, key=lambda result: result.task.key)
    return tuple([record(tx, result, worker_id) for result in ordered])


# Parts of them


def _beside(state: State, row: Record) -> str | None:
    """The run's input, of a task of a map step, which gets its element alone."""
    step = state.flows[row.flow_slug].steps[row.step_slug]
    return state.runs[row.run_id].row.input if step.step_type == "map" else None


def holds(state: State, key: TaskKey, worker_id: UUID) -> bool:
    """Whether this attempt is under way, and this worker's."""
    run = state.runs.get(key.run_id)
    task = run.tasks.get((key.step_slug, key.task_index)) if run is not None else None
    if task is None:
        return False
    held = (task.status, task.attempts_count, task.last_worker_id)
    return held == ("started", key.attempt, worker_id)


def finish(tx: Transaction, result: Result) -> None:
    """Complete or fail a task, whoever has it."""
    key, outcome = result.task.key, result.outcome
    named = (key.run_id, key.step_slug, key.task_index)
    if isinstance(outcome, Completed):
        tx.call(calls.CompleteTask(*named, outcome.output))
    else:
        tx.call(calls.FailTask(*named, outcome.message))


def check_storable(result: Result) -> None:
    """Cast an output to jsonb, which takes all JSON but for a character that it cannot store.

    Raises:
        Refused: it has that character.
    """
    outcome = result.outcome
    text = outcome.output if isinstance(outcome, Completed) else None
    if text is not None and "u0000" in text and _NUL.search(text):
        raise Refused(UNTRANSLATABLE_CHARACTER)
