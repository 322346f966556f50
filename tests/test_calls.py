"""What a client does, by hand: the generators are sent what a database and a clock would say."""

from __future__ import annotations

import datetime as dt
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
    RunFailed,
    RunNotFound,
    RunTimeout,
    StepNotCompleted,
    StepNotFound,
    calls,
)
from pgflow_ref.operations import Run, StepOutput, StepState
from tests.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN_ID = UUID("00000000-0000-0000-0000-000000000007")
NOW = dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc)


def a_run(status: str, *states: StepState) -> Run:
    return Run(RUN_ID, "f", status, {"id": 7}, None, 1, NOW, None, None, states)


def a_step(slug: str, status: str, error: str | None = None) -> StepState:
    return StepState(slug, status, 0, 1, error, NOW, None, None, None)


def wait(
    world: World, *, timeout: float = 10.0, poll_interval: float = 4.0, flow: Flow | str = "f"
) -> Any:
    return world.perform(
        calls.start_flow_sync(flow, {"id": 7}, timeout=timeout, poll_interval=poll_interval)
    )


# start_flow


@pytest.mark.parametrize("flow", ["f", Flow("f"), Job("f")], ids=["slug", "flow", "job"])
@pytest.mark.parametrize("run_id", [None, RUN_ID])
def test_start_flow(flow: Flow | str, run_id: UUID | None) -> None:
    world = World(RUN_ID)
    assert world.perform(calls.start_flow(flow, {"a": (1, None)}, run_id)) == RUN_ID
    (operation,) = world.asked
    assert operation.params == {"flow_slug": "f", "input": '{"a": [1, null]}', "run_id": run_id}
    assert world.told == [calls.Tell("pgflow.run.started", "f", RUN_ID)]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (False, "false"), (0, "0"), ("", '""'), ([], "[]")]
)
def test_any_json_is_an_input(value: object, text: str) -> None:
    world = World(RUN_ID)
    world.perform(calls.start_flow("f", value, None))
    assert world.asked[0].params["input"] == text


def test_an_input_that_is_no_json() -> None:
    world = World()
    with pytest.raises(NotJson, match=r"^\$\.when: object is not a JSON value$"):
        world.perform(calls.start_flow("f", {"when": object()}, None))
    assert world.asked == []


@pytest.mark.parametrize("slug", ["_declared_elsewhere", "run", "é", "", "a'b", "a" * 128])
def test_any_slug_may_be_asked_for(slug: str) -> None:
    world = World(RUN_ID)
    world.perform(calls.start_flow(slug, None, None))
    assert world.asked[0].params["flow_slug"] == slug


@pytest.mark.parametrize(
    "slug", ["a\x00b", "a\ud800b", "a" * 129], ids=["NUL", "surrogate", "too long"]
)
def test_slugs_that_cannot_even_be_asked_for(slug: str) -> None:
    world = World()
    with pytest.raises(InvalidFlow) as caught:
        world.perform(calls.start_flow(slug, None, None))
    assert repr(slug) in str(caught.value)
    assert world.asked == []


@pytest.mark.parametrize("flow", [None, 5, b"f", Flow])
def test_what_is_no_flow(flow: Any) -> None:
    with pytest.raises(InvalidFlow) as caught:
        World().perform(calls.start_flow(flow, None, None))
    assert str(caught.value) == f"flow {flow!r}: a flow is given as a Flow or its slug"


# start_flow_sync


def test_completed_at_once() -> None:
    run = a_run("completed")
    world = World(RUN_ID, run)
    assert wait(world) is run
    assert world.names == ["start a run", "get a run with its steps"]
    assert world.asked[1].params == {"run_id": RUN_ID}
    assert world.slept == []


def test_completed_later() -> None:
    run = a_run("completed")
    world = World(RUN_ID, a_run("started"), a_run("started"), run)
    assert wait(world) is run
    assert world.slept == [4.0, 4.0]


