"""What a client does, by hand: the generators are sent what a database and a clock would say."""

from __future__ import annotations

import datetime as dt
from collections import deque
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pgflow_ref import (
    Flow,
    InvalidFlow,
    Job,
    NotJson,
    RunFailed,
    RunNotFound,
    RunTimeout,
    calls,
)
from pgflow_ref.operations import Operation, Run, StepState

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN_ID = UUID("00000000-0000-0000-0000-000000000007")
NOW = dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc)


def a_run(status: str, *states: StepState) -> Run:
    return Run(RUN_ID, "f", status, {"id": 7}, None, 1, NOW, None, None, states)


def a_step(slug: str, status: str, error: str | None = None) -> StepState:
    return StepState(slug, status, 0, 1, error, NOW, None, None, None)


class World:
    """Answers a call: operations from a list, time from a clock that moves by sleeping."""

    def __init__(self, *answers: object, slowness: float = 0) -> None:
        self.answers = deque(answers)
        self.now = 1_000.0
        self.slowness = slowness  # seconds that an operation takes
        self.asked: list[Operation[Any]] = []
        self.slept: list[float] = []

    def perform(self, call: calls.Call[Any]) -> Any:
        answer: object = None
        while True:
            try:
                request = call.send(answer)
            except StopIteration as end:
                assert not self.answers
                return end.value
            match request:
                case Operation():
                    self.asked.append(request)
                    answer = self.answers.popleft()
                    self.now += self.slowness
                case calls.Sleep(seconds=seconds):
                    self.slept.append(seconds)
                    self.now += seconds
                    answer = None
                case calls.Clock():
                    answer = self.now

    @property
    def names(self) -> list[str]:
        return [operation.name for operation in self.asked]


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
