"""Calls about definitions and upkeep, by hand: what they ask for, in which order, and when not."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pgflow_ref import (
    CoreMissing,
    CoreUnsupported,
    DatabaseUnavailable,
    Flow,
    FlowBusy,
    FlowHealth,
    FlowMismatch,
    FlowUpserted,
    Health,
    InvalidDelay,
    InvalidFlow,
    Pruned,
    Recovered,
    WorkerHealth,
    calls,
)
from pgflow_ref.capabilities import Capabilities
from pgflow_ref.operations import Queue, StoredFlow
from pgflow_ref.shape import FlowShape, Options, StepShape
from tests.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.telemetry import EventName

NOW = dt.datetime(2025, 1, 1, tzinfo=dt.timezone.utc)
OLD = Capabilities("0.5.0", None, True, False, False, False, False, True, True)
NEW = Capabilities("0.14.1", "1.8.0", False, True, True, True, True, True, True)
ALONE, SHARED, MISSING = Queue(True, ()), Queue(True, ("F",)), Queue(False, ())


def a_flow(*slugs: str) -> Flow:
    flow = Flow("f")
    for slug in slugs:
        flow.step(slug)(lambda given, _ctx: given)
    return flow


def stored(*slugs: str, timeout: int = 60) -> StoredFlow:
    steps = tuple(StepShape(slug) for slug in slugs)
    return StoredFlow(FlowShape("f", Options(3, 5, timeout), steps), dict.fromkeys(slugs, timeout))


def told(name: EventName, count: int | None = None) -> list[calls.Tell]:
    return [calls.Tell(name, "f", count=count)]


# flow_exists


@pytest.mark.parametrize("flow", ["f", Flow("f")], ids=["slug", "flow"])
def test_flow_exists(flow: Flow | str) -> None:
    world = World(True)
    assert world.perform(calls.flow_exists(flow)) is True
    assert world.asked[0].params == {"flow_slug": "f"}


# ensure_flow


@pytest.mark.parametrize(
    ("found", "queue", "statements", "steps"),
    [
        pytest.param(
            None,
            MISSING,
            (
                "SELECT pgflow.create_flow('f');",
                "SELECT pgflow.add_step('f', 'a');",
                "SELECT pgflow.add_step('f', 'b');",
            ),
            2,
            id="nothing is there",
        ),
        pytest.param(stored("a", "b"), ALONE, (), 0, id="all is there"),
        pytest.param(stored("b", "a"), SHARED, (), 0, id="in another order"),
        pytest.param(
            stored("b"), ALONE, ("SELECT pgflow.add_step('f', 'a');",), 1, id="a step is missing"
        ),
        pytest.param(
            stored("a", "b"),
            MISSING,
            ("SELECT pgflow.create_flow('f');",),
            0,
            id="the queue is missing",
        ),
        pytest.param(
            stored("a"),
            MISSING,
            ("SELECT pgflow.create_flow('f');", "SELECT pgflow.add_step('f', 'b');"),
            1,
            id="queue and step are missing",
        ),
    ],
)
def test_ensure_flow(
    found: StoredFlow | None, queue: Queue, statements: tuple[str, ...], steps: int
) -> None:
    world = World(None, OLD, found, queue, *[None] * len(statements))
    assert world.perform(calls.ensure_flow(a_flow("a", "b"))) == statements
    looks = ["lock a flow", "look at the core", "read a flow's definition"]
    asked = [*looks, "look for a flow's queue", *["define a flow"] * len(statements)]
    assert world.transactions == [asked]
    assert tuple(operation.sql for operation in world.asked[4:]) == statements
    assert world.told == told("pgflow.flow.ensured", steps)


def test_a_flow_that_differs_is_not_ensured() -> None:
    for found in (stored("a", "x"), stored("a", "b", timeout=61)):
        flow = Flow("f", timeout=60)
        flow.step("a")(lambda given, _ctx: given)
        flow.step("b")(lambda given, _ctx: given)
        world = World(None, OLD, found, ALONE)
        with pytest.raises(FlowMismatch, match="give the flow a new slug"):
            world.perform(calls.ensure_flow(flow))
        assert world.told == []


def test_a_flow_that_the_core_cannot_have() -> None:
    flow = Flow("f")
    flow.step("a", start_delay=1)(lambda given, _ctx: given)
    world = World(None, OLD)
    with pytest.raises(CoreUnsupported, match=r"step 'a': start_delay needs core 0\.5\.3"):
        world.perform(calls.ensure_flow(flow))


def test_what_is_no_flow_is_not_ensured() -> None:
    with pytest.raises(InvalidFlow, match="flow 'f': what is to be ensured is given as a Flow"):
        World().perform(calls.ensure_flow("f"))  # type: ignore[arg-type]


# upsert_flow and delete_flow

EMPTY = ["lock a flow's runs", "delete a flow's messages", "delete a flow's runs"]


def upsert(world: World, *, steps: Any = ({"slug": "a"},)) -> Any:
    return world.perform(calls.upsert_flow("f", steps, max_attempts=3, base_delay=1, timeout=60))


@pytest.mark.parametrize(("there", "status"), [(True, "recompiled"), (False, "compiled")])
def test_upsert_flow(there: bool, status: str) -> None:
    world = World(None, OLD, ALONE, 2, 4, None, there, None, None)
    assert upsert(world) == FlowUpserted("f", status)  # type: ignore[arg-type]
    looks = ["lock a flow", "look at the core", "look for a flow's queue"]
    ending = ["delete a flow's definition", "define a flow", "define a flow"]
    assert world.transactions == [[*looks, *EMPTY, *ending]]
    assert [operation.sql for operation in world.asked[-2:]] == [
        "SELECT pgflow.create_flow('f', max_attempts => 3, base_delay => 1, timeout => 60);",
        "SELECT pgflow.add_step('f', 'a');",
    ]
    assert world.told == told("pgflow.flow.ensured", 1)


def test_upsert_flow_without_a_queue() -> None:
    world = World(None, OLD, MISSING, 0, None, False, None, None)
    upsert(world)
    assert "delete a flow's messages" not in world.names


def test_upsert_flow_reads_all_that_a_step_may_say() -> None:
    steps = [
        {"slug": "a", "deps": None, "max_attempts": None, "step_type": None},
        {"slug": "b", "deps": ("a",), "max_attempts": 2, "base_delay": 3, "timeout": 4},
        {"slug": "c", "depends_on": ["b"], "start_delay": 0, "step_type": "map"},
    ]
    assert calls.read_shape("f", steps, Options(timeout=9)) == FlowShape(
        "f",
        Options(timeout=9),
        (
            StepShape("a"),
            StepShape("b", ("a",), Options(2, 3, 4)),
            StepShape("c", ("b",), Options(start_delay=0), "map"),
        ),
    )


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("abc", "steps is a list of mappings, not str"),
        (b"abc", "steps is a list of mappings, not bytes"),
        ({"slug": "a"}, "steps is a list of mappings, not dict"),
        ([], "it has no steps"),
        (["a"], r"steps\[0\] is a mapping with a slug, not str"),
        ([{}], r"steps\[0\] has no slug"),
        ([{"slug": "1st"}], "step '1st': a slug is an ASCII letter"),
        ([{"slug": "a", "dep": []}], "'dep' is no key of a step; those are slug, deps, "),
        ([{"slug": "a", "deps": [], "depends_on": []}], "are the same; give one"),
        ([{"slug": "a", "deps": "b"}], "step 'a': deps is a list of slugs"),
        ([{"slug": "a", "deps": [1]}], "step 'a': deps is a list of slugs"),
        ([{"slug": "a", "deps": ["a"]}], "does not depend on itself"),
    ],
)
def test_plain_data_that_makes_no_flow(steps: Any, said: str) -> None:
    world = World()
    with pytest.raises(InvalidFlow, match=said):
        upsert(world, steps=steps)
    assert (world.asked, world.told) == ([], [])


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("queue", "messages", "dropped"),
    [
        (ALONE, ["delete a flow's messages"], ["drop a flow's queue"]),
        (SHARED, ["delete a flow's messages"], []),
        (MISSING, [], []),
    ],
)
def test_delete_flow(
    there: bool, queue: Queue, messages: Sequence[str], dropped: Sequence[str]
) -> None:
    answers: list[Any] = [None, queue, 2, *[4] * len(messages), None, there]
    world = World(*answers, *[None] * len(dropped), None)
    assert world.perform(calls.delete_flow("f")) is there
    assert world.transactions == [
        [
            "lock a flow",
            "look for a flow's queue",
            "lock a flow's runs",
            *messages,
            "delete a flow's runs",
            "delete a flow's definition",
            *dropped,
            "forget a queue's name",
        ]
    ]
    assert world.told == (told("pgflow.flow.deleted") if there else [])


def test_a_flow_that_others_change_is_tried_again() -> None:
    busy = FlowBusy("f")
    again: list[Any] = [None, MISSING, busy]
    world = World(*again * 4, None, MISSING, 0, None, True, None)
    assert world.perform(calls.delete_flow("f")) is True
    assert len(world.transactions) == 5
    world = World(*again * 5)
    with pytest.raises(FlowBusy, match="'f' was changed by others at the same moment"):
        world.perform(calls.delete_flow("f"))
    assert world.told == []


def test_another_refusal_is_not_tried_again() -> None:
    world = World(None, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        world.perform(calls.delete_flow("f"))


@pytest.mark.parametrize("slug", ["run", "a b", "1", "", "é", "a" * 48, "a\x00", None])
def test_slugs_that_no_core_has(slug: Any) -> None:
    with pytest.raises(InvalidFlow):
        World().perform(calls.delete_flow(slug))


# Upkeep


def test_recovery() -> None:
    for flow, slug in ((None, None), ("g", "g"), (Flow("g"), "g")):
        world = World(OLD, Recovered(1, 2))
        grace = dt.timedelta(minutes=1)
        assert world.perform(calls.recover_stalled_tasks(flow, grace)) == Recovered(1, 2)
        assert world.asked[1].params == {"flow_slug": slug, "grace": 60.0}


def test_recovery_by_the_core() -> None:
    world = World(NEW, Recovered(1, 0))
    assert world.perform(calls.recover_stalled_tasks("g", 30)) == Recovered(1, 0)
    assert world.names[1] == "let the core recover stalled tasks"


def test_recovery_without_sense() -> None:
    with pytest.raises(InvalidDelay, match="grace is between 0 and 2147483647 seconds, not -1"):
        World().perform(calls.recover_stalled_tasks(None, -1))


def ids(count: int) -> list[UUID]:
    return [UUID(int=n) for n in range(count)]


def test_pruning_goes_on_while_there_may_be_more() -> None:
    first: list[Any] = [ids(1_000), ALONE, 1_500, (1_000, 2_000)]
    second: list[Any] = [ids(3), ALONE, 4, (3, 6)]
    other: list[Any] = [ids(2), MISSING, (2, 2)]
    world = World(["f", "g"], *first, *second, *other)
    pruned = world.perform(calls.prune_data(dt.timedelta(days=1), None))
    assert pruned == Pruned(runs=1_005, tasks=2_008, messages=1_504)
    assert len(world.transactions) == 3
    assert world.asked[1].params == {"flow_slug": "f", "seconds": 86_400.0, "limit": 1_000}
    assert "delete messages of runs" not in world.transactions[2]


def test_pruning_beside_others() -> None:
    busy = FlowBusy("f")
    again: list[Any] = [ids(2), MISSING, busy]
    world = World(*again, ids(1), MISSING, (1, 1))
    assert world.perform(calls.prune_data(0, "f")) == Pruned(1, 1, 0)
    assert len(world.transactions) == 2
    with pytest.raises(FlowBusy):
        World(*again * 5).perform(calls.prune_data(0, "f"))


def test_pruning_one_flow() -> None:
    world = World([])
    assert world.perform(calls.prune_data(0, Flow("f"))) == Pruned(0, 0, 0)
    assert world.transactions == [["look for runs that have been over for long"]]


def test_pruning_without_sense() -> None:
    with pytest.raises(InvalidDelay, match="older_than is a number"):
        World().perform(calls.prune_data(None, None))  # type: ignore[arg-type]
    with pytest.raises(InvalidFlow):
        World().perform(calls.prune_data(1, "a'b"))


# Health


def a_worker(silent_for: float, slug: str = "f") -> WorkerHealth:
    return WorkerHealth(UUID(int=1), slug, slug, NOW, NOW, silent_for, False)


def of_flow(slug: str = "f", **what: Any) -> FlowHealth:
    plain = {"has_queue": True, "messages": 0, "visible_messages": 0, "oldest_message": None}
    return FlowHealth(slug, **{**plain, "running": 0, "stalled_tasks": 0, **what})


@pytest.mark.parametrize(
    ("flows", "workers", "registered", "problems"),
    [
        ((), (), [], []),
        ([of_flow()], [], ["f"], []),
        ([of_flow(visible_messages=1)], [a_worker(60)], [], []),
        ([of_flow(messages=3)], [], [], []),
        (
            [of_flow(visible_messages=3)],
            [a_worker(61), a_worker(0, "g")],
            [],
            ["flow 'f': waiting messages: 3, and no worker gave a sign of life lately"],
        ),
        (
            [of_flow(stalled_tasks=2)],
            [a_worker(0)],
            [],
            ["flow 'f': stalled tasks: 2; recover_stalled_tasks puts them back"],
        ),
        (
            [of_flow(has_queue=False)],
            [],
            [],
            ["flow 'f' has no queue, so none of its runs can start; ensure_flow makes one"],
        ),
        (
            [of_flow()],
            [],
            ["f", "g"],
            ["flow 'g' is not in the database; ensure_flow creates it"],
        ),
    ],
)
def test_health(flows: Any, workers: Any, registered: list[str], problems: list[str]) -> None:
    world = World("17.1", NEW, tuple(workers), tuple(flows))
    health = world.perform(calls.health_check(registered))
    assert health.status == ("degraded" if problems else "ok")
    assert (health.problems, health.server) == (tuple(problems), "17.1")
    assert (health.core, health.pgmq) == ("0.14.1", "1.8.0")
    assert (health.workers, health.flows) == (tuple(workers), tuple(flows))


@pytest.mark.parametrize(
    ("answers", "server", "problem"),
    [
        ([DatabaseUnavailable("no connection\n to be had")], None, "no connection to be had"),
        (["17.1", CoreMissing("no core")], "17.1", "no core"),
        (["17.1", NEW, RuntimeError()], "17.1", "RuntimeError"),
    ],
)
def test_what_is_down(answers: list[object], server: str | None, problem: str) -> None:
    world = World(*answers)
    assert world.perform(calls.health_check(["f"])) == Health("down", (problem,), server)


def test_capabilities() -> None:
    assert World(OLD).perform(calls.capabilities()) is OLD