@pytest.mark.parametrize(
    ("timeout", "poll_interval", "slept"),
    [
        pytest.param(0, 0.5, [], id="no time: one look"),
        pytest.param(10, 4, [4, 4, 2], id="the last sleep is cut"),
        pytest.param(8, 4, [4, 4], id="even"),
        pytest.param(1, 100, [1], id="less than an interval"),
        pytest.param(1, float("inf"), [1], id="no interval at all"),
    ],
)
def test_a_run_that_goes_on(timeout: float, poll_interval: float, slept: list[float]) -> None:
    looks = [a_run("started")] * (len(slept) + 1)
    world = World(RUN_ID, *looks)
    with pytest.raises(RunTimeout) as caught:
        wait(world, timeout=timeout, poll_interval=poll_interval)
    assert world.slept == slept
    assert not world.answers, "there is a look after the last sleep"
    assert caught.value.run_id == RUN_ID
    assert str(caught.value) == f"run {RUN_ID} was not over after {timeout} s; it goes on"
    assert isinstance(caught.value, TimeoutError)


def test_slow_looks_count_too() -> None:
    world = World(RUN_ID, a_run("started"), a_run("started"), slowness=7)
    with pytest.raises(RunTimeout):
        wait(world, timeout=10, poll_interval=4)
    assert world.slept == [3]


def test_completed_at_the_last_look() -> None:
    run = a_run("completed")
    assert wait(World(RUN_ID, a_run("started"), run), timeout=4, poll_interval=4) is run


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ((), "no step says why"),
        ((a_step("a", "completed"),), "no step says why"),
        ((a_step("a", "completed"), a_step("b", "failed", "boom")), "step 'b': boom"),
        ((a_step("a", "failed", "one"), a_step("b", "failed", "two")), "step 'a': one"),
    ],
)
def test_a_run_that_fails(states: Iterable[StepState], reason: str) -> None:
    run = a_run("failed", *states)
    with pytest.raises(RunFailed) as caught:
        wait(World(RUN_ID, a_run("started"), run))
    assert caught.value.run is run
    assert str(caught.value) == f"run {RUN_ID} of flow 'f' failed: {reason}"


def test_a_run_that_is_deleted_meanwhile() -> None:
    with pytest.raises(RunNotFound, match=str(RUN_ID)):
        wait(World(RUN_ID, a_run("started"), None))


@pytest.mark.parametrize(
    ("timeout", "poll_interval"),
    [(-1, 1), (-0.001, 1), (1, 0), (1, -1), (float("nan"), 1), (1, float("nan"))],
)
def test_waits_that_make_no_sense(timeout: float, poll_interval: float) -> None:
    world = World()
    with pytest.raises(ValueError, match=f"not {timeout} and {poll_interval}$"):
        wait(world, timeout=timeout, poll_interval=poll_interval)
    assert world.asked == []


# get_run

GETTERS = [calls.get_run, calls.get_run_with_states]


@pytest.mark.parametrize("get", GETTERS)
@pytest.mark.parametrize("run_id", [RUN_ID, str(RUN_ID), str(RUN_ID).upper(), RUN_ID.hex])
def test_get_run(get: Any, run_id: UUID | str) -> None:
    run = a_run("started")
    world = World(run)
    assert world.perform(get(run_id)) is run
    assert world.asked[0].params == {"run_id": RUN_ID}


@pytest.mark.parametrize("get", GETTERS)
def test_no_such_run(get: Any) -> None:
    with pytest.raises(RunNotFound, match=f"^no run has the id '{RUN_ID}'$"):
        World(None).perform(get(RUN_ID))


@pytest.mark.parametrize("get", GETTERS)
@pytest.mark.parametrize("run_id", ["", "x", "a\x00", str(RUN_ID) + "0", None, 5, b"x", []])
def test_what_is_no_id_finds_no_run(get: Any, run_id: Any) -> None:
    world = World()
    with pytest.raises(RunNotFound) as caught:
        world.perform(get(run_id))
    assert str(caught.value) == f"no run has the id {str(run_id)!r}"
    assert caught.value.run_id == run_id
    assert world.asked == []


def test_a_run_is_over_when_it_is_no_longer_started() -> None:
    assert [a_run(status).is_over for status in ("started", "completed", "failed")] == [
        False,
        True,
        True,
    ]


# start_flows


def test_start_flows() -> None:
    world = World(2)
    ids = [UUID(int=1), UUID(int=2)]
    assert world.perform(calls.start_flows(Flow("f"), (n for n in (1, None)))) == ids
    (operation,) = world.asked
    assert operation.params == {"flow_slug": "f", "inputs": ["1", "null"], "run_ids": ids}
    assert world.told == [calls.Tell("pgflow.run.started", "f", run_id) for run_id in ids]


