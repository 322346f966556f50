"""`InMemory` in the place of `PgFlow`, and what a test asserts of its queues."""

from __future__ import annotations

import asyncio
import inspect
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pgflow_ref import (
    Flow,
    FlowNotFound,
    InvalidDelay,
    InvalidFlow,
    InvalidSchedule,
    Job,
    NotJson,
    PgFlow,
    RunFailed,
    RunNotFound,
    RunTimeout,
    StepNotCompleted,
    StepNotFound,
    TaskFailed,
    profiles,
)
from pgflow_ref.client_calls import RunCalls
from pgflow_ref.testing import ANYTHING, InMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_ref import Context
    from pgflow_ref.telemetry import Event

CORES = profiles.known()
SECOND = timedelta(seconds=1)
LONGEST = 2**31 - 1


def echo(given: object, _ctx: object) -> object:
    return given


def mail(**options: Any) -> Job:
    job = Job("mail", **options)
    job.perform()(echo)
    return job


def two_roots() -> Flow:
    flow = Flow("two_roots")
    flow.step("now")(echo)
    flow.step("later", start_delay=5)(echo)
    flow.step("last", depends_on=["now", "later"])(echo)
    return flow


# As `PgFlow`


def test_its_methods_are_those_of_the_client() -> None:
    names = {name for name in vars(RunCalls) if not name.startswith("_")}
    assert names == {
        *("start_flow", "start_flow_sync", "start_flows", "enqueue", "enqueue_in", "enqueue_at"),
        *("get_run", "get_run_with_states", "get_step_output", "get_flow_input"),
    }
    for name in names - {"start_flow_sync"}:
        assert getattr(InMemory, name) is getattr(PgFlow, name)
    here, there = (inspect.signature(kind.start_flow_sync) for kind in (InMemory, PgFlow))
    assert here == there


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    ("enqueue", "wait"),
    [
        (lambda p: p.enqueue("mail", 7), 0),
        (lambda p: p.enqueue("mail", 7, delay=60), 60),
        (lambda p: p.enqueue("mail", 7, delay=timedelta(minutes=1)), 60),
        (lambda p: p.enqueue("mail", 7, scheduled_at=p.now + 90 * SECOND, delay=60), 90),
        (lambda p: p.enqueue_in("mail", 7, 0), 0),
        (lambda p: p.enqueue_in("mail", 7, 0.2), 1),
        (lambda p: p.enqueue_in("mail", 7, LONGEST), LONGEST),
        (lambda p: p.enqueue_at("mail", 7, p.now - SECOND), 0),
        (lambda p: p.enqueue_at("mail", 7, p.now + 20.5 * SECOND), 21),
        (
            lambda p: p.enqueue_at("mail", 7, datetime.fromisoformat("2026-01-01T02:01:00+02:00")),
            60,
        ),
    ],
)
def test_a_job_waits(core: str, enqueue: Callable[[InMemory], UUID], wait: int) -> None:
    pgflow = InMemory(mail(), core=core)
    run_id = enqueue(pgflow)
    [task] = pgflow.queued("mail")
    assert (task.run_id, task.flow_input) == (run_id, 7)
    assert task.visible_at == pgflow.now + wait * SECOND
    assert pgflow.get_run(run_id).status == "started"
    assert pgflow.drain() == (0 if wait else 1)
    pgflow.advance(wait)
    assert pgflow.drain() == (1 if wait else 0)
    assert pgflow.get_run(run_id).output == {"mail": 7}


def test_all_first_steps_of_a_flow_wait_and_each_its_own_delay_longer() -> None:
    pgflow = InMemory(flow := two_roots())
    pgflow.enqueue_in(flow, 7, 60)
    waits = [(task.step_slug, task.visible_at - pgflow.now) for task in pgflow.queued(flow)]
    assert waits == [("now", 60 * SECOND), ("later", 65 * SECOND)]
    assert pgflow.drain(until_idle=True) == 3


