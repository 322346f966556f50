"""Storms: the same seed gives the same faults, and what is lost, doubled or stuck is found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from conformance.faults.test_storms import CASES, runs, sized
from conformance.harness import storms
from conformance.harness.adapters import Adapter
from conformance.harness.cases import FIXTURES, load
from conformance.harness.records import Fault
from conformance.harness.servers import RestartableServer
from conformance.harness.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conformance.harness.cases import Case

ROLES = ["first", "second", "third"]
LISTED = load(FIXTURES / "cases" / CASES)


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    assert storms.plan("1 storm", 40, ROLES, 2) == storms.plan("1 storm", 40, ROLES, 2)
    assert storms.plan("1 storm", 40, ROLES, 2) != storms.plan("2 storm", 40, ROLES, 2)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_every_kind_comes_and_restarts_as_often_as_they_are_asked_for(seed: str) -> None:
    kinds = Counter(stroke.kind for stroke in storms.plan(seed, 30, ROLES, 2))
    assert kinds.keys() == storms.WEIGHTS.keys() | {"restart"}
    assert (kinds.total(), kinds["restart"]) == (30, 2)
    assert {stroke.role for stroke in storms.plan(seed, 30, ROLES)[:3]} == set(ROLES)


@pytest.mark.parametrize("count", [1, 3])
def test_a_small_storm_has_no_more_than_it_should(count: int) -> None:
    assert len(storms.plan("1", count, ROLES)) == count


def test_the_timeline_and_the_count_of_faults() -> None:
    faults = [Fault(0.5, "deno", "cut"), Fault(1.25, "", "lock"), Fault(2, "deno", "does not stop")]
    assert storms.described(faults) == "0.50 s cut deno, 1.25 s lock, 2.00 s does not stop deno"
    assert storms.counted(faults) == "2 faults; deno does not stop"


def test_the_usual_storms_have_three_hundred_faults_and_more_are_shared_out() -> None:
    for wanted in (300, 3000):
        shares = [faults_of(sized(case, wanted)) for case in LISTED]
        assert sum(shares) == wanted
    assert sized(LISTED[0], 3000).runs == runs(2 * faults_of(sized(LISTED[0], 3000)))


def faults_of(case: Case) -> int:
    (found,) = (act["storm"]["faults"] for act in case.acts if "storm" in act)
    return int(found)


# What the judge sees of a storm's end, with the harness in place of all workers.


@pytest.fixture(scope="module")
def server() -> Iterator[RestartableServer]:
    with RestartableServer(["0.5.0"]) as made:
        yield made


def problems(
    server: RestartableServer, folder: Path, *last: dict[str, Any], count: int = 3
) -> list[str]:
    """What is found after all but the last of the steps, and these acts for the last one."""
    steps = ("a", "b", "c")
    whole = [
        act
        for step, output in zip(steps, (1, 2, 2), strict=True)
        for act in ({"claim": {"step": step}}, {"complete": {"step": step, "output": output}})
    ]
    case = replace(
        LISTED[0],
        runs=runs(1),
        acts=({"start": "harness"}, *whole[: 2 * count], *last),
        expect={"messages": 0},
    )
    # A real worker would have to call handlers for what the harness does here.
    trial = Trial(case, [Adapter("nobody", "none", ("false",))], folder)
    trial.run(server.cluster)
    return trial.problems


CLAIM = {"claim": {"step": "d"}}
COMPLETE = {"complete": {"step": "d", "output": 4}}


def test_what_went_well_has_no_problems(server: RestartableServer, tmp_path: Path) -> None:
    assert problems(server, tmp_path, CLAIM, COMPLETE) == []


def test_a_lost_task_is_found(server: RestartableServer, tmp_path: Path) -> None:
    gone = {"sql": "DELETE FROM pgmq.q_storm"}
    found = problems(server, tmp_path, gone)
    assert any("it is started, not completed" in problem for problem in found)


def test_a_stuck_task_is_found(server: RestartableServer, tmp_path: Path) -> None:
    found = problems(server, tmp_path, CLAIM)
    assert any("it is started, not completed" in problem for problem in found)
    assert any("message" in problem for problem in found)


def test_a_task_that_is_completed_twice_is_found(server: RestartableServer, tmp_path: Path) -> None:
    again = {
        "sql": "UPDATE pgflow.step_tasks SET status = 'started', completed_at = NULL, output = NULL"
        " WHERE step_slug = 'c'"
    }
    twice = {
        "sql": "UPDATE pgflow.step_tasks SET status = 'completed', completed_at = now(),"
        " output = '2' WHERE step_slug = 'c'"
    }
    found = problems(server, tmp_path, again, twice, CLAIM, COMPLETE)
    assert any("was completed twice" in problem for problem in found)


def test_a_wrong_output_is_found(server: RestartableServer, tmp_path: Path) -> None:
    found = problems(server, tmp_path, CLAIM, {"complete": {"step": "d", "output": 5}})
    assert any("its output is" in problem for problem in found)
