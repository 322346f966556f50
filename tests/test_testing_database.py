"""The database in parts is the model's database: the same calls on the whole leave the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgflow_ref import profiles
from pgflow_ref.model import Refusal, State, apply, calls
from pgflow_ref.model.rows import SECOND
from pgflow_ref.testing.database import CoreRefused, Database, Due

if TYPE_CHECKING:
    from pgflow_ref.model import Profile

WORKER = UUID(int=1)


class Both:
    """A database in parts, and what the model makes of the same calls."""

    def __init__(self, profile: Profile) -> None:
        self.parts = Database(profile)
        self.whole = State()
        self.profile = profile
        self.events: list[object] = []

    def apply(self, call: calls.Call) -> Any:
        """Do a call on the whole, in no time: its rows, or why it is refused."""
        reply = apply(self.whole, call, self.profile)
        self.whole = reply.state._replace(clock=self.whole.clock)
        self.events.extend(reply.events)
        return list(reply.rows) if reply.refusal is None else reply.refusal

    def define(self, call: calls.CreateFlow | calls.AddStep | calls.RegisterWorker) -> None:
        self.apply(call)
        self.parts.define(call)

    def check(self) -> None:
        assert self.parts.state == self.whole
        assert self.parts.events == self.events


def outcome(call: Any) -> Any:
    try:
        return call()
    except CoreRefused as error:
        return error.refusal


def flows(both: Both) -> None:
    """Two flows that share a queue, and one with as many kinds of steps as the core has."""
    add, core = both.define, both.profile.behaviours
    for slug in ("shared", "Shared"):
        add(calls.CreateFlow(slug, max_attempts=2, base_delay=1))
        add(calls.AddStep(slug, "only"))
    add(calls.CreateFlow("large", max_attempts=2, base_delay=1))
    if "map_steps" in core:
        add(calls.AddStep("large", "each", step_type="map"))
        add(calls.AddStep("large", "again", ("each",), step_type="map"))
    else:
        add(calls.AddStep("large", "each"))
        add(calls.AddStep("large", "again", ("each",)))
    late: dict[str, Any] = {"start_delay": 4} if "start_delay" in core else {}
    add(calls.AddStep("large", "late", ("each",), **late))
    add(calls.AddStep("large", "last", ("again", "late"), max_attempts=1))
    add(calls.RegisterWorker(WORKER, "large", "large"))


SLUGS = ("shared", "Shared", "large")
MOVES = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(SLUGS), st.sampled_from(["[]", "[1,2,3]", "7"])),
    st.tuples(st.just("start as"), st.sampled_from(SLUGS), st.integers(0, 2)),
    st.tuples(st.just("read"), st.sampled_from(SLUGS), st.integers(0, 5)),
    st.tuples(st.just("finish"), st.integers(0, 5), st.sampled_from(["[1, 2]", "{}", None])),
    st.tuples(st.just("fail"), st.integers(0, 5), st.none()),
    st.tuples(st.just("hide"), st.integers(0, 5), st.integers(0, 9)),
    st.tuples(st.just("pass"), st.sampled_from([1, 1_000, SECOND, 2 * SECOND]), st.none()),
)


@pytest.mark.parametrize("core", profiles.known())
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_parts_and_whole(core: str, data: st.DataObject) -> None:
    both = Both(profiles.load(core).profile)
    flows(both)
    for move in data.draw(st.lists(MOVES, min_size=5, max_size=40)):
        play(both, move)
    both.check()
    for slug in SLUGS:
        expected = waiting(both.whole, slug)
        assert both.parts.queued(slug) == expected
        assert both.parts.first(slug) == (expected[0] if expected else None)


def play(both: Both, move: tuple[Any, Any, Any]) -> None:
    parts = both.parts
    tasks = [task for run in both.whole.runs.values() for task in run.tasks.values()]
    match move:
        case "start", slug, text:
            rows = both.apply(calls.StartFlow(slug, text, None))
            got = outcome(lambda: parts.start_flow(slug, text, None))
            assert got == (rows if isinstance(rows, Refusal) else rows[0].run_id)
        case "start as", slug, number:
            both.apply(calls.StartFlow(slug, "[4]", UUID(int=number)))
            outcome(lambda: parts.start_flow(slug, "[4]", UUID(int=number)))
        case "read", slug, hide:
            numbers = [row.msg_id for row in both.apply(calls.Read(slug, hide, 1))]
            assert parts.read(slug, hide) == numbers
            for number in numbers:
                records = both.apply(calls.StartTasks(slug, (number,), WORKER))
                assert list(parts.start_task(slug, number, WORKER)) == records
        case ("finish" | "fail") as kind, index, output if tasks:
            run_id, step, number = tasks[index % len(tasks)][1:4]
            call: Any = calls.FailTask(run_id, step, number, "no")
            if kind == "finish":
                call = calls.CompleteTask(run_id, step, number, output)
            refused = both.apply(call)
            assert outcome(lambda: parts.finish(call)) == (
                refused if isinstance(refused, Refusal) else None
            )
        case "hide", index, seconds if tasks:
            slug, number = tasks[index % len(tasks)].flow_slug, tasks[index % len(tasks)].message_id
            if number in both.whole.queues[slug.lower()].messages:
                both.apply(calls.SetVt(slug, number, seconds))
                parts.hide(slug, number, seconds)
        case "pass", duration, _:
            both.whole = both.whole._replace(clock=both.whole.clock + duration)
            parts.advance(duration)


def waiting(state: State, slug: str) -> list[Due]:
    """The queued tasks of a flow, by the time and the message that they wait for."""
    messages = state.queues[slug.lower()].messages
    found = [
        (messages[task.message_id].vt, task.message_id, task)
        for run in state.runs.values()
        for task in run.tasks.values()
        if task.flow_slug == slug and task.status == "queued" and task.message_id in messages
    ]
    return [Due(vt - 1_000, task) for vt, _, task in sorted(found, key=lambda one: one[:2])]


def test_a_transaction_is_undone_as_a_whole() -> None:
    both = Both(profiles.load("0.8.1").profile)
    flows(both)
    first = both.parts.start_flow("shared", "1", None)
    before, events = both.parts.state, list(both.parts.events)
    with pytest.raises(ZeroDivisionError), both.parts.transaction():  # noqa: PT012  # as a whole
        both.parts.start_flow("large", "[1, 2]", None)
        with both.parts.transaction():
            both.parts.hide("shared", 1, 60)
        assert both.parts.new_ids(1) != [first]
        raise ZeroDivisionError
    assert both.parts.state == before
    assert both.parts.events == events
    assert both.parts.first("large") is None
    due = both.parts.first("shared")
    assert due is not None
    assert due.visible_at == both.parts.clock


def test_a_transaction_inside_another_is_undone_alone() -> None:
    both = Both(profiles.load("0.8.1").profile)
    flows(both)
    with both.parts.transaction():
        kept = both.parts.start_flow("shared", "1", None)
        with pytest.raises(CoreRefused), both.parts.transaction():  # noqa: PT012  # as a whole
            both.parts.start_flow("shared", "2", None)
            both.parts.start_flow("shared", "3", kept)
    assert list(both.parts.runs) == [kept]
    assert [due.task.run_id for due in both.parts.queued("shared")] == [kept]
