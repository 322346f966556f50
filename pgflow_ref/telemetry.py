"""Events: what a client or a worker tells those who watch it.

A listener is a plain callable that takes an `Event`. Nobody listens unless asked to, and a listener
that raises hurts nobody but itself: the error is logged once, and the worker goes on.

    def count(event: Event) -> None:
        if event.name == "pgflow.worker.task.stop":
            done.add(event.run_id)

    Worker(flow, url, listeners=[count])

Names are those of PgFlow for Elixir, with dots. `pgflow_ref.logs` has listeners that write to a
log, `pgflow_ref.opentelemetry` one that makes spans and metrics.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from pgflow_ref.json_contract import Json

log: Final = logging.getLogger("pgflow_ref.telemetry")

EventName: TypeAlias = Literal[
    "pgflow.worker.start",
    "pgflow.worker.stop",
    "pgflow.worker.poll.start",
    "pgflow.worker.poll.stop",
    "pgflow.worker.task.start",
    "pgflow.worker.task.stop",
    "pgflow.worker.task.exception",
    "pgflow.worker.recovered",
    "pgflow.run.started",
    "pgflow.run.completed",
    "pgflow.run.failed",
    "pgflow.flow.ensured",
    "pgflow.flow.deleted",
]
"""What can happen."""

EVENT_NAMES: Final[tuple[EventName, ...]] = get_args(EventName)
"""All names, in the order in which they are documented."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. What does not belong to an event is None.

    Attributes:
        name: what happened, one of `EVENT_NAMES`.
        at: when, in seconds since 1970 (`time.time`).
        duration: seconds that it took: of a poll, from asking to the tasks; of a task, from its
            handler's start to its end.
        worker_id: whose event it is.
        worker_name: that worker's name, by default its flow's slug.
        flow_slug: the flow.
        run_id: the run.
        step_slug: the step.
        task_index: which task of the step, from 0.
        attempt: which attempt it is, from 1.
        count: of `poll.stop`, how many tasks were claimed; of `recovered`, how many were put back
            or failed; of `flow.ensured`, how many steps were added.
        output: of `task.stop`, what the handler returned; of `run.completed`, the run's output.
        kind: of `task.exception`, `error`, `timeout`, or `stopped` where the worker's time to stop
            had passed.
        reason: of `task.exception` and `run.failed`, the text that was stored.

    Example:
        >>> event = Event(name="pgflow.worker.start", at=0.0, flow_slug="order")
        >>> event.metadata()
        {'flow_slug': 'order'}
    """

    name: EventName
    at: float
    duration: float | None = None
    worker_id: UUID | None = None
    worker_name: str | None = None
    flow_slug: str | None = None
    run_id: UUID | None = None
    step_slug: str | None = None
    task_index: int | None = None
    attempt: int | None = None
    count: int | None = None
    output: Json = None
    kind: str | None = None
    reason: str | None = None

    def metadata(self) -> dict[str, object]:
        """All that was given beside name and time, by name.

        Example:
            >>> Event(name="pgflow.worker.poll.stop", at=0.0, count=3).metadata()
            {'count': 3}
        """
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {
            key: value for key, value in pairs if key not in ("name", "at") and value is not None
        }


Listener: TypeAlias = "Callable[[Event], None]"
"""A plain callable that is told of events where they happen; it is to be quick."""


class Listeners:
    """Those who listen. False where nobody does, so that an event need not be made.

    Example:
        >>> heard = []
        >>> listeners = Listeners([heard.append])
        >>> if listeners:
        ...     listeners.tell(Event(name="pgflow.worker.stop", at=0.0))
        >>> len(heard)
        1
    """

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = tuple(listeners)
        self._complained: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def tell(self, event: Event) -> None:
        """Tell them all; what one of them raises is logged, the first time, and forgotten."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: PERF203  # one must not keep the next from hearing
                if id(listener) not in self._complained:
                    self._complained.add(id(listener))
                    log.exception(
                        "listener %r failed on %s; this is said once", listener, event.name
                    )
