"""The model of the core by itself; that it equals the SQL is shown in `conformance/core/`."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from conformance.core.examples import examples
from conformance.core.history import Counts, History
from conformance.core.machine import play_one
from pgflow_ref.model import BEHAVIOURS, Refusal, State, apply, calls, rows, tables
from pgflow_ref.profiles import known, load

if TYPE_CHECKING:
    from pgflow_ref.model.calls import Call

WORKER = UUID(int=1)
RUN = UUID(int=2)


class Core:
    """A database on the model, for tests to read well."""

    def __init__(self, core: str = "0.8.1") -> None:
        self.profile = load(core).profile
        self.state = State()
        self.events: list[rows.Event] = []
        self.call(calls.RegisterWorker(WORKER, "f", "test"))
        self.call(calls.CreateFlow("f"))

    def call(self, call: Call) -> tuple[Any, ...]:
        reply = apply(self.state, call, self.profile)
        assert reply.refusal is None, reply.refusal
        self.state = reply.state
        self.events += reply.events
        return reply.rows

    def refusal(self, call: Call) -> Refusal | None:
        return apply(self.state, call, self.profile).refusal

    def steps(self, **steps: tuple[str, ...]) -> None:
        for slug, needs in steps.items():
            self.call(calls.AddStep("f", slug, needs))

    def start(self, given: str = "{}") -> None:
        self.call(calls.StartFlow("f", given, RUN))

    def claim(self) -> list[rows.Record]:
        messages = self.call(calls.Read("f", 30, 10))
        return list(self.call(calls.StartTasks("f", tuple(m.msg_id for m in messages), WORKER)))

    @property
    def run(self) -> rows.Run:
        return self.state.runs[RUN]


def test_a_run_from_beginning_to_end() -> None:
    core = Core()
    core.steps(a=(), b=("a",), c=("a",), d=("b", "c"))
    core.start('{"x": 1}')
    inputs = {}
    while core.run.row.status == "started":
        for record in core.claim():
            inputs[record.step_slug] = record.input
            output = f'"{record.step_slug} done"'
            core.call(calls.CompleteTask(RUN, record.step_slug, record.task_index, output))
    assert list(inputs) == ["a", "b", "c", "d"]
    assert inputs["d"] == '{"run": {"x": 1}, "b": "b done", "c": "c done"}'
    assert core.run.row.output == '{"d": "d done"}'
    assert [event.event for event in core.events] == [
        "run:started",
        "step:a:started",
        "step:a:completed",
        "step:b:started",
        "step:c:started",
        "step:b:completed",
        "step:c:completed",
        "step:d:started",
        "step:d:completed",
        "run:completed",
    ]
    assert not core.state.queues["f"].messages
    assert len(core.state.queues["f"].archive) == 4


def test_a_retry_is_hidden_for_base_delay_times_two_to_the_attempts() -> None:
    core = Core()
    core.call(calls.AddStep("f", "a", base_delay=3))
    core.start()
    for attempt in (1, 2):
        core.claim()
        core.call(calls.FailTask(RUN, "a", 0, "no"))
        (message,) = core.state.queues["f"].messages.values()
        assert message.vt - core.state.clock == 3 * 2**attempt * rows.SECOND
        core.call(calls.Pass(3 * 2**attempt * rows.SECOND))
    assert core.claim()[0].step_slug == "a"
    core.call(calls.FailTask(RUN, "a", 0, "at last"))
    assert (core.run.row.status, core.run.states["a"].error_message) == ("failed", "at last")
    assert core.run.tasks["a", 0].attempts_count == 3


def test_a_map_step_has_a_task_for_each_element() -> None:
    core = Core()
    core.steps(list=())
    core.call(calls.AddStep("f", "each", ("list",), step_type="map"))
    core.steps(all=("each",))
    core.start()
    core.claim()
    core.call(calls.CompleteTask(RUN, "list", 0, '["x", null]'))
    assert [record.input for record in core.claim()] == ['"x"', "null"]
    core.call(calls.CompleteTask(RUN, "each", 1, "1"))
    core.call(calls.CompleteTask(RUN, "each", 0, None))
    assert core.claim()[0].input == '{"run": {}, "each": [null, 1]}'


@pytest.mark.parametrize("core", ["0.5.0", "0.8.1"])
@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        (calls.CreateFlow(None), Refusal("23502")),
        (calls.CreateFlow("run"), Refusal("23514", "slug_is_valid")),
        (calls.CreateFlow("f" * 48), Refusal("P0001")),
        (calls.CreateFlow("f_pkey"), Refusal("42809")),
        (
            calls.CreateFlow("g", max_attempts=-1),
            Refusal("23514", "opt_max_attempts_is_nonnegative"),
        ),
        (calls.AddStep("g", "a"), Refusal("23503", "steps_flow_slug_fkey")),
        (calls.AddStep("f", "a", ("a",)), Refusal("23514", "deps_check")),
        (calls.AddStep("f", "a", ("b",)), Refusal("23503", "deps_flow_slug_dep_slug_fkey")),
        (calls.StartFlow("g", "{}"), Refusal("23503", "runs_flow_slug_fkey")),
        (calls.StartFlow("f", None), Refusal("23502")),
        (calls.RegisterWorker(WORKER, "f", "twice"), Refusal("23505", "workers_pkey")),
        (calls.Read("g", 1, 1), Refusal("42P01")),
        (calls.Read("f", 1, -1), Refusal("2201W")),
        (calls.CalculateRetryDelay(2**31 - 1, 1), Refusal("22003")),
        (calls.CalculateRetryDelay(1, 2000), Refusal("22003")),
        (calls.SetVtBatch("f", (1,), ()), Refusal("P0001")),
    ],
)
def test_what_the_database_would_refuse(core: str, call: Call, refusal: Refusal) -> None:
    assert Core(core).refusal(call) == refusal


def test_a_refused_call_changes_nothing_but_the_time() -> None:
    core = Core()
    reply = apply(core.state, calls.AddStep("f", "a", ("b",)), core.profile)
    assert reply.rows == reply.events == ()
    assert reply.state == core.state._replace(clock=reply.state.clock)
    assert reply.state.clock > core.state.clock


def test_a_call_of_the_future_is_refused() -> None:
    assert Core("0.5.0").refusal(calls.AddStep("f", "a", start_delay=1)) == Refusal("42883")
    assert Core("0.6.1").refusal(calls.AddStep("f", "a", step_type="single")) == Refusal("42883")
    assert Core("0.6.1").refusal(calls.CascadeCompleteTasklessSteps(RUN)) == Refusal("42883")


@pytest.mark.parametrize("core", known())
def test_each_behaviour_of_a_version_has_an_example(core: str) -> None:
    found = examples(core)
    assert found.keys() == load(core).profile.behaviours <= BEHAVIOURS


@pytest.mark.parametrize("core", known())
def test_whatever_is_called(core: str) -> None:
    """Nothing raises; the same call on the same state gives the same; counters stay sensible."""
    profile, counts = load(core).profile, Counts()
    for seed in range(40):
        history = History(None, profile, counts)
        play_one(history, random.Random(seed))
        for call, before in history.calls:
            assert apply(before, call, profile) == apply(before, call, profile)
        _check(history.state)
    assert counts.calls > 40 * 40


def _check(state: State) -> None:
    for run in state.runs.values():
        done = sum(one.status == "completed" for one in run.states.values())
        assert run.row.remaining_steps == len(run.states) - done
        for slug, one in run.states.items():
            tasks = [task for task in run.tasks.values() if task.step_slug == slug]
            assert bool(tasks) <= (one.status != "created")
            worked_on = [task for task in tasks if task.status in ("started", "completed")]
            assert all(task.attempts_count > 0 for task in worked_on)


def test_a_failed_run_is_closed_to_inner_functions_too() -> None:
    core = Core()
    core.call(calls.AddStep("f", "a", max_attempts=1))
    core.start()
    core.claim()
    core.call(calls.FailTask(RUN, "a", 0, "no"))
    before = core.run
    core.call(calls.StartReadySteps(RUN))
    core.call(calls.MaybeCompleteRun(RUN))
    assert core.call(calls.CascadeCompleteTasklessSteps(RUN)) == (0,)
    assert core.run == before


def test_tables_show_what_a_select_would() -> None:
    core = Core("0.6.1")
    core.steps(a=(), b=("a",))
    core.start()
    found = tables.rows(core.state, core.profile)
    assert [(row["step_slug"], row["deps_count"]) for row in found["steps"]] == [("a", 0), ("b", 1)]
    assert found["deps"][0]["dep_slug"] == "a"
    assert found["workers"][0]["deprecated_at"] is None
    assert "initial_tasks" not in found["step_states"][0]
    assert found["runs"][0]["started_at"] == "2026-01-01T00:00:00.004+00:00"


def test_a_message_is_shown_as_a_select_from_its_queue_and_archive_would() -> None:
    core = Core()
    core.steps(a=())
    core.start()
    queue = core.state.queues["f"]
    shown = tables.message_as_json(queue.messages[1])
    assert list(shown) == [*tables.MESSAGE, "headers"]
    assert shown["message"] == {
        "flow_slug": "f",
        "run_id": str(RUN),
        "step_slug": "a",
        "task_index": 0,
    }
    assert (shown["msg_id"], shown["read_ct"], shown["headers"]) == (1, 0, None)
    core.claim()
    core.call(calls.CompleteTask(RUN, "a", 0, None))
    (archived,) = core.state.queues["f"].archive.values()
    assert "archived_at" in tables.message_as_json(archived, tables.ARCHIVED)


def test_tables_can_tell_null_from_null() -> None:
    core = Core()
    core.steps(a=(), b=())
    core.start("null")
    core.claim()
    core.call(calls.CompleteTask(RUN, "a", 0, None))
    core.call(calls.CompleteTask(RUN, "b", 0, "null"))
    found = tables.rows(core.state, core.profile)
    assert [row["output"] for row in found["step_tasks"]] == [None, None]
    found = tables.rows(core.state, core.profile, boxed=True)
    assert [row["output"] for row in found["step_tasks"]] == [None, [None]]
    assert found["runs"][0]["input"] == [None]


def test_a_step_that_came_later_can_violate_a_type() -> None:
    core = Core()
    core.steps(a=())
    core.call(calls.AddStep("f", "m", ("a",), step_type="map"))
    core.start()
    core.steps(z=())
    core.call(calls.AddStep("f", "m", ("z",), step_type="map"))
    assert core.call(calls.CompleteTask(RUN, "z", 0, '"x"')) == ()
    assert core.run.row.status == "failed"
    assert "z" not in core.run.states
    assert [event.event for event in core.events][-2:] == ["run:failed", "step:z:failed"]


def test_instants_are_microseconds_of_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=timezone(timedelta(hours=2)))
    instant = rows.instant_of(moment)
    assert rows.datetime_of(instant) == moment
    assert rows.text_of(instant) == "2026-01-02T01:04:05.0006+00:00"


def test_an_omitted_argument_says_so() -> None:
    assert repr(calls.CreateFlow("f", base_delay=None)) == (
        "CreateFlow(flow_slug='f', max_attempts=OMITTED, base_delay=None, timeout=OMITTED)"
    )