@pytest.mark.parametrize(
    ("enqueue", "error"),
    [
        (lambda p: p.enqueue_in("mail", 7, -1), InvalidDelay),
        (lambda p: p.enqueue_in("mail", 7, float("nan")), InvalidDelay),
        (lambda p: p.enqueue_in("mail", 7, "60"), InvalidDelay),
        (lambda p: p.enqueue_in("mail", 7, LONGEST + 1), InvalidDelay),
        (lambda p: p.enqueue_in("two_roots", 7, LONGEST), InvalidDelay),
        (lambda p: p.enqueue_at("mail", 7, datetime(2026, 1, 1)), InvalidSchedule),  # noqa: DTZ001
        (lambda p: p.enqueue_at("mail", 7, "2026-01-01"), InvalidSchedule),
        (
            lambda p: p.enqueue_at("mail", 7, datetime(9999, 1, 1, tzinfo=timezone.utc)),
            InvalidSchedule,
        ),
        (lambda p: p.enqueue("mail", {1}, delay=60), NotJson),
        (lambda p: p.enqueue_in("post", 7, 60), FlowNotFound),
        (lambda p: p.enqueue_at("post", 7, p.now + SECOND), FlowNotFound),
        (lambda p: p.start_flows("mail", [1, object()]), NotJson),
        (lambda p: p.start_flows("post", [1, 2]), FlowNotFound),
    ],
)
def test_what_is_refused_leaves_nothing(
    enqueue: Callable[[InMemory], object], error: type[Exception]
) -> None:
    pgflow = InMemory(mail(), two_roots())
    with pytest.raises(error):
        enqueue(pgflow)
    assert pgflow.state.runs == {}
    assert pgflow.events == []
    assert pgflow.queued("mail") == pgflow.queued("two_roots") == []


def test_many_runs_at_once() -> None:
    pgflow = InMemory(flow := mail())
    run_ids = pgflow.start_flows(flow, [1, None, {"to": "Ada"}])
    assert [pgflow.get_flow_input(run_id) for run_id in run_ids] == [1, None, {"to": "Ada"}]
    assert len({*run_ids, pgflow.start_flow(flow, 4)}) == 4  # ids are not made up twice
    assert pgflow.start_flows(flow, []) == []
    assert pgflow.drain() == 4


def test_a_run_that_is_waited_for() -> None:
    pgflow = InMemory(flow := two_roots())
    other = pgflow.start_flow(flow, 0)
    run = pgflow.start_flow_sync(flow, 7)
    assert (run.status, run.output) == ("completed", {"last": {"now": 7, "later": 7}})
    assert len(run.step_states) == 3
    assert pgflow.get_run(other).status == "completed"
    assert pgflow.now == datetime(2026, 1, 1, 0, 0, 5, tzinfo=timezone.utc)


def test_a_run_that_fails_while_it_is_waited_for() -> None:
    job = Job("mail", max_attempts=2, base_delay=1)

    @job.perform()
    def _(_given: object, ctx: Context) -> None:
        raise TaskFailed(f"no {ctx.attempt}")

    with pytest.raises(RunFailed, match="step 'mail': no 2") as caught:
        InMemory(job).start_flow_sync(job, None)
    assert caught.value.run.step_states[0].attempts == 2


def test_a_run_that_is_not_over_in_time_goes_on() -> None:
    pgflow = InMemory(flow := two_roots())
    begin = pgflow.now
    with pytest.raises(RunTimeout):
        pgflow.start_flow_sync(flow, 7, timeout=0)
    assert len(pgflow.queued(flow)) == 2
    with pytest.raises(RunTimeout):
        pgflow.start_flow_sync(flow, 7, timeout=3.25, poll_interval=2)
    assert pgflow.now == begin + 3.25 * SECOND
    assert [task.step_slug for task in pgflow.queued(flow)] == ["later", "later"]
    assert pgflow.drain(until_idle=True) == 4
    assert {run.row.status for run in pgflow.state.runs.values()} == {"completed"}


