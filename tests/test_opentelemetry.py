"""The bridge to OpenTelemetry, as the SDK's exporters in memory see it."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import pgflow_ref
from pgflow_ref.flow import Context
from pgflow_ref.opentelemetry import Bridge, run_context, sampled, span_context
from pgflow_ref.telemetry import EVENT_NAMES, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Database, Working

RUN = UUID("67e55044-10b1-426f-9247-bb680e5fe0c8")
WORKER = UUID("00000000-0000-4000-8000-000000000001")
SECOND = 1_000_000_000


class Sdk:
    """An SDK that keeps everything in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def bridge(self, **options: Any) -> Bridge:
        return Bridge(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def points(self, name: str) -> dict[tuple[object, ...], Any]:
        """Data points of a metric by the values of their attributes."""
        data = self.reader.get_metrics_data()
        found: dict[tuple[object, ...], Any] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points if metric.name == name else ():
                        key = tuple(value for _, value in sorted((point.attributes or {}).items()))
                        if isinstance(point, HistogramDataPoint):
                            found[key] = (point.count, point.sum)
                        else:
                            assert isinstance(point, NumberDataPoint)
                            found[key] = point.value
        return found


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    sdk = Sdk()
    yield sdk
    sdk.tracers.shutdown()
    sdk.meters.shutdown()


def task(what: str, at: float, **other: Any) -> Event:
    given: dict[str, Any] = {
        "worker_id": WORKER,
        "worker_name": "shop",
        "flow_slug": "order",
        "run_id": RUN,
        "step_slug": "charge",
        "task_index": 0,
        "attempt": 1,
    }
    return Event(name=f"pgflow.worker.task.{what}", at=at, **{**given, **other})  # type: ignore[arg-type]


def context(attempt: int = 1) -> Context:
    return Context(RUN, "order", "charge", 0, attempt, None, WORKER, threading.Event())


def parent_of(span: ReadableSpan) -> tuple[int, int]:
    assert span.parent is not None
    return span.parent.trace_id, span.parent.span_id


# Spans


def test_a_task_is_a_span_in_its_runs_trace(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    bridge(task("start", 100.0))
    assert sdk.spans() == []
    bridge(task("stop", 100.75, duration=0.5, output="secret"))
    (span,) = sdk.spans()
    assert (span.name, span.kind) == ("order.charge", SpanKind.CONSUMER)
    assert (span.start_time, span.end_time) == (100 * SECOND, 100 * SECOND + 750_000_000)
    assert span.status.status_code is StatusCode.UNSET
    assert span.context.trace_id == RUN.int
    assert parent_of(span) == (RUN.int, 0x9247BB680E5FE0C8)
    assert dict(span.attributes or {}) == {
        "pgflow.flow": "order",
        "pgflow.step": "charge",
        "pgflow.run.id": str(RUN),
        "pgflow.task.index": 0,
        "pgflow.task.attempt": 1,
        "pgflow.worker.id": str(WORKER),
        "pgflow.worker.name": "shop",
        "pgflow.task.duration": 0.5,
    }
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "pgflow_ref"


def test_a_failed_attempt_says_why(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    bridge(task("start", 1.0))
    bridge(task("exception", 2.0, duration=1.0, kind="timeout", reason="Task timed out after 1s"))
    (span,) = sdk.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "Task timed out after 1s"
    assert (span.attributes or {})["error.type"] == "timeout"


def test_tasks_of_a_run_share_a_trace_over_bridges() -> None:
    """As in two processes, which have nothing in common but the run's id."""
    seen = []
    for step in ("charge", "ship"):
        sdk = Sdk()
        bridge = sdk.bridge()
        bridge(task("start", 1.0, step_slug=step))
        bridge(task("stop", 2.0, step_slug=step))
        seen += [(span.context.trace_id, parent_of(span)) for span in sdk.spans()]
    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_the_trace_of_a_run_is_what_the_page_says() -> None:
    found = span_context(RUN)
    parent = f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
    assert parent == "00-67e5504410b1426f9247bb680e5fe0c8-9247bb680e5fe0c8-01"
    assert found.is_remote


@given(st.uuids(allow_nil=True) | st.just(UUID(int=1 << 64)))
def test_every_run_has_a_valid_trace(run_id: UUID) -> None:
    assert span_context(run_id).is_valid


def test_tasks_that_run_together_have_spans_of_their_own(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    for index in range(3):
        bridge(task("start", float(index), task_index=index))
    for index in (1, 0, 2):
        bridge(task("stop", 10.0 + index, task_index=index))
    times = [(span.start_time, span.end_time) for span in sdk.spans()]
    assert times == [(at * SECOND, (10 + at) * SECOND) for at in (1, 0, 2)]


def test_a_bridge_that_came_late_makes_the_span_all_the_same(sdk: Sdk) -> None:
    sdk.bridge()(task("stop", 10.0, duration=4.0))
    sdk.bridge()(task("exception", 10.0, kind="error", reason="no"))
    assert [(span.start_time, span.end_time) for span in sdk.spans()] == [
        (6 * SECOND, 10 * SECOND),
        (10 * SECOND, 10 * SECOND),
    ]


# Spans whose end is never heard of


def lost(span: ReadableSpan) -> bool:
    return bool((span.attributes or {}).get("pgflow.task.lost"))


def test_the_next_attempt_ends_a_lost_span(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    bridge(task("start", 1.0))
    bridge(task("start", 5.0, attempt=2))
    bridge(task("stop", 6.0, attempt=2))
    assert [(span.end_time, lost(span)) for span in sdk.spans()] == [
        (5 * SECOND, True),
        (6 * SECOND, False),
    ]


def test_an_old_attempt_does_not_end_the_new_ones_span(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    bridge(task("start", 5.0, attempt=2))
    bridge(task("exception", 6.0, attempt=1, duration=2.0, kind="error"))
    (span,) = sdk.spans()
    assert (span.attributes or {})["pgflow.task.attempt"] == 1
    bridge(task("stop", 7.0, attempt=2))
    assert sdk.spans()[1].start_time == 5 * SECOND


def test_a_worker_that_stops_ends_its_lost_spans_only(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    bridge(task("start", 1.0))
    bridge(task("start", 1.0, step_slug="ship", worker_id=uuid4()))
    bridge(Event(name="pgflow.worker.stop", at=9.0, worker_id=WORKER))
    (span,) = sdk.spans()
    assert (span.name, span.end_time, lost(span)) == ("order.charge", 9 * SECOND, True)
    bridge(task("stop", 10.0, step_slug="ship"))
    assert not lost(sdk.spans()[1])


def test_open_spans_are_bounded(sdk: Sdk) -> None:
    bridge = sdk.bridge(max_open=10)
    for index in range(1000):
        bridge(task("start", float(index), task_index=index))
        assert len(bridge._open) <= 10
    ended = sdk.spans()
    assert [(span.attributes or {})["pgflow.task.index"] for span in ended] == list(range(990))
    assert all(map(lost, ended))


def test_nothing_stays_of_tasks_that_end(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    for number in range(100):
        bridge(task("start", 1.0, attempt=number))
        bridge(task("stop" if number % 2 else "exception", 2.0, attempt=number))
    assert len(bridge._open) == 0
    assert not any(map(lost, sdk.spans()))


def test_threads_may_tell_at_the_same_time(sdk: Sdk) -> None:
    bridge = sdk.bridge()

    def work(step: str) -> None:
        for index in range(100):
            bridge(task("start", 1.0, step_slug=step, task_index=index))
            bridge(task("stop", 2.0, step_slug=step, task_index=index, duration=1.0))

    threads = [threading.Thread(target=work, args=[f"s{number}"]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sdk.spans()) == 400
    assert sum(sdk.points("pgflow.tasks").values()) == 400


# The handler's and the caller's own spans


def test_a_handlers_spans_hang_below_its_task(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    tracer = sdk.tracers.get_tracer("shop")
    bridge(task("start", 1.0))
    tracer.start_span("weigh", context=bridge.context_of(context())).end()
    bridge(task("stop", 2.0))
    tracer.start_span("late", context=bridge.context_of(context())).end()
    tracer.start_span("elsewhere", context=run_context(RUN)).end()
    weigh, charge, late, elsewhere = sdk.spans()
    assert parent_of(weigh) == (RUN.int, charge.context.span_id)
    assert parent_of(late) == parent_of(elsewhere) == parent_of(charge)


def test_another_attempts_span_is_no_parent(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    bridge(task("start", 1.0, attempt=2))
    sdk.tracers.get_tracer("shop").start_span("x", context=bridge.context_of(context(1))).end()
    assert parent_of(sdk.spans()[0]) == (RUN.int, span_context(RUN).span_id)


def test_a_run_is_started_in_the_callers_trace_and_linked(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    with sdk.tracers.get_tracer("shop").start_as_current_span("POST /orders") as request:
        bridge(Event(name="pgflow.run.started", at=3.0, flow_slug="order", run_id=RUN))
    span = sdk.spans()[0]
    assert (span.name, span.kind) == ("order run started", SpanKind.PRODUCER)
    assert parent_of(span) == (
        request.get_span_context().trace_id,
        request.get_span_context().span_id,
    )
    assert [link.context.trace_id for link in span.links] == [RUN.int]
    assert span.start_time == span.end_time == 3 * SECOND


# Sampling


def test_runs_that_are_not_kept_have_no_spans_and_count(sdk: Sdk) -> None:
    bridge = sdk.bridge(ratio=0.0)
    bridge(task("start", 1.0))
    bridge(task("stop", 2.0, duration=1.0))
    assert sdk.spans() == []
    assert sdk.points("pgflow.tasks") == {("order", "completed", "charge"): 1}


@given(st.uuids(version=4))
def test_more_is_kept_with_a_larger_share(run_id: UUID) -> None:
    kept = [sampled(run_id, ratio) for ratio in (0.0, 0.01, 0.3, 0.7, 1.0)]
    assert kept == sorted(kept)
    assert (kept[0], kept[-1]) == (False, True)


def test_a_share_of_ids_is_kept() -> None:
    """Which the digits that are constant in every UUID would not do."""
    ids = [UUID(int=number, version=4) for number in range(0, 1 << 56, (1 << 56) // 1000)]
    assert sum(sampled(run_id, 0.25) for run_id in ids) == 251


@pytest.mark.parametrize(
    ("options", "said"),
    [({"ratio": 1.5}, "not 1.5"), ({"ratio": float("nan")}, "nan"), ({"max_open": 0}, "not 0")],
)
def test_wrong_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Bridge(**options)


# Metrics


def test_tasks_are_counted_by_outcome_and_measured(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    for kind in ("error", "error", "timeout", "stopped"):
        bridge(task("exception", 1.0, duration=0.5, kind=kind))
    bridge(task("stop", 1.0, duration=0.25))
    bridge(task("stop", 1.0, step_slug="ship"))
    assert sdk.points("pgflow.tasks") == {
        ("order", "completed", "charge"): 1,
        ("order", "completed", "ship"): 1,
        ("order", "error", "charge"): 2,
        ("order", "timeout", "charge"): 1,
        ("order", "stopped", "charge"): 1,
    }
    assert sdk.points("pgflow.task.duration") == {
        ("order", "completed", "charge"): (1, 0.25),
        ("order", "error", "charge"): (2, 1.0),
        ("order", "timeout", "charge"): (1, 0.5),
        ("order", "stopped", "charge"): (1, 0.5),
    }


def test_runs_are_counted_by_outcome(sdk: Sdk) -> None:
    bridge = sdk.bridge()
    for name in ("started", "started", "completed", "failed"):
        bridge(Event(name=f"pgflow.run.{name}", at=1.0, flow_slug="order", run_id=RUN))  # type: ignore[arg-type]
    assert sdk.points("pgflow.runs") == {
        ("order", "started"): 2,
        ("order", "completed"): 1,
        ("order", "failed"): 1,
    }


@dataclass(frozen=True)
class Flow:
    flow_slug: str
    messages: int
    oldest_message: float | None


@dataclass(frozen=True)
class Answer:
    flows: tuple[Flow, ...]


def test_the_depth_of_queues_is_asked_for_when_it_is_collected(sdk: Sdk) -> None:
    answers = [
        Answer((Flow("order", 3, 1.5), Flow("empty", 0, None))),
        Answer(()),
    ]
    asked = iter(answers)
    sdk.bridge(health=lambda: next(asked))
    found = collected(sdk)
    assert found["pgflow.queue.depth"] == {"order": 3, "empty": 0}
    assert found["pgflow.queue.oldest"] == {"order": 1.5}
    assert collected(sdk) == {}
    assert next(asked, "once each time") == "once each time"


def collected(sdk: Sdk) -> dict[str, dict[object, float]]:
    """All gauges of one collection, by flow."""
    data = sdk.reader.get_metrics_data()
    found: dict[str, dict[object, float]] = {}
    for resource in data.resource_metrics if data else ():
        for metric in resource.scope_metrics[0].metrics:
            if not metric.name.startswith("pgflow.queue."):
                continue
            for point in metric.data.data_points:
                assert isinstance(point, NumberDataPoint)
                flow = (point.attributes or {})["pgflow.flow"]
                found.setdefault(metric.name, {})[flow] = point.value
    return found


# With a worker and a client


def test_what_a_worker_and_a_client_tell(
    sdk: Sdk, database: Database, work: Callable[..., Working]
) -> None:
    flow = pgflow_ref.Flow("watched", max_attempts=2, base_delay=1)

    @flow.step()
    def fail_once(_given: object, ctx: Context) -> str:
        if ctx.attempt == 1:
            raise pgflow_ref.TaskFailed("not yet")
        return "done"

    @flow.step(depends_on=[fail_once])
    async def after(deps: dict[str, str], _ctx: Context) -> str:
        return deps["fail_once"]

    bridge = sdk.bridge(health=pgflow_ref.PgFlow(database.connection).health_check)
    with pgflow_ref.PgFlow(database.url, listeners=[bridge]) as pgflow:
        run_id = pgflow.start_flow(database.add(flow), None)
    found = collected(sdk)
    assert found["pgflow.queue.depth"] == {"watched": 1}
    assert set(found["pgflow.queue.oldest"]) == {"watched"}
    working = work(flow, listeners=[bridge])
    assert database.finish(run_id).status == "completed"
    working.stop()
    started, *tasks = sdk.spans()
    assert (started.name, [link.context.trace_id for link in started.links]) == (
        "watched run started",
        [run_id.int],
    )
    assert [(span.name, span.status.description) for span in tasks] == [
        ("watched.fail_once", "not yet"),
        ("watched.fail_once", None),
        ("watched.after", None),
    ]
    assert {span.context.trace_id for span in tasks} == {run_id.int}
    assert not any(map(lost, tasks))
    assert sdk.points("pgflow.tasks") == {
        ("watched", "error", "fail_once"): 1,
        ("watched", "completed", "fail_once"): 1,
        ("watched", "completed", "after"): 1,
    }
    assert sdk.points("pgflow.runs") == {("watched", "started"): 1, ("watched", "completed"): 1}


# Without an SDK


def test_every_event_is_taken_as_it_comes() -> None:
    bridge = Bridge()
    for name in EVENT_NAMES:
        bridge(Event(name=name, at=0.0))


def test_it_works_without_an_sdk() -> None:
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry.sdk"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from uuid import UUID
from pgflow_ref.opentelemetry import Bridge
from pgflow_ref.telemetry import Event
bridge = Bridge()
for name in ("start", "stop"):
    bridge(Event(name="pgflow.worker.task." + name, at=1.0, duration=1.0, run_id=UUID(int=5)))
print(len(bridge._open), any(name.startswith("opentelemetry.sdk") for name in sys.modules))
"""
    words = [sys.executable, "-c", program]
    result = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("0 False\n", "")
