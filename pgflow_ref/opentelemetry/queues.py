"""Gauges of queues: what they are asked of, and how often."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from opentelemetry.metrics import Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.metrics import CallbackOptions, Meter


class FlowHealth(Protocol):
    """What the bridge needs to know of a flow."""

    @property
    def flow_slug(self) -> str:
        """The flow."""

    @property
    def messages(self) -> int:
        """Messages in its queue."""

    @property
    def oldest_message(self) -> float | None:
        """Seconds since the oldest of them came, or None where there is none."""


class Health(Protocol):
    """What `PgFlow.health_check` answers, as far as the bridge needs it."""

    @property
    def flows(self) -> Sequence[FlowHealth]:
        """The flows in the database."""


def observe_queues(meter: Meter, health: Callable[[], Health]) -> None:
    """Make gauges of the depth of queues, and of the age of their oldest messages."""
    asked = _Asked(health)
    meter.create_observable_gauge(
        "pgflow.queue.depth",
        [asked.observing("depth", lambda flow: flow.messages)],
        "{message}",
        "Messages in the queues of flows",
    )
    meter.create_observable_gauge(
        "pgflow.queue.oldest",
        [asked.observing("oldest", lambda flow: flow.oldest_message)],
        "s",
        "The age of the oldest message in the queues of flows",
    )


class _Asked:
    """The health that one collection of metrics asks for once, though two gauges show it."""

    def __init__(self, health: Callable[[], Health]) -> None:
        self._health = health
        self._lock = threading.Lock()
        self._answer: Health | None = None
        self._shown_by: set[str] = set()

    def observing(
        self, gauge: str, value_of: Callable[[FlowHealth], float | None]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """The callback of a gauge."""

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            for flow in self._for(gauge).flows:
                value = value_of(flow)
                if value is not None:
                    yield Observation(value, {"pgflow.flow": flow.flow_slug})

        return observe

    def _for(self, gauge: str) -> Health:
        with self._lock:
            if self._answer is None or gauge in self._shown_by:
                self._answer, self._shown_by = self._health(), set()
            self._shown_by.add(gauge)
            return self._answer
