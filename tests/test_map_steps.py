"""Map steps: in memory and on a real database the same, on each core that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgflow_ref import CoreUnsupported, Flow, FlowMismatch, TaskFailed, Worker
from pgflow_ref.compile import compile_flow
from pgflow_ref.connection import connect, execute
from pgflow_ref.operations import stored_flow
from pgflow_ref.testing import InMemory

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_ref import Context
    from pgflow_ref.telemetry import Event
    from tests.conftest import Database, Server, Working

    Work = Callable[..., Working]

WITH_MAPS = ("0.7.3", "0.8.1")
WITHOUT_MAPS = ("0.5.0", "0.5.3", "0.6.1")


def order(slug: str = "order") -> Flow:
    """A map step over the run's input, one over a step, one over a map step, and what is left.

    Each says all that it sees; every second element fails once.
    """
    flow = Flow(slug, base_delay=1)

    @flow.map()
    def root(element: Any, ctx: Context) -> object:
        if ctx.task_index % 2 and ctx.attempt == 1:
            raise TaskFailed(f"not {element}")
        return [element, ctx.task_index, ctx.attempt, ctx.flow_input]

    @flow.step(depends_on=[root])
    def lines(deps: Any, _ctx: object) -> object:
        return [len(deps["root"]), None, {"run": 1}, False]

    @flow.map(lines)
    async def inner(element: object, ctx: Context) -> object:
        return {"got": element, "nth": ctx.task_index, "of": ctx.flow_input}

    @flow.map(inner)
    def chained(element: Any, _ctx: object) -> object:
        return element["got"]

    @flow.step(depends_on=[root, chained])
    def last(deps: object, ctx: Context) -> object:
        return {"deps": deps, "input": ctx.flow_input}

    return flow


def in_memory(flow: Flow, run_input: object, core: str) -> object:
    pgflow = InMemory(flow, core=core)
    run_id = pgflow.start_flow(flow, run_input)
    pgflow.drain(until_idle=True)
    run = pgflow.get_run_with_states(run_id)
    return run.status, run.output, [(s.step_slug, s.status, s.attempts) for s in run.step_states]


def in_database(database: Database, flow: Flow, run_input: object, work: Work) -> object:
    work(database.add(flow), url=database.url)
    run = database.finish(database.start(flow, run_input))
    return run.status, run.output, [(s.step_slug, s.status, s.attempts) for s in run.step_states]


@pytest.mark.parametrize("core", WITH_MAPS)
def test_elements_and_arrays(core: str, databases: Server, work: Work) -> None:
    given = [{"id": 7}, None, "tea"]
    root = [[{"id": 7}, 0, 1, given], [None, 1, 2, given], ["tea", 2, 1, given]]
    expected = (
        "completed",
        {"last": {"deps": {"root": root, "chained": [3, None, {"run": 1}, False]}, "input": given}},
        [
            ("root", "completed", 2),
            ("lines", "completed", 1),
            ("inner", "completed", 1),
            ("chained", "completed", 1),
            ("last", "completed", 1),
        ],
    )
    assert in_memory(order(), given, core) == expected
    with databases.database(core) as database:
        assert in_database(database, order(), given, work) == expected


def test_an_empty_array(newest: Database, work: Work) -> None:
    flow = Flow("empty")
    early = flow.map(slug="early")(lambda element, _ctx: element)
    flow.map(early, "late")(lambda element, _ctx: element)
    expected = (
        "completed",
        {"late": list[object]()},
        [("early", "completed", 0), ("late", "completed", 0)],
    )
    assert in_memory(flow, [], "0.8.1") == expected
    assert in_database(newest, flow, [], work) == expected


@pytest.mark.parametrize("core", WITH_MAPS)
def test_what_is_no_array_fails_the_step_that_put_it_out(
    core: str, databases: Server, work: Work
) -> None:
    """Here and there the same, and listeners hear the same of it."""
    flow = Flow("flow")
    lines = flow.step("lines")(lambda _given, _ctx: {"no": "array"})
    flow.map(lines, "each")(lambda element, _ctx: element)
    here: list[Event] = []
    there: list[Event] = []
    pgflow = InMemory(flow, core=core, listeners=[here.append])
    run_id = pgflow.start_flow(flow, None)
    pgflow.drain(until_idle=True)
    run = pgflow.get_run_with_states(run_id)
    with databases.database(core) as database:
        working = work(database.add(flow), url=database.url, listeners=[there.append])
        stored = database.finish(database.start(flow))
        working.stop()
    assert run.status == stored.status == "failed"
    assert [(s.status, s.attempts) for s in run.step_states] == [
        (s.status, s.attempts) for s in stored.step_states
    ]
    kinds = ("pgflow.worker.task.stop", "pgflow.worker.task.exception", "pgflow.run.failed")
    heard, expected = (
        [(event.name, event.kind, event.reason) for event in events if event.name in kinds]
        for events in (here, there)
    )
    reason = "[TYPE_VIOLATION] Produced object instead of array"
    assert heard == expected == [(kinds[1], "error", reason), (kinds[2], None, reason)]


@pytest.mark.parametrize("core", WITHOUT_MAPS)
def test_a_core_without_map_steps_refuses_them(core: str, databases: Server) -> None:
    said = (
        rf"flow 'order', step 'root': a map step needs core 0\.7 or newer, and this one is {core}"
    )
    with pytest.raises(CoreUnsupported, match=said):
        InMemory(order(), core=core)
    other = Flow("order")
    other.step("root")(lambda given, _ctx: given)
    with databases.database(core) as database:
        database.add(other)
        with pytest.raises(CoreUnsupported, match=said):
            Worker(order(), database.url).run(signals=False)


def test_a_step_that_is_stored_as_another_type(newest: Database) -> None:
    stored, here = Flow("flow"), Flow("flow")
    stored.step("pick", start_delay=3)(lambda given, _ctx: given)
    here.map(slug="pick", start_delay=4)(lambda element, _ctx: element)
    newest.add(stored)
    said = (
        "step 'pick' is a map step in the code and a single step in the database; "
        "step 'pick': start_delay is 4 in the code and 3 in the database; "
    )
    with pytest.raises(FlowMismatch, match=said):
        Worker(here, newest.url).run(signals=False)


@pytest.mark.parametrize("core", [*WITHOUT_MAPS, *WITH_MAPS])
def test_what_is_compiled_is_what_is_stored(core: str, databases: Server) -> None:
    flow = Flow("flow", max_attempts=2, base_delay=3, timeout=4)
    first = flow.step("first", timeout=5)(lambda given, _ctx: given)
    if core != "0.5.0":
        flow.step("late", depends_on=[first], start_delay=0)(lambda given, _ctx: given)
        flow.step("later", start_delay=2**31 - 1)(lambda given, _ctx: given)
    if core in WITH_MAPS:
        flow.map(slug="root", max_attempts=9)(lambda element, _ctx: element)
        flow.map(first, "inner", start_delay=6)(lambda element, _ctx: element)
    with databases.database(core) as database:
        for statement in compile_flow(flow.shape):
            database.connection.execute(statement.encode())
        with connect(database.url) as connection:
            stored = execute(connection, stored_flow("flow"))
    assert stored is not None
    assert stored.shape == flow.shape