def test_no_runs() -> None:
    world = World()
    assert world.perform(calls.start_flows("f", [])) == []
    assert (world.asked, world.told) == ([], [])


@pytest.mark.parametrize(
    ("inputs", "where"),
    [
        ([1, {1}], r"^\$\[1\]: set is not a JSON value"),
        ([{"a": [object()]}], r"^\$\[0\]\.a\[0\]: object is not"),
        ("text", r"^\$: inputs are given as a list of inputs, not as str$"),
        (b"text", r"^\$: .* not as bytes$"),
        ({"a": 1}, r"^\$: .* not as dict$"),
    ],
)
def test_inputs_that_are_no_json(inputs: Any, where: str) -> None:
    world = World()
    with pytest.raises(NotJson, match=where):
        world.perform(calls.start_flows("f", inputs))
    assert (world.asked, world.told) == ([], [])


def test_inputs_that_are_no_list() -> None:
    with pytest.raises(TypeError):
        World().perform(calls.start_flows("f", 7))  # type: ignore[arg-type]


# enqueue


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (1, 1),
        (0.001, 1),
        (1.5, 2),
        (dt.timedelta(milliseconds=2_001), 3),
        (calls.MAX_SECONDS, calls.MAX_SECONDS),
        (calls.MAX_SECONDS - 0.5, calls.MAX_SECONDS),
    ],
)
def test_a_delay_is_rounded_up(delay: Any, seconds: int) -> None:
    for call in (calls.enqueue_in("f", 7, delay), calls.enqueue("f", 7, delay, None)):
        world = World(RUN_ID, 1)
        assert world.perform(call) == RUN_ID
        assert world.transactions == [["start a run", "delay a run"]]
        assert world.asked[1].params == {"run_id": RUN_ID, "seconds": seconds}
        assert world.told == [calls.Tell("pgflow.run.started", "f", RUN_ID)]


@pytest.mark.parametrize(
    "call",
    [calls.enqueue_in("f", 7, 0), calls.enqueue_in("f", 7, dt.timedelta(0))]
    + [calls.enqueue("f", 7, delay, None) for delay in (None, 0, 0.0)],
)
def test_now(call: calls.Call[UUID]) -> None:
    world = World(RUN_ID)
    assert world.perform(call) == RUN_ID
    assert (world.names, world.transactions) == (["start a run"], [])
    assert len(world.told) == 1


LONDON = dt.timezone(dt.timedelta(hours=1))
LATEST = dt.datetime.max.replace(tzinfo=dt.timezone.utc)
EARLIEST = dt.datetime.min.replace(tzinfo=dt.timezone.utc)
NOON = dt.datetime(2026, 5, 8, 13, 0, tzinfo=LONDON)


def test_a_time_is_an_instant() -> None:
    for call in (
        calls.enqueue_at("f", 7, NOON),
        calls.enqueue("f", 7, None, NOON),
        calls.enqueue("f", 7, -1, NOON),  # the time goes before
    ):
        world = World(RUN_ID, 1)
        assert world.perform(call) == RUN_ID
        assert world.transactions == [["start a run", "schedule a run"]]
        at = world.asked[1].params["at"]
        assert str(at) == "2026-05-08 12:00:00+00:00"
        assert world.told == [calls.Tell("pgflow.run.started", "f", RUN_ID)]


@pytest.mark.parametrize(
    ("at", "moment"),
    [
        (LATEST.replace(tzinfo=dt.timezone(-dt.timedelta(hours=1))), LATEST),
        (EARLIEST.replace(tzinfo=LONDON), EARLIEST),
    ],
)
def test_the_ends_of_the_calendar(at: dt.datetime, moment: dt.datetime) -> None:
    assert calls.instant(at) == moment


