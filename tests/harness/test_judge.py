"""What the judge says of what was seen: each thing that can be wrong, alone."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.harness import lines
from conformance.harness.adapters import Adapter
from conformance.harness.cases import Case, RunOf
from conformance.harness.invariants import TaskId
from conformance.harness.judge import Seen, problems
from conformance.harness.processes import WorkerProcess
from conformance.harness.values import same
from tests.harness.histories import (
    COMPLETED,
    FAILED,
    RUN,
    after,
    claimed,
    history,
    instead,
    message,
    of_run,
    queued,
    task,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPECT = {
    "status": "completed",
    "output": {"b": {"n": [1, True]}},
    "steps": {
        "a": {"status": "completed", "attempts": 1, "input": {"split": 7, "whole": {"run": 7}}},
        "b": {"status": "completed", "attempts": 2, "error": "not yet", "error_holds": "yet"},
    },
}
FLOW = {"slug": "flow", "steps": [{"slug": "a"}, {"slug": "b", "depends_on": ["a"]}]}
CASE = Case(
    id="some.case",
    promise="It works.",
    reference="nowhere",
    flow=FLOW,
    worker={},
    runs=(RunOf(7, EXPECT),),
)


HELLO = {
    "type": "hello",
    "contract": 1,
    "name": "any",
    "language": "any",
    "version": "1",
    "handler_input": "split",
}


def call(slug: str, attempt: int, argument: object, **other: object) -> dict[str, Any]:
    names = {"type": "call", "run_id": RUN, "step_slug": slug, "task_index": 0}
    return {**names, "attempt": attempt, "input": argument, **other}


def worker(
    name: str, *calls: dict[str, Any], language: str = "", handler_input: str = "split"
) -> WorkerProcess:
    """A worker that has never run, and has said this."""
    adapter = Adapter(name, language or name, ("false",))
    lines: list[dict[str, Any]] = [
        {**HELLO, "handler_input": handler_input},
        {"type": "ready", "worker_id": name},
        *calls,
        {"type": "stopped"},
    ]
    return WorkerProcess(adapter, {}, Path("nowhere"), lines)


A, B1, B2 = call("a", 1, 7), call("b", 1, {"a": 1}), call("b", 2, {"a": 1})

GOOD = Seen(
    case=CASE,
    workers=(worker("w1", A, B1), worker("w2", B2)),
    run_ids=(RUN,),
    runs={RUN: ("completed", {"b": {"n": [1, True]}})},
    tasks={
        TaskId(RUN, "a", 0): {"status": "completed", "attempts": 1, "error": None, "output": 1},
        TaskId(RUN, "b", 0): {
            "status": "completed",
            "attempts": 2,
            "error": "not yet",
            "output": {"n": [1, True]},
        },
    },
    steps={(RUN, "a"): "completed", (RUN, "b"): "completed"},
    stopped={"w1": True, "w2": True},
    history=history(COMPLETED),
    sent={RUN: ["run:started", "step:b:started", "step:b:completed", "run:completed"]},
)


def seen(**other: Any) -> Seen:
    """What was seen when all went well, but for this."""
    return replace(GOOD, **other)


def expecting(run: Mapping[str, Any] | None = None, **whole: Any) -> Case:
    return replace(CASE, runs=(RunOf(7, EXPECT if run is None else run),), expect=whole)


def of_step(slug: str, **wanted: Any) -> Case:
    return expecting({"steps": {slug: wanted}})


def with_task(slug: str, **columns: Any) -> dict[TaskId, Mapping[str, Any]]:
    tasks = dict(GOOD.tasks)
    tasks[TaskId(RUN, slug, 0)] = {**tasks[TaskId(RUN, slug, 0)], **columns}
    return tasks


def test_what_went_well_has_no_problems() -> None:
    case = expecting(at_once=1, stopped=True, share=0.5)
    assert problems(seen(case=case)) == []


ROLES = {"first": "w1", "second": "w2", "harness": None}
RETRIED = after(
    after(
        instead(
            COMPLETED,
            "b is to be tried again",
            task(5, "b", status="queued", error_message="not yet"),
        ),
        "b is claimed",
        message(3, 2, 0, 0),
        message(4, 2, 1, 14 + 30),
    ),
    "b is to be tried again",
    message(5, 2, 1, 16 + 2),
)
"""The same with a message that was read, and hidden after a failure."""


WRONG: dict[str, tuple[Seen, list[str]]] = {
    "an invariant": (
        seen(history=history(instead(COMPLETED, "a is claimed", task(2, "a", status="started")))),
        ["a[0] of run 01234567 went from attempt 0 to 0", "was claimed by None"],
    ),
    "the run's status": (
        seen(runs={RUN: ("failed", {"b": {"n": [1, True]}})}),
        ["run 1: it is failed, not completed ('b: not yet')"],
    ),
    "the run is not there": (
        seen(runs={}),
        ["run 1: it is missing, not completed", "run 1: its output is None, not {'b'"],
    ),
    "the run's output": (
        seen(runs={RUN: ("completed", {"b": {"n": [1, 1]}})}),
        ["run 1: its output is {'b': {'n': [1, 1]}}, not {'b': {'n': [1, True]}}"],
    ),
    "no output": (
        seen(runs={RUN: ("completed", None)}),
        ["run 1: its output is None, not {'b'"],
    ),
    "an output where there should be none": (
        seen(case=expecting({"output": None})),
        ["run 1: its output is {'b'"],
    ),
    "a step's status": (
        seen(steps={**GOOD.steps, (RUN, "b"): "started"}),
        ["run 1: step b: it is started, not completed"],
    ),
    "a step that is not there": (
        seen(case=of_step("c", status="created")),
        ["run 1: step c: "],
    ),
    "a step that is not there, and nothing is said of its status": (
        seen(case=of_step("c", attempts=0)),
        ["run 1: step c: "],
    ),
    "attempts": (
        seen(case=of_step("b", attempts=1)),
        ["run 1: step b: it took 2 attempts, not 1"],
    ),
    "another error": (
        seen(case=of_step("b", error="never")),
        ["run 1: step b: its error is 'not yet', not 'never'"],
    ),
    "no error": (
        seen(case=of_step("a", error="never")),
        ["run 1: step a: its error is None, not 'never'"],
    ),
    "an error without the text": (
        seen(case=of_step("b", error_holds="timed out")),
        ["run 1: step b: its error is 'not yet', without 'timed out'"],
    ),
    "an empty error where any would do": (
        seen(case=of_step("a", error_holds="")),
        ["run 1: step a: it has no error text"],
    ),
    "the handler's argument": (
        seen(workers=(worker("w1", call("a", 1, "7"), B1), worker("w2", B2))),
        ["run 1: step a: its handler saw '7', not 7"],
    ),
    "the handler's argument in the other form": (
        seen(workers=(worker("w1", A, B1, handler_input="whole"), worker("w2", B2))),
        ["run 1: step a: its handler saw 7, not {'run': 7}"],
    ),
    "the handler's argument at the second attempt": (
        seen(
            case=of_step("b", input={"split": {"a": 1}, "whole": None}),
            workers=(worker("w1", A, B1), worker("w2", call("b", 2, {}))),
        ),
        ["run 1: step b: its handler saw {}, not {'a': 1}"],
    ),
    "a form of arguments that the contract does not know": (
        seen(workers=(worker("w1", A, B1, handler_input="raw"), worker("w2", B2))),
        ["raw"],
    ),
    "a call that is missing": (
        seen(workers=(worker("w1", A, B1), worker("w2"))),
        ["b[0] of run 01234567: 2 attempts, but 1 calls of its handler"],
    ),
    "a call too many": (
        seen(workers=(worker("w1", A, A, B1), worker("w2", B2))),
        ["w1: a[0] of run 01234567: it called 2, and had started 1 of them"],
    ),
    "a call of nothing": (
        seen(workers=(worker("w1", A, B1, call("c", 1, 7)), worker("w2", B2))),
        ["c[0] of run 01234567: its handler was called, but there is no such task"],
    ),
    "a call by a worker that had not claimed the task": (
        seen(workers=(worker("w1", A, B1, B2), worker("w2"))),
        ["b[0] of run 01234567"],
    ),
    "a call with the number of another attempt": (
        seen(workers=(worker("w1", A, B1), worker("w2", call("b", 1, {"a": 1})))),
        ["b[0] of run 01234567"],
    ),
    "a call whose task index is no number": (
        seen(workers=(worker("w1", A, B1, call("a", 1, 7, task_index=None)), worker("w2", B2))),
        [""],
    ),
    "a call whose attempt is no number": (
        seen(workers=(worker("w1", call("a", 1, 7) | {"attempt": [1]}, B1), worker("w2", B2))),
        ["a[0] of run 01234567"],
    ),
    "a run that nobody asked for": (
        seen(runs={**GOOD.runs, "another": ("completed", {})}),
        ["another"],
    ),
    "one run given out as two": (
        seen(run_ids=(RUN, RUN), case=replace(CASE, runs=CASE.runs * 2)),
        [RUN[:8]],
    ),
    "too many tasks at once": (
        seen(
            case=expecting(at_once=1),
            history=history({k: v for k, v in COMPLETED.items() if k != "a's task is completed"}),
        ),
        ["2 tasks ran at the same time, not 1"],
    ),
    "the output of a step": (
        seen(case=of_step("b", output={"n": [1, 1]})),
        ["run 1: step b: its output is {'n': [1, True]}, not {'n': [1, 1]}"],
    ),
    "the output of a step without tasks": (
        seen(case=of_step("a", output=0), tasks={}),
        ["run 1: step a: its output is None, not 0"],
    ),
    "the statuses that a task went through": (
        seen(case=of_step("b", statuses=["queued", "started", "completed"])),
        ["b: it was queued, then started, then queued, then started, then completed, not queued"],
    ),
    "how many tasks a step has": (
        seen(case=of_step("a", tasks=[{}, {}])),
        ["run 1: step a: it has 1 tasks, not 2"],
    ),
    "the status of a task": (
        seen(case=of_step("a", tasks=[{"status": "failed"}])),
        ["run 1: step a: task 0: it is completed, not failed"],
    ),
    "the status of a task that is missing": (
        seen(case=of_step("a", tasks=[{}, {"status": "failed"}])),
        ["run 1: step a: task 1: it is missing, not failed"],
    ),
    "the output of a task": (
        seen(case=of_step("a", tasks=[{"output": True}])),
        ["run 1: step a: task 0: its output is 1, not True"],
    ),
    "the attempts of a task": (
        seen(case=of_step("b", tasks=[{"attempts": 1}])),
        ["run 1: step b: task 0: it took 2 attempts, not 1"],
    ),
    "what the handler of one task saw": (
        seen(case=of_step("a", tasks=[{"input": {"split": 8, "whole": 8}}])),
        ["run 1: step a: task 0: its handler saw 7, not 8"],
    ),
    "no call of one task": (
        seen(case=of_step("a", tasks=[{}, {"input": {"split": 7, "whole": 7}}])),
        ["run 1: step a: task 1: its handler was not called"],
    ),
    "an event too many": (
        seen(
            case=expecting({"events": ["run:started", "step:b:completed", "run:completed"]}),
            sent={RUN: ["run:started", *["step:b:completed"] * 2, "run:completed"]},
        ),
        ["run 1: the events ['run:started', 'step:b:completed', 'step:b:completed', 'run:c"],
    ),
    "no events": (
        seen(case=expecting({"events": ["run:failed"]}), sent={}),
        ["run 1: the events [] were sent, not ['run:failed']"],
    ),
    "a message too few in the archive": (
        seen(case=expecting(archived=3)),
        ["2 messages are in its archive at the end, not 3"],
    ),
    "no message in the queue": (
        seen(case=expecting(messages=1)),
        ["0 messages are in the queue at the end, not 1"],
    ),
    "a worker that has not stopped": (
        seen(case=expecting(stopped=True), stopped={"w1": True, "w2": False}),
        ["w2: its row in pgflow.workers does not say that it stopped"],
    ),
    "who had a task": (
        seen(case=of_step("b", by="first"), tasks=with_task("b", worker="w2"), roles=ROLES),
        ["run 1: step b: worker w2 had it last, not first (w1)"],
    ),
    "how often a handler was called": (
        seen(case=of_step("b", calls=1)),
        ["run 1: step b: its handler was called 2 times, not 1"],
    ),
    "the attempts that a handler saw": (
        seen(case=of_step("b", saw=[1, 3])),
        ["run 1: step b: its handler saw the attempts [1, 2], not [1, 3]"],
    ),
    "the error of each attempt": (
        seen(case=of_step("b", errors=["first", "second"]), history=history(RETRIED)),
        ["run 1: step b: its attempts failed with ['not yet'], not ['first', 'second']"],
    ),
    "the delay after an attempt": (
        seen(case=of_step("b", delays=[4]), history=history(RETRIED)),
        ["run 1: step b: its message was hidden for [2] s after its failures, not [4]"],
    ),
    "for how long a read hides a message": (
        seen(case=expecting(hidden=31), history=history(RETRIED)),
        ["a read hid message 2 for 30 s, not 31"],
    ),
    "a worker without a row": (
        seen(case=expecting(stopped=True), stopped={"w1": True}),
        ["w2: its row in pgflow.workers does not say that it stopped"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str) -> None:
    given, expected = WRONG[name]
    said = problems(given)
    assert said
    for words in expected:
        assert any(words in sentence for sentence in said), said


@pytest.mark.parametrize(
    "name",
    ["the run's output", "attempts", "no error", "a step's status", "the output of a task"],
)
def test_only_what_is_wrong_is_said(name: str) -> None:
    given, expected = WRONG[name]
    assert len(problems(given)) == len(expected)


def test_what_is_not_expected_is_not_judged() -> None:
    nothing = expecting({"steps": {"a": {}}})
    assert problems(seen(case=nothing, runs={RUN: ("failed", 1)}, steps={(RUN, "a"): "?"})) == []


def test_what_is_expected_of_steps_tasks_events_and_messages_and_is_so() -> None:
    went = ["queued", "started", "queued", "started", "completed"]
    input_of = {"split": 7, "whole": 0}
    expect = {
        "events": ["run:started", "step:b:completed", "run:completed"],
        "steps": {
            "a": {"output": 1, "tasks": [{"output": 1, "input": input_of, "status": "completed"}]},
            "b": {"output": {"n": [1, True]}, "statuses": went, "tasks": [{"error": "not yet"}]},
        },
    }
    assert problems(seen(case=expecting(expect, archived=2, messages=0))) == []


def test_the_output_of_a_map_step_is_an_array() -> None:
    flow = {"slug": "flow", "steps": [{"slug": "a", "step_type": "map"}]}
    row = {"status": "completed", "attempts": 1, "error": None}
    tasks = {TaskId(RUN, "a", index): {**row, "output": index} for index in range(3)}

    def said(output: object) -> list[str]:
        case = replace(of_step("a", output=output), flow=flow)
        return problems(seen(case=case, tasks=tasks, history=history({}), workers=()))

    assert said([0, 1, 2]) == []
    assert said([0, 2, 1]) == ["run 1: step a: its output is [0, 1, 2], not [0, 2, 1]"]
    assert said(0) == ["run 1: step a: its output is [0, 1, 2], not 0"]


def test_what_is_as_expected_of_attempts_and_messages_is_no_problem() -> None:
    wanted = {"by": "second", "calls": 2, "saw": [1, 2]}
    case = expecting({"steps": {"b": {**wanted, "errors": ["not yet"], "delays": [2]}}})
    case = replace(case, expect={"hidden": 30})
    tasks = with_task("b", worker="w2")
    assert problems(seen(case=case, tasks=tasks, roles=ROLES, history=history(RETRIED))) == []


def test_a_worker_that_tells_no_attempts_is_not_judged_by_them() -> None:
    silent = [{**one, "attempt": None} for one in (A, B1, B2)]
    case = of_step("b", saw=[1, 3])
    assert (
        problems(seen(case=case, workers=(worker("w1", *silent[:2]), worker("w2", silent[2]))))
        == []
    )


def test_an_invariant_that_the_case_suspends_is_not_judged() -> None:
    broken = {name: change for name, change in COMPLETED.items() if "archived" not in name}
    assert problems(seen(history=history(broken)))
    case = replace(CASE, suspends=("archived_with_its_task",))
    assert problems(seen(case=case, history=history(broken))) == []


def test_a_step_that_only_the_database_has_needs_no_call() -> None:
    workers = (worker("w1", A), worker("w2"))
    assert problems(seen(workers=workers))
    case = replace(
        CASE, flow={**FLOW, "steps": FLOW["steps"][:1]}, acts=({"add": FLOW["steps"][1]},)
    )
    assert problems(seen(case=case, workers=workers)) == []


def test_a_long_value_is_shortened() -> None:
    (said,) = problems(seen(runs={RUN: ("completed", "x" * 10_000)}))
    assert len(said) < 1_000


# How much each worker did.


def shared(least: float, *languages: str) -> Seen:
    """Both workers of the good history, the first of which did one task and the second another."""
    calls: list[list[dict[str, Any]]] = [[A, B1], [B2], []]
    workers = [
        worker(f"w{number}", *said, language=language)
        for number, (language, said) in enumerate(zip(languages, calls, strict=False), 1)
    ]
    return seen(case=expecting(share=least), workers=workers)


def test_every_language_has_its_share() -> None:
    assert problems(shared(0.5, "python", "typescript")) == []


def test_a_language_that_did_nothing_proves_nothing() -> None:
    (said,) = problems(shared(0.01, "python", "typescript", "go"))
    assert said.startswith("go completed 0 of 2 tasks, less than 1%")


def test_two_workers_in_one_language_share_together() -> None:
    assert problems(shared(0.5, "python", "python")) == []
    assert problems(shared(0.5, "python", "go", "python")) == []


def test_a_little_less_than_the_share_is_too_little() -> None:
    said = problems(shared(0.51, "python", "typescript"))
    assert [sentence.split(" completed")[0] for sentence in said] == ["python", "typescript"]


def test_a_fleet_that_completed_nothing_has_no_share() -> None:
    idle = (worker("w1"), worker("w2"))
    nothing = seen(case=expecting({}, share=0.2), workers=idle, tasks={}, history=history({}))
    assert len(problems(nothing)) == 2


def test_a_worker_that_gives_itself_out_as_another_fails_the_case() -> None:
    twice = (worker("w1", A, B1), worker("w2", B2))
    twice[1].lines[1]["worker_id"] = "w1"
    assert problems(seen(case=expecting(share=0.2), workers=twice))


def test_a_worker_whose_id_is_no_text_fails_the_case() -> None:
    odd = (worker("w1", A, B1), worker("w2", B2))
    odd[1].lines[1]["worker_id"] = ["w2"]
    assert problems(seen(workers=odd))


# The order of a worker's lines.

READY, STOPPED = {"type": "ready", "worker_id": "w1"}, {"type": "stopped"}
LINES: dict[str, list[dict[str, Any]]] = {
    "no hello": [READY, A, B1, STOPPED],
    "hello after ready": [READY, HELLO, A, B1, STOPPED],
    "hello twice": [HELLO, HELLO, READY, A, B1, STOPPED],
    "another contract": [{**HELLO, "contract": 2}, READY, A, B1, STOPPED],
    "hello without a version": [
        {key: value for key, value in HELLO.items() if key != "version"},
        *(READY, A, B1, STOPPED),
    ],
    "a call without its input": [
        *(HELLO, READY, {key: value for key, value in A.items() if key != "input"}),
        *(B1, STOPPED),
    ],
    "a call that does not speak of attempts": [
        *(HELLO, READY, {key: value for key, value in A.items() if key != "attempt"}),
        *(B1, STOPPED),
    ],
    "a call before ready": [HELLO, A, READY, B1, STOPPED],
    "ready twice": [HELLO, READY, A, READY, B1, STOPPED],
    "a call after stopped": [HELLO, READY, A, STOPPED, B1],
}


@pytest.mark.parametrize("name", LINES)
def test_lines_out_of_order_are_a_problem(name: str) -> None:
    first = worker("w1")
    first.lines[:] = LINES[name]
    assert problems(seen(workers=(first, GOOD.workers[1])))


@pytest.mark.parametrize(
    ("said", "excused", "is_wrong"),
    [
        ([], True, False),
        ([HELLO], True, False),
        ([HELLO], False, True),
        ([READY], True, True),
        ([HELLO, READY], False, False),
    ],
)
def test_only_who_had_no_time_may_not_become_ready(
    said: list[dict[str, Any]], excused: bool, is_wrong: bool
) -> None:
    several = [worker("w1"), worker("w2")]
    for number, one in enumerate(several):
        one.lines[:] = [
            line | {"worker_id": f"w{number}"} if line is READY else line for line in said
        ]
    found = list(lines.problems(several, (), (), excused=excused))
    assert bool(found) is is_wrong, found


# A worker that is stopped during work.


def stopped_after(calls: int, runs: int, **status: int) -> Seen:
    """Tasks of a flow with one step: so many were completed, so many started, and so on."""
    flow = {"slug": "flow", "steps": [{"slug": "a"}]}
    case = replace(CASE, flow=flow, runs=(RunOf(1, {}),) * runs, expect={"finished": calls})
    ids = [f"run-{number}" for number in range(runs)]
    states = [name for name, count in status.items() for _ in range(count)]
    tasks = {
        TaskId(run_id, "a", 0): {"status": state, "attempts": int(state != "queued"), "error": None}
        for run_id, state in zip(ids, states, strict=True)
    }
    begun = [task.run_id for task, row in tasks.items() if row["attempts"]]
    story = {}
    for number, run_id in enumerate(begun):
        story[f"{number} is queued"] = of_run(run_id, queued(1, "a", number))
        story[f"{number} is claimed"] = of_run(run_id, claimed(2, "a", "w1"))
    return Seen(
        case=case,
        workers=(worker("w1", *(call("a", 1, 1, run_id=run_id) for run_id in begun)),),
        run_ids=ids,
        runs=dict.fromkeys(ids, ("started", None)),
        tasks=tasks,
        steps={},
        stopped={},
        history=history(story),
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (stopped_after(3, 5, completed=3, queued=2), []),
        (stopped_after(3, 5, completed=2, started=1, queued=2), ["1 tasks were left started"]),
        (stopped_after(3, 5, completed=1, queued=4), ["1 tasks were completed, not 3"]),
        (stopped_after(3, 5, completed=2, failed=1, queued=2), ["2 tasks were completed, not 3"]),
        (stopped_after(3, 5, completed=5), ["5 tasks were completed, not 3"]),
        (stopped_after(3, 5, queued=5), ["0 tasks were completed, not 3"]),
        (stopped_after(3, 5, completed=4, queued=1), ["4 tasks were completed, not 3"]),
    ],
    ids=["good", "left one", "dropped two", "one failed", "took all", "none", "took one more"],
)
def test_a_worker_that_is_stopped_finishes_what_it_has_and_takes_no_more(
    given: Seen, words: list[str]
) -> None:
    said = problems(given)
    assert bool(said) == bool(words)
    for word in words:
        assert any(word in sentence for sentence in said), said


# The picture of a case.


def test_the_timeline_shows_who_had_which_task_when() -> None:
    spans = [(s.worker, s.step, s.start, s.end, s.status) for s in GOOD.timeline()]
    assert spans == [
        ("w1", "a", 4.0, 5.0, "completed"),
        ("w1", "b", 11.0, 12.0, "failed"),
        ("w2", "b", 13.0, 14.0, "completed"),
    ]
    assert GOOD.shares() == {"w1": 1, "w2": 1}


def test_the_timeline_shows_what_was_not_ended() -> None:
    names = list(FAILED)
    story = {name: FAILED[name] for name in names[: names.index("b is claimed") + 1]}
    last = seen(history=history(story)).timeline()[-1]
    assert (last.worker, last.step, last.end, last.status) == ("w1", "b", None, "started")


def test_nothing_happened() -> None:
    assert seen(history=history({})).timeline() == ()


# Equal JSON values.


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (None, None),
        (True, True),
        (1, 1.0),
        (0, -0.0),
        (0.1, Decimal("0.1")),
        (1e20, 10**20),
        (10**400, Decimal(10**400)),
        (Decimal("1.10"), Decimal("1.1")),
        ("ä", "\u00e4"),
        ([], []),
        ({}, {}),
        ({"a": 1, "b": [2, {"c": None}]}, {"b": [2.0, {"c": None}], "a": 1}),
    ],
)
def test_same(left: object, right: object) -> None:
    assert same(left, right)
    assert same(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (True, 1),
        (False, 0),
        (False, None),
        (0, None),
        (0, ""),
        ("", None),
        ([], {}),
        ([], None),
        ({}, None),
        ("1", 1),
        ("true", True),
        (1, 1.0000000000000002),
        (10**20, 10**20 + 1),
        (0.1, Decimal("0.1000000000000000055511151231257827")),
        ("ä", "a\u0308"),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ([True], [1]),
        ({"a": None}, {}),
        ({"a": None}, {"b": None}),
        ({"a": {"b": [1, True]}}, {"a": {"b": [1, 1]}}),
        (float("nan"), float("nan")),
    ],
)
def test_not_same(left: object, right: object) -> None:
    assert not same(left, right)
    assert not same(right, left)
