"""Flows in memory; one test compares with a worker on a real database."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pgflow_ref import (
    CoreUnsupported,
    Flow,
    FlowNotFound,
    InvalidFlow,
    Job,
    NotJson,
    RunExists,
    RunNotFound,
    TaskFailed,
    profiles,
)
from pgflow_ref.model import Refusal
from pgflow_ref.testing import CoreRefused, InMemory, NeverIdle, QueuedTask

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from pgflow_ref import Context, Run
    from tests.conftest import Database, Working

CORES = profiles.known()
SECOND = timedelta(seconds=1)
INSTANT = timedelta(microseconds=1)


def job(handler: Callable[..., object], slug: str = "flow", **options: Any) -> Flow:
    """A flow of one step, `work`."""
    flow = Flow(slug, **options)
    flow.step("work")(handler)
    return flow


def echo(given: object, _ctx: object) -> object:
    return given


def broken(_given: object, ctx: Context) -> object:
    raise TaskFailed(f"no {ctx.attempt}")


def failing(times: int) -> Callable[..., object]:
    """A handler that fails so many times, and then says the attempt."""

    def work(_given: object, ctx: Context) -> int:
        if ctx.attempt <= times:
            raise TaskFailed(f"no {ctx.attempt}")
        return ctx.attempt

    return work


def diamond(slug: str = "diamond") -> Flow:
    """One step before two before one, which says all that it sees; the left one fails once."""
    flow = Flow(slug, base_delay=1)

    @flow.step()
    def first(given: Any, _ctx: object) -> object:
        return {"twice": 2 * given["number"]}

    @flow.step(depends_on=[first])
    def left(deps: Any, ctx: Context) -> object:
        if ctx.attempt == 1:
            raise ConnectionError("no answer")
        return [deps["first"]["twice"], ctx.flow_input]

    @flow.step(depends_on=[first])
    async def right(_deps: object, _ctx: object) -> None:
        await asyncio.sleep(0)

    @flow.step(depends_on=[left, right])
    def last(deps: object, ctx: Context) -> object:
        return {"seen": deps, "attempt": ctx.attempt}

    return flow


def chain_that_fails(slug: str = "chain") -> Flow:
    flow = Flow(slug, max_attempts=2, base_delay=1)
    first = flow.step("first")(echo)
    second = flow.step("second", depends_on=[first])(broken)
    flow.step("third", depends_on=[second])(echo)
    return flow


def run_once(flow: Flow, run_input: object = None, core: str | None = None) -> Run:
    """A run of the flow, with all its retries."""
    pgflow = InMemory(flow, core=core)
    run_id = pgflow.start_flow(flow, run_input)
    pgflow.drain(until_idle=True)
    assert pgflow.queued(flow) == []
    return pgflow.get_run_with_states(run_id)


def without_times(run: Run) -> object:
    states = [
        (s.step_slug, s.status, s.remaining_deps, s.attempts, s.error_message)
        for s in run.step_states
    ]
    return run.flow_slug, run.status, run.input, run.output, run.remaining_steps, states


# What runs do


@pytest.mark.parametrize("core", CORES)
def test_a_diamond(core: str) -> None:
    run = run_once(diamond(), {"number": 4}, core)
    seen = {"left": [8, {"number": 4}], "right": None}
    assert without_times(run) == (
        "diamond",
        "completed",
        {"number": 4},
        {"last": {"seen": seen, "attempt": 1}},
        0,
        [
            ("first", "completed", 0, 1, None),
            ("left", "completed", 0, 2, "ConnectionError: no answer"),
            ("right", "completed", 0, 1, None),
            ("last", "completed", 0, 1, None),
        ],
    )


@pytest.mark.parametrize("core", CORES)
def test_a_run_fails_with_its_step(core: str, caplog: pytest.LogCaptureFixture) -> None:
    run = run_once(chain_that_fails(), "x", core)
    assert without_times(run) == (
        "chain",
        "failed",
        "x",
        None,
        2,
        [
            ("first", "completed", 0, 1, None),
            ("second", "failed", 0, 2, "no 2"),
            ("third", "created", 1, 0, None),
        ],
    )
    said = [f"chain.second of run {run.run_id}, attempt {n} failed: no {n}" for n in (1, 2)]
    assert caplog.messages == said


def test_the_same_on_a_real_database(database: Database, work: Callable[..., Working]) -> None:
    """COMPARISON WITH THE REAL THING: `PgFlow` and `Worker` on PostgreSQL, core 0.5.0."""
    value = {"number": 4, "text": "ä", "list": [False, 0, "", None, 2.5]}
    for flow in (diamond(), chain_that_fails()):
        work(database.add(flow))
        real = database.finish(database.start(flow, value))
        assert without_times(run_once(flow, value, "0.5.0")) == without_times(real)


def test_get_run_is_without_steps() -> None:
    flow = diamond()
    pgflow = InMemory(flow)
    run_id = pgflow.start_flow("diamond", {"number": 1})
    run = pgflow.get_run(str(run_id))
    assert (run.status, run.remaining_steps, run.step_states) == ("started", 4, ())
    assert not run.is_over
    assert run == pgflow.get_run(run_id)
    states = pgflow.get_run_with_states(str(run_id)).step_states
    assert [state.status for state in states] == ["started", "created", "created", "created"]


def test_a_job() -> None:
    send_email = Job("send_email")
    send_email.perform()(lambda email, _ctx: {"sent": email})
    assert run_once(send_email, "ada").output == {"send_email": {"sent": "ada"}}


def test_steps_are_compiled_in_order() -> None:
    flow = Flow("flow")
    b = flow.step("b")(echo)
    flow.step("a", depends_on=[b], max_attempts=7, timeout=9, base_delay=8)(echo)
    steps = InMemory(flow).state.flows["flow"].steps
    assert [(row.step_slug, row.step_index) for row in steps.values()] == [("b", 0), ("a", 1)]
    row = steps["a"]
    assert (row.opt_max_attempts, row.opt_base_delay, row.opt_timeout) == (7, 8, 9)


def test_the_context_says_the_truth() -> None:
    seen: list[Context] = []

    def work(_given: object, ctx: Context) -> None:
        seen.append(ctx)
        if ctx.attempt == 1:
            raise TaskFailed("no")

    pgflow = InMemory(flow := job(work))
    run_id = pgflow.start_flow(flow, {"id": 7})
    pgflow.drain(until_idle=True)
    first, second = seen
    assert (first.attempt, second.attempt) == (1, 2)
    assert (second.run_id, second.flow_slug, second.step_slug) == (run_id, "flow", "work")
    assert (second.task_index, second.flow_input) == (0, {"id": 7})
    assert not second.stopping.is_set()
    [worker] = pgflow.state.workers.values()
    assert (worker.worker_id, worker.queue_name) == (second.worker_id, "flow")


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, 3.25, 2**70, [None], "ä\u2028"])
def test_a_value_passes_through(value: object) -> None:
    flow = Flow("flow")
    first = flow.step("first")(echo)
    flow.step("second", depends_on=[first])(lambda deps, ctx: [deps["first"], ctx.flow_input])
    output = run_once(flow, value).output
    assert repr(output) == repr({"second": [value, value]})


def test_an_output_that_is_not_json_fails_its_task() -> None:
    flow = job(lambda _given, _ctx: {"when": object()}, max_attempts=1)
    [state] = run_once(flow).step_states
    assert state.error_message == "Output cannot be stored: $.when: object is not a JSON value"


def test_async_handlers_share_an_event_loop() -> None:
    loops = []

    async def work(_given: object, _ctx: object) -> None:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())

    pgflow = InMemory(flow := job(work))
    for _ in range(2):
        pgflow.start_flow(flow, None)
    assert pgflow.drain() == 2
    assert loops[0] is loops[1]


def test_a_plain_handler_may_have_an_event_loop_of_its_own() -> None:
    async def answer() -> int:
        return 42

    flow = job(lambda _given, _ctx: asyncio.run(answer()))
    assert run_once(flow).output == {"work": 42}


# Time


def test_time_stands_still() -> None:
    pgflow = InMemory(flow := diamond())
    begin = pgflow.now
    assert begin == datetime(2026, 1, 1, tzinfo=timezone.utc)
    run_id = pgflow.start_flow(flow, {"number": 1})
    assert pgflow.drain() == 3
    assert pgflow.now == begin
    pgflow.advance(0)
    pgflow.advance(seconds=0.25)
    pgflow.advance(timedelta(minutes=1))
    assert pgflow.now == begin + timedelta(seconds=60.25)
    pgflow.drain()
    run = pgflow.get_run(run_id)
    assert (run.started_at, run.completed_at) == (begin, pgflow.now)


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        (-0.1, ValueError),
        (timedelta(-1), ValueError),
        (float("nan"), ValueError),
        (float("inf"), OverflowError),
        (timedelta(days=366 * 9000), OverflowError),
    ],
)
def test_time_does_not_go_everywhere(seconds: float, error: type[Exception]) -> None:
    pgflow = InMemory(job(echo))
    before = pgflow.state
    with pytest.raises(error):
        pgflow.advance(seconds)
    assert pgflow.state is before


@pytest.mark.parametrize("core", CORES)
def test_a_retry_is_visible_when_its_delay_is_over(core: str) -> None:
    pgflow = InMemory(flow := job(failing(3), max_attempts=4, base_delay=3), core=core)
    run_id = pgflow.start_flow(flow, None)
    for attempt in (1, 2, 3):
        assert pgflow.drain() == 1
        [task] = pgflow.queued(flow)
        assert task.visible_at == pgflow.now + 3 * 2**attempt * SECOND
        assert task == QueuedTask("flow", run_id, "work", 0, attempt + 1, 1, task.visible_at, None)
        pgflow.advance(task.visible_at - pgflow.now - INSTANT)
        assert pgflow.drain() == 0
        pgflow.advance(INSTANT)
    assert pgflow.drain() == 1
    assert pgflow.queued(flow) == []
    assert pgflow.get_run(run_id).output == {"work": 4}


def test_until_idle_passes_just_the_time_of_the_delays() -> None:
    pgflow = InMemory(flow := job(failing(2), base_delay=5))
    pgflow.start_flow(flow, None)
    begin = pgflow.now
    assert pgflow.drain(until_idle=True) == 3
    assert pgflow.now == begin + (10 + 20) * SECOND
    assert pgflow.drain(until_idle=True) == 0
    assert pgflow.now == begin + (10 + 20) * SECOND


@pytest.mark.parametrize("core", CORES)
def test_a_step_may_start_late(core: str) -> None:
    flow = Flow("flow")
    first = flow.step("first")(echo)
    flow.step("second", depends_on=[first], start_delay=90)(echo)
    if core == "0.5.0":
        message = r"step 'second': start_delay needs core 0\.5\.3 or newer, and this one is 0\.5\.0"
        with pytest.raises(CoreUnsupported, match=message):
            InMemory(flow, core=core)
        return
    pgflow = InMemory(flow, core=core)
    run_id = pgflow.start_flow(flow, None)
    assert pgflow.drain() == 1
    [task] = pgflow.queued(flow)
    assert (task.step_slug, task.visible_at) == ("second", pgflow.now + 90 * SECOND)
    pgflow.advance(90 * SECOND - INSTANT)
    assert pgflow.drain() == 0
    pgflow.advance(INSTANT)
    assert pgflow.drain() == 1
    assert pgflow.get_run(run_id).status == "completed"


@pytest.mark.parametrize(
    ("seconds", "error"), [(4, "Task timed out after 4s"), (4 * SECOND - INSTANT, None)]
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_that_moves_the_clock_may_be_late(
    seconds: float, error: str | None, is_async: bool
) -> None:
    def plain(_given: object, _ctx: object) -> None:
        pgflow.advance(seconds)

    async def coroutine(_given: object, _ctx: object) -> None:
        pgflow.advance(seconds)

    flow = Flow("flow", timeout=3, max_attempts=1)
    flow.step("work", timeout=4)(coroutine if is_async else plain)
    pgflow = InMemory(flow)
    run_id = pgflow.start_flow(flow, None)
    pgflow.drain()
    [state] = pgflow.get_run_with_states(run_id).step_states
    assert state.error_message == error


# What there is to drain


def test_what_is_not_drained_waits() -> None:
    pgflow = InMemory(flow := diamond())
    runs = [pgflow.start_flow(flow, {"number": n}) for n in (1, 2)]
    assert [task.run_id for task in pgflow.queued("diamond")] == runs
    assert {task.attempt for task in pgflow.queued(flow)} == {1}
    assert {task.visible_at for task in pgflow.queued(flow)} == {pgflow.now}


def test_several_flows_start_each_other() -> None:
    seen: list[object] = []

    def order(given: Any, _ctx: object) -> str:
        return str(pgflow.start_flow("invoice", given))

    def invoice(given: object, _ctx: object) -> None:
        seen.append(given)

    flows = [job(order, "order"), job(invoice, "invoice")]
    pgflow = InMemory(*flows)
    run_id = pgflow.start_flow("order", 7)
    assert [len(pgflow.queued(flow)) for flow in flows] == [1, 0]
    assert pgflow.drain() == 2
    assert seen == [7]
    output = pgflow.get_run(run_id).output
    assert isinstance(output, dict)
    assert pgflow.get_run(str(output["work"])).status == "completed"
    assert len({worker.worker_id for worker in pgflow.state.workers.values()}) == 2


def test_flows_whose_slugs_differ_by_case_share_a_queue() -> None:
    flows = [job(echo, "order"), job(echo, "Order")]
    pgflow = InMemory(*flows)
    second, first = (pgflow.start_flow(flow, flow.slug) for flow in reversed(flows))
    assert pgflow.drain() == 1  # the first worker has read, and so hidden, the other's message
    assert pgflow.get_run(first).output == {"work": "order"}
    assert pgflow.drain(until_idle=True) == 1
    assert pgflow.get_run(second).output == {"work": "Order"}


def test_a_drain_has_an_end() -> None:
    def again(_given: object, _ctx: object) -> None:
        pgflow.start_flow("flow", None)

    pgflow = InMemory(flow := job(again))
    pgflow.start_flow(flow, None)
    with pytest.raises(NeverIdle, match=r"^after 5 tasks there is still QueuedTask\("):
        pgflow.drain(limit=5)
    assert len(pgflow.state.runs) == 6
    assert len(pgflow.queued(flow)) == 1
    with pytest.raises(NeverIdle):
        pgflow.drain(until_idle=True, limit=5)
    assert len(pgflow.state.runs) == 11


def test_as_many_tasks_as_the_limit_are_fine() -> None:
    pgflow = InMemory(flow := job(echo))
    for _ in range(3):
        pgflow.start_flow(flow, None)
    assert pgflow.drain(limit=3) == 3


def test_a_handler_cannot_drain() -> None:
    pgflow = InMemory(flow := job(lambda _given, _ctx: pgflow.drain(), max_attempts=1))
    run_id = pgflow.start_flow(flow, None)
    assert pgflow.drain() == 1
    [state] = pgflow.get_run_with_states(run_id).step_states
    error = "RuntimeError: a handler cannot drain the queue that it came from"
    assert state.error_message == error


def test_in_a_coroutine_drain_is_awaited() -> None:
    pgflow = InMemory(flow := diamond())
    pgflow.start_flow(flow, {"number": 1})

    async def test() -> int:
        with pytest.raises(RuntimeError, match=r"await drain_async\(\)"):
            pgflow.drain()
        return await pgflow.drain_async(until_idle=True)

    assert asyncio.run(test()) == 5


@pytest.mark.parametrize("is_async", [False, True])
def test_a_drain_can_be_cancelled(gate: threading.Event, is_async: bool) -> None:
    reached: list[Callable[[], object]] = []

    def plain(_given: object, _ctx: object) -> None:
        reached[0]()
        gate.wait()

    async def coroutine(_given: object, _ctx: object) -> None:
        reached[0]()
        await asyncio.Event().wait()

    flow = job(coroutine if is_async else plain)
    pgflow = InMemory(flow)
    pgflow.start_flow(flow, None)

    async def test() -> None:
        loop, started = asyncio.get_running_loop(), asyncio.Event()
        reached.append(lambda: loop.call_soon_threadsafe(started.set))
        draining = asyncio.ensure_future(pgflow.drain_async())
        await started.wait()
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining

    asyncio.run(test())
    pgflow.start_flow(flow, None)
    assert len(pgflow.queued(flow)) == 1  # the other task is started for ever
    assert {task.attempt for task in pgflow.queued(flow)} == {1}


# Versions of the core


def test_the_newest_core_is_the_default() -> None:
    assert InMemory(job(echo)).core == CORES[-1] != CORES[0]
    assert InMemory(job(echo), core="0.6.1").core == "0.6.1"


@pytest.mark.parametrize(
    ("core", "leaves_messages"),
    [("0.5.0", True), ("0.5.3", True), ("0.6.1", True), ("0.7.3", False), ("0.8.1", False)],
)
def test_what_a_failed_run_leaves_waiting(core: str, leaves_messages: bool) -> None:
    flow = Flow("flow", max_attempts=2, base_delay=1)
    flow.step("a")(failing(1))  # tried before the run fails, and again after it
    flow.step("b", max_attempts=1)(broken)
    flow.step("c")(echo)  # its turn comes when the run has failed
    pgflow = InMemory(flow, core=core)
    run_id = pgflow.start_flow(flow, None)
    assert pgflow.drain() == (3 if leaves_messages else 2)
    assert pgflow.get_run(run_id).status == "failed"
    waiting = [(task.step_slug, task.attempt) for task in pgflow.queued(flow)]
    assert waiting == ([("a", 2)] if leaves_messages else [])
    assert pgflow.drain(until_idle=True) == len(waiting)
    run = pgflow.get_run_with_states(run_id)
    assert (run.status, run.remaining_steps) == ("failed", 1 if leaves_messages else 3)


@pytest.mark.parametrize(
    ("core", "events"),
    [
        ("0.5.0", ["run:started", "step:work:completed", "run:completed"]),
        ("0.8.1", ["run:started", "step:work:started", "step:work:completed", "run:completed"]),
    ],
)
def test_events(core: str, events: list[str]) -> None:
    pgflow = InMemory(flow := job(echo), core=core)
    run_id = pgflow.start_flow(flow, 7)
    pgflow.drain()
    assert [event.event for event in pgflow.events] == events
    assert {event.topic for event in pgflow.events} == {f"pgflow:run:{run_id}"}
    assert pgflow.events[-1].payload["output"] == {"work": 7}


# What is refused


@pytest.mark.parametrize(
    ("flows", "core", "error", "message"),
    [
        ([Flow("flow")], None, InvalidFlow, "it has no steps"),
        ([job(echo), job(echo)], None, InvalidFlow, "flow 'flow': it is given twice"),
        ([job(echo)], "0.4.0", profiles.ProfileError, r"no profile of core '0\.4\.0'; known are"),
        (
            [job(echo, "a"), job(echo, "a_pkey")],
            None,
            CoreRefused,
            r"^the core refused CreateFlow\(flow_slug='a_pkey'.*: SQLSTATE 42809$",
        ),
    ],
)
def test_flows_that_cannot_be(
    flows: list[Flow], core: str | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        InMemory(*flows, core=core)


TAKEN = UUID(int=7)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: p.start_flow("other", 1), FlowNotFound, "flow 'other'"),
        (lambda p: p.start_flow(Flow("other"), 1), FlowNotFound, "flow 'other'"),
        (lambda p: p.start_flow(7, 1), InvalidFlow, "as a Flow or its slug"),
        (lambda p: p.start_flow("flow", {"a": [object()]}), NotJson, r"\$\.a\[0\]: object"),
        (lambda p: p.start_flow("flow", 1, run_id=TAKEN), RunExists, str(TAKEN)),
        (lambda p: p.get_run(uuid4()), RunNotFound, "no run has the id"),
        (lambda p: p.get_run("nonsense"), RunNotFound, "'nonsense'"),
        (lambda p: p.get_run_with_states(uuid4()), RunNotFound, "no run has the id"),
        (lambda p: p.queued("other"), FlowNotFound, "flow 'other'"),
    ],
)
def test_calls_that_are_refused_change_nothing(
    call: Callable[[InMemory], object], error: type[Exception], message: str
) -> None:
    pgflow = InMemory(job(echo))
    assert pgflow.start_flow("flow", 1, run_id=TAKEN) == TAKEN
    before = pgflow.state
    with pytest.raises(error, match=message):
        call(pgflow)
    assert pgflow.state == before
    assert len(pgflow.events) == 2


def test_a_result_that_the_core_refuses_is_told() -> None:
    pgflow = InMemory(flow := job(broken, base_delay=2**31 - 1))
    pgflow.start_flow(flow, None)
    with pytest.raises(CoreRefused, match=r"FailTask\(.*: SQLSTATE 22003$") as caught:
        pgflow.drain()
    assert caught.value.refusal.sqlstate == "22003"


def test_a_refusal_names_its_constraint() -> None:
    error = CoreRefused("a call", Refusal("23514", "slug_is_valid"))
    assert str(error) == "the core refused a call: SQLSTATE 23514, constraint slug_is_valid"


@pytest.mark.parametrize(
    ("imported", "not_loaded"),
    [("pgflow_ref", "pgflow_ref.testing"), ("pgflow_ref.testing", "psycopg")],
)
def test_what_importing_it_loads(imported: str, not_loaded: str) -> None:
    program = f"import sys, {imported}; print({not_loaded!r} in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "False"