def test_a_handler_and_a_coroutine_cannot_wait_for_a_run() -> None:
    job = Job("mail", max_attempts=1)
    job.perform()(lambda given, _ctx: pgflow.start_flow_sync(job, given))
    pgflow = InMemory(job)
    with pytest.raises(RunFailed, match="a handler cannot drain the queue that it came from"):
        pgflow.start_flow_sync(job, 7)

    async def wait() -> None:
        pgflow.start_flow_sync(job, 7)

    with pytest.raises(RuntimeError, match=r"await drain_async\(\)"):
        asyncio.run(wait())
    assert len(pgflow.state.runs) == 1  # neither of them has begun something


def test_what_a_step_put_out() -> None:
    flow = Flow("flow", max_attempts=1)
    flow.map(slug="each")(echo)
    flow.step("nothing")(lambda _given, _ctx: None)
    flow.step("wrong", depends_on=["each"])(lambda given, _ctx: given / 2)
    flow.step("never", depends_on=["wrong"])(echo)
    pgflow = InMemory(flow)
    run_id = pgflow.start_flow(flow, [3, {"a": 1.5}])
    with pytest.raises(StepNotCompleted, match="is not completed, but started"):
        pgflow.get_step_output(run_id, "nothing")
    pgflow.drain()
    assert pgflow.get_step_output(run_id, flow.steps["each"]) == [3, {"a": 1.5}]
    assert pgflow.get_step_output(str(run_id), "nothing") is None
    for step, status in (("wrong", "failed"), ("never", "created")):
        with pytest.raises(StepNotCompleted) as caught:
            pgflow.get_step_output(run_id, step)
        assert caught.value.status == status
    with pytest.raises(StepNotFound):
        pgflow.get_step_output(run_id, "other")
    with pytest.raises(RunNotFound):
        pgflow.get_step_output(UUID(int=9), "each")


@pytest.mark.parametrize(
    "call",
    [
        lambda p, flow: p.start_flow(flow, 1),
        lambda p, flow: p.enqueue_in(flow, 1, 60),
        lambda p, flow: p.queued(flow),
        lambda p, flow: p.assert_enqueued(flow),
        lambda p, flow: p.refute_enqueued(flow),
    ],
)
def test_a_flow_that_was_not_given(call: Callable[[InMemory, Any], object]) -> None:
    for flow in ("post", Flow("post")):
        with pytest.raises(FlowNotFound) as caught:
            call(InMemory(mail(), two_roots()), flow)
        assert str(caught.value) == (
            "flow 'post' was not given to InMemory; given were: 'mail', 'two_roots'"
        )
        assert caught.value.flow == "post"
    with pytest.raises(FlowNotFound, match="given were: none"):
        call(InMemory(), "post")


@pytest.mark.parametrize("flow", [None, 7, ["mail"], b"mail"])
def test_what_is_no_flow(flow: Any) -> None:
    pgflow = InMemory(mail())
    for call in (pgflow.queued, pgflow.assert_enqueued, lambda f: pgflow.start_flow(f, 1)):
        with pytest.raises(InvalidFlow, match="a flow is given as a Flow or its slug"):
            call(flow)


# What is queued


def enqueued() -> InMemory:
    pgflow = InMemory(mail(), two_roots())
    pgflow.enqueue("mail", {"to": ["Ada"], "cc": None})
    pgflow.enqueue_in("mail", 1, 60)
    pgflow.start_flow("two_roots", True)  # an input
    return pgflow