class Vague(dt.tzinfo):
    """A zone that does not know itself."""

    def utcoffset(self, _at: dt.datetime | None) -> None:
        return None

    dst = utcoffset

    def tzname(self, _at: dt.datetime | None) -> str:
        return "somewhere"


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (calls.enqueue_in("f", 7, -1), InvalidDelay, "delay is between 0 and 2147483647 seconds"),
        (calls.enqueue_in("f", 7, float("nan")), InvalidDelay, "not nan"),
        (calls.enqueue_in("f", 7, float("inf")), InvalidDelay, "not inf"),
        (calls.enqueue_in("f", 7, 2**31), InvalidDelay, "not 2147483648"),
        (calls.enqueue_in("f", 7, 10**400), InvalidDelay, "not a number that is far off"),
        (calls.enqueue_in("f", 7, "1"), InvalidDelay, "is a number .* not '1'"),  # type: ignore[arg-type]
        (calls.enqueue_in("f", 7, True), InvalidDelay, "is a number .* not True"),
        (calls.enqueue_in("f", 7, dt.timedelta(-1)), InvalidDelay, "not datetime.timedelta"),
        (calls.enqueue("f", 7, -1, None), InvalidDelay, "not -1"),
        (calls.enqueue_at("f", 7, dt.datetime(2026, 5, 8)), InvalidSchedule, "no time zone"),  # noqa: DTZ001
        (
            calls.enqueue_at("f", 7, dt.datetime(2026, 5, 8, tzinfo=Vague())),
            InvalidSchedule,
            "has no time zone; say which one is meant",
        ),
        (calls.enqueue_at("f", 7, "noon"), InvalidSchedule, "at a datetime, not 'noon'"),  # type: ignore[arg-type]
        (calls.enqueue_in("f", {7}, 1), NotJson, "set is not"),
        (calls.enqueue_at("f", {7}, NOON), NotJson, "set is not"),
        (calls.enqueue_in(7, 7, 1), InvalidFlow, "flow 7"),  # type: ignore[arg-type]
        (calls.enqueue_at(7, 7, NOON), InvalidFlow, "flow 7"),  # type: ignore[arg-type]
    ],
)
def test_jobs_that_are_not_started(
    call: calls.Call[UUID], error: type[Exception], said: str
) -> None:
    world = World()
    with pytest.raises(error, match=said):
        world.perform(call)
    assert (world.asked, world.told) == ([], [])


def test_a_job_that_the_database_refuses() -> None:
    for before, refusal in (([], FlowNotFound("f")), ([RUN_ID], InvalidDelay("too long"))):
        for call in (calls.enqueue_in("f", 7, 1), calls.enqueue_at("f", 7, NOON)):
            world = World(*before, refusal)
            with pytest.raises((FlowNotFound, InvalidDelay)) as caught:
                world.perform(call)
            assert caught.value is refusal
            assert world.told == []


# get_step_output, get_flow_input


def test_get_step_output() -> None:
    step = Flow("f").step("a")(lambda given, _ctx: given)
    for named in (step, "a"):
        world = World(StepOutput("completed", [1]))
        assert world.perform(calls.get_step_output(str(RUN_ID), named)) == [1]
        assert world.asked[0].params == {"run_id": RUN_ID, "step_slug": "a"}


def test_outputs_that_are_not_there() -> None:
    with pytest.raises(RunNotFound, match=str(RUN_ID)):
        World(None).perform(calls.get_step_output(RUN_ID, "a"))
    with pytest.raises(RunNotFound, match="'no id'"):
        World().perform(calls.get_step_output("no id", "a"))
    with pytest.raises(StepNotFound, match=f"^run {RUN_ID} has no step 'a'$"):
        World(StepOutput(None, None)).perform(calls.get_step_output(RUN_ID, "a"))
    with pytest.raises(StepNotCompleted, match=f"^step 'a' of run {RUN_ID} is .* but started$"):
        World(StepOutput("started", None)).perform(calls.get_step_output(RUN_ID, "a"))


@pytest.mark.parametrize("step", ["a\x00", "\ud800", None, 7])
def test_what_no_step_can_be_called(step: Any) -> None:
    world = World(StepOutput(None, None))
    with pytest.raises(StepNotFound):
        world.perform(calls.get_step_output(RUN_ID, step))
    assert world.asked[0].params == {"run_id": RUN_ID, "step_slug": None}


def test_get_flow_input() -> None:
    assert World(a_run("started")).perform(calls.get_flow_input(RUN_ID)) == {"id": 7}
    with pytest.raises(RunNotFound):
        World(None).perform(calls.get_flow_input(RUN_ID))
