"""What a worker tells those who listen to it (`telemetry.py`); nothing, where nobody does."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pgflow_ref.json_contract import Json, decode
from pgflow_ref.task import Completed, Failed
from pgflow_ref.telemetry import Event, Listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from pgflow_ref.operations import RunEnd
    from pgflow_ref.task import Result, Task, TaskKey
    from pgflow_ref.telemetry import EventName, Listener


class Telling:
    """The events of one worker.

    A task's end is told when the database has accepted its result; how long its handler took is
    noted until then.

    Args:
        listeners: who is told.
        worker_id: whose events they are.
        worker_name: that worker's name.
        flow_slug: its flow.
        clock: says what time it is, in seconds since 1970.
        timer: says what time it is, in seconds on a clock that never goes back.

    Attributes:
        listeners: who is told.
    """

    def __init__(  # noqa: PLR0913  # two of them are for tests in memory
        self,
        listeners: Iterable[Listener],
        worker_id: UUID,
        worker_name: str,
        flow_slug: str,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._timer = timer
        self.listeners = Listeners(listeners)
        self._worker_id = worker_id
        self._worker_name = worker_name
        self._flow_slug = flow_slug
        self._began: dict[TaskKey, float] = {}
        self._took: dict[TaskKey, float] = {}

    def __bool__(self) -> bool:
        """Whether somebody listens."""
        return bool(self.listeners)

    def worker_started(self) -> None:
        """The worker is registered."""
        if self:
            self.listeners.tell(self._event("pgflow.worker.start"))

    def worker_stopped(self) -> None:
        """The worker is over."""
        if self:
            self.listeners.tell(self._event("pgflow.worker.stop"))

    def poll_started(self) -> float:
        """A read is sent; when, for `poll_stopped`."""
        if self:
            self.listeners.tell(self._event("pgflow.worker.poll.start"))
        return self._timer()

    def poll_stopped(self, began: float, count: int) -> None:
        """The read, and the claim of what it found, have brought so many tasks."""
        if self:
            took = self._timer() - began
            event = self._event("pgflow.worker.poll.stop")
            self.listeners.tell(replace(event, duration=took, count=count))

    def task_started(self, task: Task) -> None:
        """A handler is called."""
        if self:
            self._began[task.key] = self._timer()
            self.listeners.tell(self._event("pgflow.worker.task.start", task.key))

    def task_ended(self, task: Task) -> None:
        """A handler is over, or its time is."""
        if self and (began := self._began.pop(task.key, None)) is not None:
            self._took[task.key] = self._timer() - began

    def recorded(self, result: Result, refused: str | None = None) -> None:
        """The database has accepted a result.

        Args:
            result: the result.
            refused: why the core failed the task though its handler returned.
        """
        if not self:
            return
        task, outcome = result.task, result.outcome
        took = self._took.pop(task.key, None)
        if isinstance(outcome, Failed):
            kind, reason = outcome.kind, outcome.message
        elif refused is not None:
            kind, reason = "error", refused
        else:
            event = self._event("pgflow.worker.task.stop", task.key)
            self.listeners.tell(replace(event, duration=took, output=_value(outcome)))
            return
        event = self._event("pgflow.worker.task.exception", task.key)
        self.listeners.tell(replace(event, duration=took, kind=kind, reason=reason))

    def dropped(self, task: Task) -> None:
        """A result is not to be told: the task is no longer this worker's."""
        self._took.pop(task.key, None)

    def recovered(self, count: int) -> None:
        """Tasks were put back or failed."""
        if self:
            self.listeners.tell(replace(self._event("pgflow.worker.recovered"), count=count))

    def run_ended(self, end: RunEnd) -> None:
        """A run is over."""
        if end.status == "completed":
            output = None if end.output is None else decode(end.output)
            event = replace(self._event("pgflow.run.completed"), output=output)
        else:
            event = replace(self._event("pgflow.run.failed"), reason=end.reason)
        self.listeners.tell(replace(event, run_id=end.run_id))

    def _event(self, name: EventName, key: TaskKey | None = None) -> Event:
        """An event of this worker, now; of this attempt, where there is one."""
        return Event(
            name=name,
            at=self._clock(),
            worker_id=self._worker_id,
            worker_name=self._worker_name,
            flow_slug=self._flow_slug,
            run_id=None if key is None else key.run_id,
            step_slug=None if key is None else key.step_slug,
            task_index=None if key is None else key.task_index,
            attempt=None if key is None else key.attempt,
        )


def _value(outcome: Completed) -> Json:
    return None if outcome.output is None else decode(outcome.output)