@pytest.mark.parametrize(
    ("flow", "wanted"),
    [
        ("mail", {}),
        ("mail", {"input": ANYTHING}),
        ("mail", {"input": {"cc": None, "to": ("Ada",)}}),
        ("mail", {"input": 1}),
        ("mail", {"input": 1.0, "in_": 60}),
        ("mail", {"in_": 59.5}),
        ("mail", {"in_": timedelta(minutes=1), "step": "mail"}),
        ("mail", {"in_": 0}),
        ("mail", {"at": datetime(2026, 1, 1, 0, 1, tzinfo=timezone.utc)}),
        ("mail", {"at": datetime(2025, 1, 1, tzinfo=timezone.utc)}),
        ("mail", {"at": datetime.fromisoformat("2026-01-01T02:00:59.5+02:00"), "input": 1}),
        ("two_roots", {"step": "now", "input": True, "in_": 0}),
        ("two_roots", {"step": "later", "in_": 5}),
    ],
)
def test_what_is_enqueued(flow: str, wanted: Any) -> None:
    pgflow = enqueued()
    task = pgflow.assert_enqueued(flow, **wanted)
    assert task in pgflow.queued(flow)
    with pytest.raises(AssertionError, match=rf"^enqueued for flow '{flow}'"):
        pgflow.refute_enqueued(flow, **wanted)


@pytest.mark.parametrize(
    ("flow", "wanted"),
    [
        ("mail", {"input": None}),
        ("mail", {"input": True}),
        ("mail", {"input": {"to": ["Ada"]}}),
        ("mail", {"input": {"to": ["Ada", "Bob"], "cc": None}}),
        ("mail", {"input": {"to": {"Ada": 1}, "cc": None}}),
        ("mail", {"step": "other"}),
        ("mail", {"in_": 58.9}),
        ("mail", {"in_": 60.1}),
        ("mail", {"in_": 0, "input": 1}),
        ("mail", {"at": datetime(2026, 1, 1, 0, 1, 1, tzinfo=timezone.utc)}),
        ("two_roots", {"step": "last"}),
        ("two_roots", {"input": 1}),
    ],
)
def test_what_is_not_enqueued(flow: str, wanted: Any) -> None:
    pgflow = enqueued()
    pgflow.refute_enqueued(flow, **wanted)
    with pytest.raises(AssertionError, match=rf"^nothing is enqueued for flow '{flow}'"):
        pgflow.assert_enqueued(flow, **wanted)


def test_a_step_may_be_given_itself() -> None:
    flow = two_roots()
    pgflow = InMemory(flow)
    pgflow.start_flow(flow, 7)
    assert pgflow.assert_enqueued(flow, step=flow.steps["later"]).step_slug == "later"


def test_the_time_that_is_left_counts() -> None:
    pgflow = enqueued()
    pgflow.advance(45)
    pgflow.assert_enqueued("mail", input=1, in_=15)
    pgflow.assert_enqueued("mail", input=1, at=datetime(2026, 1, 1, 0, 1, tzinfo=timezone.utc))
    pgflow.advance(300)
    pgflow.assert_enqueued("mail", input=1, in_=0)


def test_a_message_that_says_what_is_queued_instead() -> None:
    pgflow = enqueued()
    with pytest.raises(AssertionError) as caught:
        pgflow.assert_enqueued("mail", input={"to": "Bob"}, step="mail", in_=30)
    assert str(caught.value) == (
        "nothing is enqueued for flow 'mail', step 'mail', visible in 30 s, "
        'input {"to": "Bob"}; queued are:\n'
        "  mail of run 5eed0000-0000-0000-0000-000000000001, attempt 1, visible now, "
        'input {"to": ["Ada"], "cc": null}\n'
        "  mail of run 5eed0000-0000-0000-0000-000000000002, attempt 1, visible in 60 s, input 1"
    )
    with pytest.raises(AssertionError, match=r"queued are:\n  nothing$"):
        InMemory(mail()).assert_enqueued("mail")


