"""The oracle of mixed fleets, the flows that come from a seed, and the crews."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from conformance.harness.adapters import Adapter
from conformance.mixed.fleets import cases_of, crew, runs_for
from conformance.mixed.graphs import ONLY_SOME, flow_of, input_of
from conformance.mixed.oracle import Fails, expected, perform
from pgflow_ref.compile import compile_flow, from_json

INPUTS = {"run": {"n": 2, "list": [1, 2, 3], "deep": [{"x": 4}, {"x": 5}]}, "a": {"b": "text"}}


# Instructions.


@pytest.mark.parametrize(
    ("handler", "output"),
    [
        ([], None),
        ([{"sleep": 1}], None),
        ([{"return": {"a": [1]}}], {"a": [1]}),
        ([{"return": 1}, {"sleep": 1}], 1),
        ([{"return": 1}, {"return": 2}], 2),
        ([{"pick": ["run", "n"]}], 2),
        ([{"pick": ["run", "list", 2]}], 3),
        ([{"pick": ["run", "list", "*"]}], [1, 2, 3]),
        ([{"pick": ["run", "deep", "*", "x"]}], [4, 5]),
        (
            [{"pick": {"x": ["a"], "y": ["run", "deep", "*", "x"]}}],
            {"x": {"b": "text"}, "y": [4, 5]},
        ),
        ([{"sum": []}], 0),
        ([{"sum": [["run", "n"], ["run", "list", "*"]]}], 8),
        ([{"fail": "no", "attempts": 1}, {"return": 1}], 1),
    ],
)
def test_what_a_handler_comes_to_at_its_second_attempt(
    handler: list[dict[str, Any]], output: object
) -> None:
    assert perform(handler, INPUTS, 2) == output


@pytest.mark.parametrize(
    "handler",
    [
        [{"fail": "no"}],
        [{"fail": "no", "attempts": 2}],
        [{"pick": ["run", "missing"]}],
        [{"pick": ["run", "list", 3]}],
        [{"pick": ["run", "n", "*"]}],
        [{"pick": {"x": ["missing"]}}],
        [{"sum": [["a", "b"]]}],
        [{"sum": [["run", "list"]]}],
    ],
)
def test_what_fails_at_its_second_attempt(handler: list[dict[str, Any]]) -> None:
    with pytest.raises(Fails):
        perform(handler, INPUTS, 2)


def test_what_has_no_one_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="does not know hang"):
        perform([{"hang": True}], INPUTS, 1)


# Runs.


def flow(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"slug": "f", "steps": list(steps)}


A = {"slug": "a", "handler": [{"pick": ["run", "list"]}]}
B = {"slug": "b", "depends_on": ["a"], "handler": [{"sum": [["a", "*"]]}]}
MAP = {
    "slug": "m",
    "depends_on": ["a"],
    "step_type": "map",
    "handler": [{"sum": [["element"], ["element"]]}],
}
SOME = {"slug": "c", "max_attempts": 2, "handler": [{"pick": ["run", "c"]}]}
AFTER = {"slug": "d", "depends_on": ["b", "c"], "handler": [{"pick": ["b"]}]}


def test_a_run_that_completes() -> None:
    told = expected(flow(A, B), {"list": [1, 2]})
    assert told.outputs == {"a": [1, 2], "b": 3}
    assert told.inputs == {
        "a": {"split": [{"list": [1, 2]}], "whole": [{"run": {"list": [1, 2]}}]},
        "b": {"split": [{"a": [1, 2]}], "whole": [{"run": {"list": [1, 2]}, "a": [1, 2]}]},
    }
    assert told.attempts == {"a": 1, "b": 1}
    assert (told.status, told.output(flow(A, B))) == ("completed", {"b": 3})


def test_a_map_step_has_a_task_for_each_element() -> None:
    told = expected(flow(A, MAP), {"list": [1, 2]})
    assert told.outputs["m"] == [2, 4]
    assert told.inputs["m"] == {"split": [1, 2], "whole": [1, 2]}
    root = {**MAP, "depends_on": []}
    assert expected(flow(root), [5]).output(flow(root)) == {"m": [10]}
    assert expected(flow(A, MAP), {"list": []}).output(flow(A, MAP)) == {"m": []}


def test_a_run_that_fails_takes_what_depends_on_it_along_and_nothing_else() -> None:
    told = expected(flow(A, B, SOME, AFTER), {"list": [1]})
    assert (told.status, told.failing) == ("failed", {"c"})
    assert told.outputs == {"a": [1], "b": 1}
    assert told.attempts == {"a": 1, "b": 1, "c": 2}
    assert "d" not in told.inputs
    assert told.output(flow(A, B, SOME, AFTER)) is None
    assert expected(flow(A, B, SOME, AFTER), {"list": [1], "c": 1}).status == "completed"


@pytest.mark.parametrize(("limit", "status", "tried"), [(1, "failed", 1), (3, "completed", 2)])
def test_attempts_are_counted_up_to_the_limit(limit: int, status: str, tried: int) -> None:
    step = {"slug": "a", "handler": [{"fail": "no", "attempts": 1}, {"return": 1}]}
    told = expected({"max_attempts": limit, "steps": [step]}, {})
    assert (told.status, told.attempts) == (status, {"a": tried})
    assert expected({"steps": [{**step, "max_attempts": limit}]}, {}).attempts == {"a": tried}


# Flows from a seed.


def test_every_flow_is_one_and_every_run_comes_to_something() -> None:
    statuses, kinds = set(), set()
    for seed in range(300):
        random = Random(seed)
        made = flow_of(random, "f", maps=seed % 2 == 0)
        assert compile_flow(from_json(made))
        kinds |= {step.get("step_type", "single") for step in made["steps"]}
        for number in range(5):
            told = expected(made, input_of(random, number))
            statuses.add(told.status)
            assert all(told.outputs.values()), "an output that some language takes for nothing"
    assert statuses == {"completed", "failed"}
    assert kinds == {"single", "map"}


def test_only_what_lacks_the_field_fails() -> None:
    for seed in range(100):
        random = Random(seed)
        made = flow_of(random, "f")
        for number in range(5):
            given = input_of(random, number)
            assert ONLY_SOME not in given or expected(made, given).status == "completed"


def test_the_same_seed_gives_the_same_flow_and_another_one_another() -> None:
    made = [json.dumps(flow_of(Random(seed), "f")) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_there_are_as_many_runs_as_it_takes() -> None:
    runs = runs_for(Random(1), flow(A, MAP), 100)
    tasks = [1 + len(run.input["list"]) for run in runs]
    assert sum(tasks[:-1]) < 100 <= sum(tasks)


def test_a_crew_speaks_two_languages_at_least() -> None:
    adapters = [Adapter(name, name[0], ("true",)) for name in ("py", "plain", "deno")]
    for seed in range(100):
        for size in range(2, 9):
            chosen = crew(Random(seed), adapters, size)
            assert len(chosen) == size
            assert len({one.language for one in chosen}) == 2


def test_fleets_have_names_of_their_own_and_one_is_quick() -> None:
    cases = cases_of([])
    assert len({case.id for case in cases}) == len(cases)
    assert sum(case.quick for case in cases) == 1
