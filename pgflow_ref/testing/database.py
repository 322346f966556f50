"""The model's database in parts, so that a call costs what it touches, and not what there is.

A `State` of the model never changes: to write a row is to copy its table. That is as it should be
for an oracle, and too slow for a test of a thousand runs, each of whose calls would copy them all.
So the tables of runs and messages are kept in dictionaries here, and a call gets a `State` with
those rows alone that it can touch; what comes of it is put back.
"""

from __future__ import annotations

import heapq
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from pgflow_ref.errors import PgflowError
from pgflow_ref.json_contract import decode
from pgflow_ref.model import State, apply, calls
from pgflow_ref.model.state import TICK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from pgflow_ref.model import Profile, Refusal
    from pgflow_ref.model.rows import Event, Flow, Instant, MessageRow, Record, Run, TaskRow

_GONE: Final = object()


class CoreRefused(PgflowError):
    """The core refused what no error of this library stands for.

    Attributes:
        refusal: its SQLSTATE, and its constraint's name, which is empty where it is none.

    Example:
        with pytest.raises(CoreRefused, match="22003"):  # a delay beyond what SQL can hold
            pgflow.drain()
    """

    def __init__(self, call: object, refusal: Refusal) -> None:
        constraint = f", constraint {refusal.constraint}" if refusal.constraint else ""
        super().__init__(f"the core refused {call}: SQLSTATE {refusal.sqlstate}{constraint}")
        self.refusal = refusal


class Due(NamedTuple):
    """A task that waits in its queue.

    Attributes:
        visible_at: a read finds its message from then on.
        task: its row.
    """

    visible_at: Instant
    task: TaskRow


class _Queue:
    """The messages of a queue, and heaps over them.

    A heap may hold a message that has changed since or is gone: that is noticed when it comes up.
    """

    def __init__(self) -> None:
        self.messages: dict[int, MessageRow] = {}
        self.archive: dict[int, MessageRow] = {}
        self.tasks: dict[int, tuple[UUID, tuple[str, int]]] = {}  # run and task of each message
        self.hidden: list[tuple[Instant, int]] = []
        self.visible: list[int] = []


