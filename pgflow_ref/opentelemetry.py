"""A listener that makes spans and metrics of events: the extra `pgflow-ref[opentelemetry]`.

    bridge = Bridge(health=pgflow.health_check)
    Worker(flow, url, listeners=[bridge])

It knows OpenTelemetry's API alone. What is measured and where it goes, the application's own SDK
says; without one, nothing is.

**One trace for each run.** Nobody carries a trace from worker to worker: the run's id is all that
they share, so the trace is derived from it, by a rule that fits in a sentence and holds in any
language. The trace's id is the run's id, its 32 hexadecimal digits without hyphens; the parent of
all its spans is the last 16 of these digits. That parent stands for the run itself; no process ever
sends it. In W3C's words, run 67e55044-10b1-426f-9247-bb680e5fe0c8 is

    traceparent: 00-67e5504410b1426f9247bb680e5fe0c8-9247bb680e5fe0c8-01

**Sampling** is decided by the run's id too (`sampled`), so that all processes keep the same runs,
whole. A `TraceIdRatioBased` sampler of the SDK's would not do: it compares the digits that are
constant in every UUID's id, and takes almost all runs or none. The SDK's default sampler heeds what
is decided here.

**Spans**

| span | kind | when | in which trace |
|---|---|---|---|
| `FLOW.STEP` | consumer | each attempt, from its start until its result is recorded | the run's |
| `FLOW run started` | producer | where a run is started | the caller's, linked to the run's |

An attempt that failed has the status error, with the reason. A span whose end is never heard of is
ended all the same: by the next attempt of its task, by its worker's stop, or when too many are
open; it then has `pgflow.task.lost`.

**Metrics**, all with `pgflow.flow`; those of tasks with `pgflow.step` as well

| metric | kind | unit | |
|---|---|---|---|
| `pgflow.tasks` | counter | {attempt} | by `pgflow.outcome`: completed, error, timeout, stopped |
| `pgflow.task.duration` | histogram | s | of handlers, by the same |
| `pgflow.runs` | counter | {run} | by `pgflow.outcome`: started, completed, failed |
| `pgflow.queue.depth` | gauge | {message} | messages in the flow's queue, with `health` |
| `pgflow.queue.oldest` | gauge | s | the age of the oldest of them, with `health` |
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias
from uuid import UUID

from opentelemetry import metrics, trace
from opentelemetry.metrics import Observation
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from pgflow_ref import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.context import Context as OtelContext
    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from pgflow_ref.flow import Context
    from pgflow_ref.telemetry import Event

Attributes: TypeAlias = "dict[str, str | int | float | bool]"

_LOW_56: Final = (1 << 56) - 1
_LOW_64: Final = (1 << 64) - 1
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


def span_context(run_id: UUID, *, ratio: float = 1.0) -> SpanContext:
    """The run as the parent of its spans: its trace, in every process and every language.

    Args:
        run_id: the run.
        ratio: the share of runs that are kept; see `sampled`.

    Raises:
        ValueError: the ratio is not between 0 and 1.

    Example:
        >>> context = span_context(UUID("67e55044-10b1-426f-9247-bb680e5fe0c8"))
        >>> f"{context.trace_id:032x}-{context.span_id:016x}"
        '67e5504410b1426f9247bb680e5fe0c8-9247bb680e5fe0c8'
    """
    flags = trace.TraceFlags.SAMPLED if sampled(run_id, ratio) else trace.TraceFlags.DEFAULT
    return SpanContext(
        # An id of zeros is none to OpenTelemetry; only a run id of somebody's making has them.
        trace_id=run_id.int or 1,
        span_id=run_id.int & _LOW_64 or 1,
        is_remote=True,
        trace_flags=trace.TraceFlags(flags),
    )


def sampled(run_id: UUID, ratio: float) -> bool:
    """Whether a run is among the share of runs that are kept: the same answer everywhere.

    The last 14 hexadecimal digits of the id are compared. They are random in ids of versions 4 and
    7, which is what pgflow makes.

    Args:
        run_id: the run.
        ratio: from 0, none, to 1, all.

    Raises:
        ValueError: the ratio is not between 0 and 1.

    Example:
        >>> run_id = UUID("67e55044-10b1-426f-9247-bb680e5fe0c8")
        >>> sampled(run_id, 0.2), sampled(run_id, 0.3)
        (False, True)
    """
    if not 0 <= ratio <= 1:  # so put, NaN is not
        raise ValueError(f"the share of runs that are kept is between 0 and 1, not {ratio}")
    return run_id.int & _LOW_56 < ratio * (_LOW_56 + 1)


def run_context(run_id: UUID, *, ratio: float = 1.0) -> OtelContext:
    """A context in which spans become part of the run's trace.

    Args:
        run_id: the run.
        ratio: the share of runs that are kept; see `sampled`.

    Example:
        with tracer.start_as_current_span("pack", context=run_context(ctx.run_id)):
            ...
    """
    parent = NonRecordingSpan(span_context(run_id, ratio=ratio))
    return trace.set_span_in_context(parent)


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
