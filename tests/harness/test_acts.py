"""What acts do to tasks and workers, with a database that answers what a test says."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from conformance.harness.acts import ACTS, is_calm, perform
from conformance.harness.adapters import Adapter
from conformance.harness.cases import Case, RunOf
from conformance.harness.databases import Database
from conformance.harness.processes import WorkerProblem, WorkerProcess
from conformance.harness.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CASE = Case(
    id="some.case",
    promise="It works.",
    reference="nowhere",
    flow={"slug": "flow", "steps": [{"slug": "a", "handler": []}]},
    worker={},
    runs=(RunOf(1, {}), RunOf(2, {})),
    acts=({"add": {"slug": "b", "depends_on": ["a"]}},),
    within=0.2,
)


class Play(Stage):
    """A stage whose database is a function from the statement and its names to a value."""

    answer: Callable[[str, Mapping[str, Any]], object]

    def value(self, statement: str, more: Mapping[str, Any] | None = None) -> Any:
        return self.answer(statement, {**self.names(), **(more or {})})


@pytest.fixture
def stage(tmp_path: Path) -> Play:
    """Two runs, and nobody at work."""
    adapters = [Adapter("sh", "shell", ("true",))]
    play = Play(CASE, adapters, Database("postgresql://nowhere"), tmp_path, 1.0, ExitStack())
    play.run_ids = ["one", "two"]
    return play


def answers(stage: Play, *values: object) -> list[tuple[str, Mapping[str, Any]]]:
    """Let the database give these answers, the last one for ever; what it was asked."""
    asked: list[tuple[str, Mapping[str, Any]]] = []

    def answer(statement: str, names: Mapping[str, Any]) -> object:
        asked.append((statement, names))
        return values[min(len(asked), len(values)) - 1]

    stage.answer = answer
    return asked


# The worker that the harness plays.


def test_its_first_claim_registers_it(stage: Play) -> None:
    asked = answers(stage, "an-id", 1, 1)
    perform(stage, [{"claim": {"step": "a"}}, {"claim": {"step": "a", "run": 2, "index": 3}}])
    assert stage.role_ids() == {"harness": "an-id"}
    (registers, _), (_, first), (_, second) = asked
    assert "INSERT INTO pgflow.workers" in registers
    wanted = ("run_id", "step", "index", "harness")
    assert [first[name] for name in wanted] == ["one", "a", 0, "an-id"]
    assert [second[name] for name in wanted] == ["two", "a", 3, "an-id"]


def test_what_it_cannot_claim_ends_the_case(stage: Play) -> None:
    answers(stage, "an-id", 0, "started 1")
    with pytest.raises(WorkerProblem, match="cannot claim step a: it is started 1"):
        perform(stage, [{"claim": {"step": "a"}}])


def test_it_completes_and_fails(stage: Play) -> None:
    asked = answers(stage, None)
    perform(stage, [{"complete": {"step": "a", "output": [None, "ä"]}}])
    perform(stage, [{"fail": {"step": "a", "run": 2, "error": "no"}}])
    (completes, first), (fails, second) = asked
    assert "pgflow.complete_task" in completes
    assert (first["run_id"], first["output"]) == ("one", '[null, "ä"]')
    assert "pgflow.fail_task" in fails
    assert (second["run_id"], second["error"]) == ("two", "no")


def test_a_step_is_added(stage: Play) -> None:
    asked = answers(stage, None)
    perform(stage, [{"add": {"slug": "b", "depends_on": ["a"]}}])
    assert [statement for statement, _ in asked] == [
        "SELECT pgflow.add_step('flow', 'b', ARRAY['a']);"
    ]


# Waiting.


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (["queued 0", "queued 1"], {"status": "queued", "attempts": 1}),
        ([None, "started 1", "completed 2"], {"status": "completed"}),
        (["started 1", "queued 1"], {"status": "queued", "attempts": 1}),
    ],
)
def test_a_task_is_waited_for(found: list[str | None], wanted: dict[str, Any], stage: Play) -> None:
    asked = answers(stage, *found)
    perform(stage, [{"wait": {"step": "a", "run": 2, **wanted}}])
    assert len(asked) == len(found)
    assert asked[0][1]["run_id"] == "two"


def test_a_task_that_never_comes_so_far_is_said(stage: Play) -> None:
    answers(stage, "queued 0")
    said = "step a of run 1 is queued after 1 attempts, not within"
    with pytest.raises(WorkerProblem, match=said):
        perform(stage, [{"wait": {"step": "a", "status": "queued", "attempts": 1}}])


def test_one_run_is_waited_for(stage: Play) -> None:
    asked = answers(stage, False, True)
    perform(stage, [{"wait": {"over": 2}}])
    assert [names["run_id"] for _, names in asked] == ["two", "two"]


# Messages one by one.


class Deliveries:
    """A connection that has so many messages with a queued task, and writes down what is asked."""

    def __init__(self, messages: list[tuple[object, ...]]) -> None:
        self.messages = messages
        self.delivered: list[object] = []

    def execute(self, _: object, values: object) -> Deliveries:
        if isinstance(values, list):
            self.delivered += values
        return self

    def fetchone(self) -> tuple[object, ...] | None:
        return self.messages.pop(0) if self.messages else None


@pytest.mark.parametrize(("most", "delivered"), [("all", [7, 9, 8]), (2, [7, 9]), (5, [7, 9, 8])])
def test_messages_are_delivered_one_by_one(
    most: str | int, delivered: list[int], stage: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Deliveries([("one", "a", 0, 0, 7), ("one", "b", 0, 0, 9), ("two", "a", 1, 2, 8)])
    monkeypatch.setattr(Database, "connection", there)
    asked = answers(stage, False, True)
    perform(stage, [{"deliver": most}])
    assert there.delivered == delivered
    assert [names["step"] for _, names in asked][:2] == ["a", "a"]  # once more, as it was not done
    assert asked[0][1]["attempts"] == 0


def test_a_message_that_nobody_takes_is_said(stage: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "connection", Deliveries([("one", "a", 3, 0, 7)]))
    answers(stage, False)
    with pytest.raises(WorkerProblem, match="task 3 of step a is done, or failed, not within"):
        perform(stage, [{"deliver": "all"}])


# Ends.


class Quiet(WorkerProcess):
    """Writes down what is asked of it."""

    asked: list[tuple[object, ...]]

    def ask_to_stop(self) -> None:
        self.asked.append(("ask",))

    def wait_stopped(self, within: float, since: str) -> None:
        self.asked.append(("wait", within, since))


def test_a_worker_is_asked_to_stop_and_its_end_is_waited_for_later(
    stage: Play, tmp_path: Path
) -> None:
    worker = Quiet(stage.adapters[0], {}, tmp_path / "log")
    worker.asked = []
    stage.roles["first"] = worker
    perform(stage, [{"ask": "first"}, {"wait": {"end": "first"}}, {"stop": "first"}])
    assert worker.asked == [
        ("ask",),
        ("wait", 0.2, "when it should have ended"),
        ("ask",),
        ("wait", 0.2, "after SIGTERM"),
    ]


def test_nobody_needs_an_excuse_for_these_acts() -> None:
    assert {verb for verb in ACTS if is_calm({verb: "first"})} >= {"ask", "claim", "fail", "add"}
    assert is_calm({"wait": {"end": "first"}})
    assert not is_calm({"wait": {"exit": "first"}})
    assert not is_calm({"kill": "first"})
