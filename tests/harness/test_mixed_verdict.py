"""A fleet's work against the oracle: what is right is not said, and what is wrong is."""

from __future__ import annotations

from typing import Any, cast

import pytest

from conformance.harness.cases import Case
from conformance.harness.invariants import TaskId
from conformance.harness.judge import Seen
from conformance.mixed import verdict
from conformance.mixed.oracle import expected

FLOW = {"slug": "f", "steps": [{"slug": "a", "handler": [{"pick": ["run", "n"]}]}]}
TOLD = expected(FLOW, {"n": 5})
TASK = TaskId("run", "a", 0)
ROW = {"status": "completed", "attempts": 1, "error": None, "output": 5}
CALL = {"run_id": "run", "step_slug": "a", "task_index": 0, "input": {"n": 5}}


class Told:
    """A worker that said these lines."""

    name = "w"
    handler_input = "split"

    def __init__(self, *lines: dict[str, Any]) -> None:
        self.lines = list(lines)

    def of(self, _: str) -> list[dict[str, Any]]:
        return self.lines


def said(
    *lines: dict[str, Any],
    row: dict[str, Any] = ROW,
    run: tuple[str, Any] = ("completed", {"a": 5}),
) -> list[str]:
    seen = Seen(
        case=Case("fleet.x", "", "", FLOW, {}, ()),
        workers=cast("Any", [Told(*lines)]),
        run_ids=["run"],
        runs={"run": run},
        tasks={TASK: row},
        steps={("run", "a"): "completed"},
        stopped={},
        history=cast("Any", None),
    )
    by_id = {"run": TOLD}
    parts = (verdict._runs, verdict._tasks, verdict._calls)  # without a database
    return [problem for part in parts for problem in part(seen, by_id)]


def test_what_is_as_the_oracle_says_is_no_problem() -> None:
    assert said(CALL) == []


@pytest.mark.parametrize(
    ("lines", "row", "run", "problem"),
    [
        ([CALL], ROW, ("failed", None), "run run is failed, not completed"),
        ([CALL], ROW, ("completed", {"a": 6}), "run run has the output"),
        ([CALL], {**ROW, "output": 6}, ("completed", {"a": 5}), "has the output 6, not 5"),
        ([CALL], {**ROW, "attempts": 2}, ("completed", {"a": 5}), "took 2 attempts, not 1"),
        ([CALL], {**ROW, "status": "failed"}, ("completed", {"a": 5}), "is failed, not completed"),
        ([CALL], {**ROW, "status": "queued"}, ("completed", {"a": 5}), "is queued, and its run"),
        ([{**CALL, "input": {"n": 6}}], ROW, ("completed", {"a": 5}), "saw {'n': 6}, not {'n': 5}"),
        ([CALL, CALL], ROW, ("completed", {"a": 5}), "was called more than 1 times"),
        ([CALL, {**CALL, "step_slug": "b"}], ROW, ("completed", {"a": 5}), "should not be there"),
    ],
)
def test_what_is_not_is_said(
    lines: list[dict[str, Any]], row: dict[str, Any], run: tuple[str, Any], problem: str
) -> None:
    (found,) = said(*lines, row=row, run=run)
    assert problem in found