def test_a_message_stays_readable() -> None:
    flow = Flow("flow")
    flow.map(slug="each")(echo)
    pgflow = InMemory(flow)
    pgflow.start_flow(flow, ["x" * 1_000] * 30)
    with pytest.raises(AssertionError) as caught:
        pgflow.refute_enqueued(flow, input=["x" * 1_000] * 30)
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert max(map(len, lines)) < 400
    assert lines[2].startswith("  each[1] of run ")
    assert lines[-1] == "  and 10 more"


def test_what_cannot_be_asked_for() -> None:
    pgflow = enqueued()
    with pytest.raises(ValueError, match="either in_ or at says when, not both"):
        pgflow.assert_enqueued("mail", in_=5, at=pgflow.now)
    with pytest.raises(NotJson, match=r"\$\.when: object is not a JSON value"):
        pgflow.assert_enqueued("mail", input={"when": object()})
    with pytest.raises(InvalidSchedule):
        pgflow.assert_enqueued("mail", at=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidDelay):
        pgflow.refute_enqueued("mail", in_=-1)


# Listeners


def test_what_listeners_hear() -> None:
    heard: list[Event] = []
    flow = Flow("flow", max_attempts=2, base_delay=1)

    @flow.step()
    def work(_given: object, ctx: Context) -> int:
        pgflow.advance(0.5)
        if ctx.attempt == 1:
            raise TaskFailed("no")
        return 42

    pgflow = InMemory(flow, listeners=[heard.append])
    begin = pgflow.now.timestamp()
    run_id = pgflow.start_flow(flow, None)
    pgflow.drain(until_idle=True)
    [worker] = pgflow.state.workers
    task = {
        "worker_id": worker,
        "worker_name": "flow",
        "flow_slug": "flow",
        "run_id": run_id,
        "step_slug": "work",
        "task_index": 0,
    }
    begun = {"flow_slug": "flow", "run_id": run_id}
    over = {"worker_id": worker, "worker_name": "flow", **begun, "output": {"work": 42}}
    failure = {"duration": 0.5, "kind": "error", "reason": "no"}
    assert [(event.name, event.at - begin, event.metadata()) for event in heard] == [
        ("pgflow.run.started", 0, begun),
        ("pgflow.worker.task.start", 0, {**task, "attempt": 1}),
        ("pgflow.worker.task.exception", 0.5, {**task, **failure, "attempt": 1}),
        ("pgflow.worker.task.start", 2.5, {**task, "attempt": 2}),
        ("pgflow.worker.task.stop", 3, {**task, "attempt": 2, "duration": 0.5, "output": 42}),
        ("pgflow.run.completed", 3, over),
    ]


def test_listeners_hear_that_a_run_failed() -> None:
    heard: list[Event] = []
    flow = Flow("flow", max_attempts=1)
    flow.step("late", timeout=3)(lambda _given, _ctx: pgflow.advance(3))
    flow.step("null")(lambda _given, _ctx: None)
    pgflow = InMemory(flow, listeners=[heard.append], core="0.5.0")
    pgflow.start_flow(flow, None)
    pgflow.drain()
    said = [(event.name, event.kind, event.reason) for event in heard[1:]]
    late = "Task timed out after 3s"
    assert said == [
        ("pgflow.worker.task.start", None, None),
        ("pgflow.worker.task.exception", "timeout", late),
        ("pgflow.run.failed", None, late),
        ("pgflow.worker.task.start", None, None),
        ("pgflow.worker.task.stop", None, None),  # before 0.7 its queued siblings still run
    ]


def test_a_listener_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def listener(_event: Event) -> None:
        raise ZeroDivisionError

    flow = mail()
    pgflow = InMemory(flow, listeners=[listener])
    assert pgflow.start_flow_sync(flow, 7).output == {"mail": 7}
    assert "listener" in caplog.text


def test_public_methods_are_documented() -> None:
    for name, member in inspect.getmembers(InMemory):
        if not name.startswith("_"):
            assert inspect.getdoc(member), name
