"""The listener: spans that wait for their end, and metrics."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from opentelemetry import metrics, trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from pgflow_ref import __version__
from pgflow_ref.opentelemetry.queues import observe_queues
from pgflow_ref.opentelemetry.traces import run_context, sampled, span_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context as OtelContext
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from pgflow_ref.flow import Context
    from pgflow_ref.opentelemetry.queues import Health
    from pgflow_ref.telemetry import Event

Attributes: TypeAlias = "dict[str, str | int | float | bool]"

_NANOSECONDS: Final = 1_000_000_000
_NAMES: Final = {
    "flow_slug": "pgflow.flow",
    "step_slug": "pgflow.step",
    "run_id": "pgflow.run.id",
    "task_index": "pgflow.task.index",
    "attempt": "pgflow.task.attempt",
    "worker_id": "pgflow.worker.id",
    "worker_name": "pgflow.worker.name",
}


_Key: TypeAlias = "tuple[UUID | None, str | None, int | None]"
"""A task: its run, step and index."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A span whose end is not heard of yet."""

    span: Span
    worker_id: UUID | None
    attempt: int | None


class Bridge:
    """The listener. One may serve several workers and clients, from several threads.

    Args:
        tracer_provider: whose tracer makes the spans; None is the global one.
        meter_provider: whose meter makes the metrics; None is the global one.
        health: asked for the depth of queues whenever metrics are collected, in the thread that
            collects them; `PgFlow.health_check` fits. None: no such metrics.
        ratio: the share of runs whose spans are kept, 0 to 1; metrics count all. Give all processes
            the same.
        max_open: spans that may wait for their end; beyond that, the oldest is ended.

    Raises:
        ValueError: `ratio` or `max_open` is out of range.

    Example:
        >>> from pgflow_ref.telemetry import Event
        >>> bridge = Bridge()
        >>> bridge(Event(name="pgflow.run.completed", at=0.0, flow_slug="order"))
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        health: Callable[[], Health] | None = None,
        ratio: float = 1.0,
        max_open: int = 10_000,
    ) -> None:
        if max_open < 1:
            raise ValueError(f"max_open is at least 1, not {max_open}")
        sampled(UUID(int=0), ratio)
        self._ratio = ratio
        self._max_open = max_open
        self._lock = threading.Lock()
        self._open: OrderedDict[_Key, _Open] = OrderedDict()
        self._tracer = trace.get_tracer("pgflow_ref", __version__, tracer_provider)
        meter = metrics.get_meter("pgflow_ref", __version__, meter_provider)
        self._tasks = meter.create_counter(
            "pgflow.tasks", "{attempt}", "Attempts at tasks that are over, by outcome"
        )
        self._durations = meter.create_histogram(
            "pgflow.task.duration", "s", "How long handlers took"
        )
        self._runs = meter.create_counter(
            "pgflow.runs", "{run}", "Runs that were started, completed, failed"
        )
        if health is not None:
            observe_queues(meter, health)

    def __call__(self, event: Event) -> None:
        """Make of an event what there is to make."""
        match event.name:
            case "pgflow.worker.task.start":
                self._begin(event)
            case "pgflow.worker.task.stop" | "pgflow.worker.task.exception":
                self._end(event)
                self._measure(event)
            case "pgflow.worker.stop":
                self._worker_stopped(event)
            case "pgflow.run.started":
                self._run_started(event)
                self._count_run(event, "started")
            case "pgflow.run.completed":
                self._count_run(event, "completed")
            case "pgflow.run.failed":
                self._count_run(event, "failed")

    def context_of(self, ctx: Context) -> OtelContext:
        """A context in which a handler's spans hang below the span of its task.

        Where this process has no such span (a handler in a process of its own), they hang below
        the run.

        Args:
            ctx: what the handler was given.

        Example:
            @order.step()
            def pack(order, ctx):
                with tracer.start_as_current_span("weigh", context=bridge.context_of(ctx)):
                    ...
        """
        with self._lock:
            found = self._open.get((ctx.run_id, ctx.step_slug, ctx.task_index))
        if found is None or found.attempt != ctx.attempt:
            return run_context(ctx.run_id, ratio=self._ratio)
        return trace.set_span_in_context(found.span)

    # Spans

    def _begin(self, event: Event) -> None:
        fresh = _Open(self._span(event, event.at), event.worker_id, event.attempt)
        with self._lock:
            # Another attempt of the same task is over, whatever became of it.
            lost = self._open.pop(_key(event), None)
            self._open[_key(event)] = fresh
            if lost is None and len(self._open) > self._max_open:
                _, lost = self._open.popitem(last=False)
        if lost is not None:
            _lose(lost, event.at)

    def _end(self, event: Event) -> None:
        with self._lock:
            found = self._open.get(_key(event))
            if found is not None and found.attempt == event.attempt:
                del self._open[_key(event)]
            else:
                found = None
        # A listener that came late, or has lost it, has at least its end and duration.
        span = self._span(event, event.at - (event.duration or 0.0)) if not found else found.span
        if event.duration is not None:
            span.set_attribute("pgflow.task.duration", event.duration)
        if event.name == "pgflow.worker.task.exception":
            span.set_attribute("error.type", event.kind or "error")
            span.set_status(Status(StatusCode.ERROR, event.reason))
        span.end(_nanoseconds(event.at))

    def _worker_stopped(self, event: Event) -> None:
        with self._lock:
            lost = {key: one for key, one in self._open.items() if one.worker_id == event.worker_id}
            for key in lost:
                del self._open[key]
        for one in lost.values():
            _lose(one, event.at)

    def _span(self, event: Event, at: float) -> Span:
        return self._tracer.start_span(
            f"{event.flow_slug}.{event.step_slug}",
            None if event.run_id is None else run_context(event.run_id, ratio=self._ratio),
            SpanKind.CONSUMER,
            _attributes(event, *_NAMES),
            start_time=_nanoseconds(at),
        )

    def _run_started(self, event: Event) -> None:
        links = []
        if event.run_id is not None:
            links.append(Link(span_context(event.run_id, ratio=self._ratio)))
        span = self._tracer.start_span(
            f"{event.flow_slug} run started",
            kind=SpanKind.PRODUCER,
            attributes=_attributes(event, "flow_slug", "run_id"),
            links=links,
            start_time=_nanoseconds(event.at),
        )
        span.end(_nanoseconds(event.at))

    # Metrics

    def _measure(self, event: Event) -> None:
        attributes = _attributes(event, "flow_slug", "step_slug")
        failed = event.name == "pgflow.worker.task.exception"
        attributes["pgflow.outcome"] = (event.kind or "error") if failed else "completed"
        self._tasks.add(1, attributes)
        if event.duration is not None:
            self._durations.record(event.duration, attributes)

    def _count_run(self, event: Event, outcome: str) -> None:
        self._runs.add(1, {**_attributes(event, "flow_slug"), "pgflow.outcome": outcome})


def _key(event: Event) -> _Key:
    return (event.run_id, event.step_slug, event.task_index)


def _lose(one: _Open, at: float) -> None:
    one.span.set_attribute("pgflow.task.lost", True)
    one.span.end(_nanoseconds(at))


def _attributes(event: Event, *fields: str) -> Attributes:
    given = ((_NAMES[field], getattr(event, field)) for field in fields)
    return {
        name: str(value) if isinstance(value, UUID) else value
        for name, value in given
        if value is not None
    }


def _nanoseconds(at: float) -> int:
    return round(at * _NANOSECONDS)