class Database:
    """A database with a core of this profile, and nothing in it.

    Calls take no time: the clock moves by `advance` alone.

    Attributes:
        runs: the runs by id; not to be changed.
        events: the realtime events so far, oldest first.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._rest = State()  # all but runs and messages
        self._queues: dict[str, _Queue] = {}
        self._due: dict[str, list[tuple[Instant, int]]] = {}  # by flow: a heap of queued tasks
        self._undo: list[tuple[dict[Any, Any], Any, Any]] | None = None
        self._whole: State | None = None
        self.runs: dict[UUID, Run] = {}
        self.events: list[Event] = []

    @property
    def clock(self) -> Instant:
        """The time."""
        return self._rest.clock

    @property
    def flows(self) -> Mapping[str, Flow]:
        """The flows by slug."""
        return self._rest.flows

    @property
    def state(self) -> State:
        """All of it, as a value."""
        if self._whole is None:
            queues = {
                name: queue._replace(
                    messages=dict(self._queues[name].messages),
                    archive=dict(self._queues[name].archive),
                )
                for name, queue in self._rest.queues.items()
            }
            self._whole = self._rest._replace(runs=dict(self.runs), queues=queues)
        return self._whole

    def advance(self, duration: Instant) -> None:
        """Let time pass."""
        self._rest = self._rest._replace(clock=self._rest.clock + duration)
        self._whole = None

    def new_ids(self, count: int) -> list[UUID]:
        """Ids for runs to come, as the core would make them up."""
        ids = []
        for _ in range(count):
            ids.append(self._rest.next_run_id)
            self._rest = self._rest._replace(generated=self._rest.generated + 1)
        self._whole = None
        return ids

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Calls that take effect together, or, where one raises, not at all; none of them reads."""
        rest, events, outer = self._rest, len(self.events), self._undo
        undo: list[tuple[dict[Any, Any], Any, Any]] = []
        self._undo = undo
        try:
            yield
        except BaseException:
            for table, key, before in reversed(undo):
                if before is _GONE:
                    del table[key]
                else:
                    table[key] = before
            self._rest, self._whole = rest, None
            del self.events[events:]
            raise
        else:
            if outer is not None:
                outer.extend(undo)
        finally:
            self._undo = outer

    # Calls, each with what it can touch

    def define(self, call: calls.CreateFlow | calls.AddStep | calls.RegisterWorker) -> None:
        """Add a flow, a step, or a worker."""
        self._do(call)
        for name in self._rest.queues:
            self._queues.setdefault(name, _Queue())
        self._due = {slug: self._due.get(slug, []) for slug in self._rest.flows}

    def start_flow(self, slug: str, run_input: str, run_id: UUID | None) -> UUID:
        """Start a run; its id."""
        taken = self._rest.next_run_id if run_id is None else run_id
        self._do(calls.StartFlow(slug, run_input, run_id), [taken])
        return taken

    def read(self, slug: str, hide: int) -> list[int]:
        """Read the first visible message of a queue, and hide it for so many seconds; its id."""
        number = self._first_visible(self._queues[slug.lower()])
        if number is None:
            return []
        self._do(calls.Read(slug, hide, 1), queue=slug, numbers=[number])
        return [number]

    def start_task(self, slug: str, number: int, worker_id: UUID) -> tuple[Record, ...]:
        """Claim the task of this message, if it is one of this flow that can be claimed."""
        run_id, _ = self._queues[slug.lower()].tasks[number]
        call = calls.StartTasks(slug, (number,), worker_id)
        records: tuple[Record, ...] = self._do(call, [run_id], slug, [number])
        return records

    def finish(self, call: calls.CompleteTask | calls.FailTask) -> None:
        """Complete a task, or let its attempt fail."""
        assert call.run_id is not None
        run = self.runs[call.run_id]
        slug = run.row.flow_slug
        messages = self._queues[slug.lower()].messages
        numbers = [n for task in run.tasks.values() if (n := task.message_id) in messages]
        self._do(call, [call.run_id], slug, numbers)

    def hide(self, slug: str, number: int, seconds: int) -> None:
        """Hide a message from now on for so many seconds."""
        self._do(calls.SetVt(slug, number, seconds), queue=slug, numbers=[number])

    # What waits

    def queued(self, slug: str) -> list[Due]:
        """The queued tasks of a flow whose messages are in its queue, as they become visible."""
        queue = self._queues[slug.lower()]
        found = (self._queued(queue, slug, number) for number in queue.messages)
        return sorted((due for due in found if due is not None), key=_order)

    def first(self, slug: str) -> Due | None:
        """The first of `queued`."""
        queue, heap = self._queues[slug.lower()], self._due[slug]
        while heap:
            visible_from, number = heap[0]
            due = self._queued(queue, slug, number)
            if due is not None and queue.messages[number].vt == visible_from:
                return due
            heapq.heappop(heap)
        return None

    def _queued(self, queue: _Queue, slug: str, number: int) -> Due | None:
        if number not in queue.messages:
            return None
        run_id, key = queue.tasks[number]
        task = self.runs[run_id].tasks[key]
        if task.status != "queued" or task.flow_slug != slug:
            return None
        return Due(queue.messages[number].vt - TICK, task)  # a read looks a tick later

    def _first_visible(self, queue: _Queue) -> int | None:
        now = self.clock + TICK
        while queue.hidden and queue.hidden[0][0] <= now:
            heapq.heappush(queue.visible, heapq.heappop(queue.hidden)[1])
        while queue.visible:
            number = queue.visible[0]
            if number in queue.messages and queue.messages[number].vt <= now:
                return number
            heapq.heappop(queue.visible)
        return None

    # The parts, and the whole

    def _do(
        self,
        call: calls.Call,
        run_ids: Collection[UUID] = (),
        queue: str | None = None,
        numbers: Collection[int] = (),
    ) -> Any:
        """Do one call on these runs and these messages of a queue: its rows."""
        before = self._rest._replace(runs={i: self.runs[i] for i in run_ids if i in self.runs})
        if queue is not None:
            name = queue.lower()
            messages = {number: self._queues[name].messages[number] for number in numbers}
            row = self._rest.queues[name]._replace(messages=messages)
            before = before._replace(queues={**self._rest.queues, name: row})
        reply = apply(before, call, self._profile)
        if reply.refusal is not None:
            raise CoreRefused(call, reply.refusal)
        self._put_back(before, reply.state)
        self.events.extend(reply.events)
        return reply.rows

    def _put_back(self, before: State, after: State) -> None:
        for run_id, run in after.runs.items():
            self._put(self.runs, run_id, run)
        bare = {}
        for name, queue in after.queues.items():
            bare[name] = queue._replace(messages={}, archive={})
            old = before.queues.get(name)
            if old is not None and queue is not old:
                for number in old.messages.keys() - queue.messages.keys():
                    self._put(self._queues[name].messages, number, _GONE)
                for number, message in queue.messages.items():
                    if message is not old.messages.get(number):
                        self._put_message(self._queues[name], message)
                for number, message in queue.archive.items():
                    self._put(self._queues[name].archive, number, message)
        self._rest = after._replace(runs={}, queues=bare, clock=before.clock)
        self._whole = None

    def _put_message(self, queue: _Queue, row: MessageRow) -> None:
        number = row.msg_id
        if number not in queue.tasks:
            about: Any = decode(str(row.message))
            queue.tasks[number] = (UUID(about["run_id"]), (about["step_slug"], about["task_index"]))
        self._put(queue.messages, number, row)
        heapq.heappush(queue.hidden, (row.vt, number))
        run_id, _ = queue.tasks[number]
        heapq.heappush(self._due[self.runs[run_id].row.flow_slug], (row.vt, number))

    def _put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Write a row, or take it out, so that a transaction can undo it."""
        if self._undo is not None:
            self._undo.append((table, key, table.get(key, _GONE)))
        if value is _GONE:
            del table[key]
        else:
            table[key] = value


def _order(due: Due) -> tuple[Instant, int]:
    return due.visible_at, due.task.message_id
