"""The database of the machine's schedules: as much of pgflow's core as a worker sees."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from pgflow_ref.task import Completed, Failed, Outcome, Result, Task, TaskKey

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUTS: Final = {"first": 4.0, "second": 3.0, "alone": 8.0}
NEXT: Final = {"first": "second"}  # `second` waits for `first`
MAX_ATTEMPTS: Final = 3
GRACE: Final = 10.0  # after a task's timeout, until recovery takes it from its worker
LATE: Final = 0.05  # the most by which a wake-up comes late
LAG: Final = 0.02  # the most for which an event waits in the worker's queue
SLOW: Final = 2.0  # the most that a call takes, each way
FIRST_RETRY: Final = 0.1
LAST_RETRY: Final = 10.0
FALLBACK: Final = 20.0  # the longest wait of a worker that hears of inserts
THROTTLE: Final = 0.25  # between two notifications
SETTLED: Final = 0.1  # seconds that it may take until what was inserted is to be seen
LOOKS: Final = 0.1  # how often the server looks for one who waits there
FINE: Final = Completed('"fine"')
POISON: Final = Completed('"poison"')  # the database refuses it, but not the failure it becomes
CURSE: Final = Failed("curse")  # the database refuses it, and there is nothing that it becomes
REFUSAL: Final = "the database will not have it"
REFUSED: Final = Failed(f"Output cannot be stored: {REFUSAL}")


class Refused(Exception):
    """The database takes none of these results."""


# The database


@dataclass
class Entry:
    """A task and its message."""

    run_id: UUID
    step: str
    visible_at: float = 0.0
    status: str = "queued"
    attempts: int = 0
    worker: UUID | None = None
    started_at: float = 0.0

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.run_id, self.step, 0, self.attempts)

    @property
    def is_over(self) -> bool:
        return self.status in {"completed", "failed"}


class Database:
    """As much of pgflow's core as a worker sees."""

    def __init__(self, starts: Sequence[tuple[str, float]]) -> None:
        self.tasks = [Entry(UUID(int=n), step, at) for n, (step, at) in enumerate(starts)]
        self.taken: dict[TaskKey, Outcome] = {}  # the results that took effect
        self.recovered: set[TaskKey] = set()
        self.notified_at = -1.0

    def visible_in(self, now: float) -> float | None:
        """Seconds until a message becomes visible."""
        return min((t.visible_at - now for t in self.tasks if not t.is_over), default=None)

    def tells(self, now: float) -> bool:
        """Whether an insert now is told, or is too soon after the last one."""
        if now - self.notified_at < THROTTLE:
            return False
        self.notified_at = now
        return True

    def read(self, now: float, quantity: int, visibility_timeout: int) -> tuple[int, ...]:
        """`pgmq.read`."""
        visible = (n for n, t in enumerate(self.tasks) if not t.is_over and t.visible_at <= now)
        found = tuple(itertools.islice(visible, quantity))
        for number in found:
            self.tasks[number].visible_at = now + visibility_timeout
        return found

    def claim(self, now: float, worker: UUID, message_ids: tuple[int, ...]) -> tuple[Task, ...]:
        """`pgflow.start_tasks`, which leaves out what is no longer queued."""
        tasks = []
        for number in message_ids:
            entry = self.tasks[number]
            if entry.status == "queued":
                entry.status, entry.worker, entry.started_at = "started", worker, now
                entry.attempts += 1
                tasks.append(Task(entry.key, "f", number, "{}"))
        return tuple(tasks)

    def record(self, now: float, worker: UUID, results: tuple[Result, ...]) -> int:
        """`operations.record` for each result, in one transaction; how many inserts that makes."""
        before = len(self.tasks)
        if any(result.outcome in (POISON, CURSE) for result in results):
            raise Refused
        for result in results:
            entry = self.tasks[result.task.message_id]
            if (entry.status, entry.worker, entry.key) != ("started", worker, result.task.key):
                continue  # not this worker's to give
            assert entry.key not in self.taken, "an attempt has two results"
            self.taken[entry.key] = result.outcome
            if isinstance(result.outcome, Completed):
                entry.status = "completed"
                if entry.step in NEXT:
                    self.tasks.append(Entry(entry.run_id, NEXT[entry.step], now))
            elif entry.attempts < MAX_ATTEMPTS:
                entry.status, entry.visible_at = "queued", now + 2**entry.attempts
            else:
                entry.status = "failed"
        return len(self.tasks) - before

    def recover(self, now: float) -> int:
        """Take back tasks of which nobody speaks any more; how many."""
        before = len(self.recovered)
        for entry in self.tasks:
            stalled = now > entry.started_at + TIMEOUTS[entry.step] + GRACE
            if entry.status == "started" and stalled:
                self.recovered.add(entry.key)
                entry.status = "queued" if entry.attempts < MAX_ATTEMPTS else "failed"
                entry.visible_at = now
        return len(self.recovered) - before
