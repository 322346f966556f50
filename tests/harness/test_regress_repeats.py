"""What differs between two runs of the suite is tried once more before it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conformance.harness.records import Loss
from conformance.harness.run import Run
from conformance.regress import cases, check, repeats
from conformance.regress.cases import Wish, findings, relabelled
from conformance.regress.check import Choice
from conformance.regress.findings import CannotRun, Finding
from conformance.regress.sides import side
from tests.harness.streams import END, SUITE, case, mixed

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.records import Case
    from conformance.regress.check import Subjects
    from conformance.regress.sides import Side

OLD, NEW = "0.7.3", "0.8.1"
LATE = "it is over after 6.1 s"
STUCK = case(
    "test_alone[deno-retry.attempts-0.8.1]",
    group="suite",
    core="",
    workers=(),
    outcome="error",
    problems=("Traceback:\nOSError: no port is free",),
)


def run(*records: Case | Loss) -> Run:
    return Run.of([SUITE, *records, END])


def one(outcome: str, *problems: str) -> Case:
    return case(core="", outcome=outcome, problems=problems or (LATE,))


def told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *tries: tuple[Case | Loss, ...]
) -> tuple[list[Finding], list[tuple[str, Wish]]]:
    """What is told of runs of base and candidate, and of their repetitions, in that order."""
    asked: list[tuple[str, Wish]] = []
    left = [run(*found) for found in tries]

    def play(of: Side, wish: Wish, folder: Path, _: object) -> Run:
        asked.append((folder.name, wish))
        assert of.role in folder.name
        return left.pop(0)

    monkeypatch.setattr(cases, "_run", play)
    sides = side(OLD, "base"), side(NEW, "candidate")
    found = cases.compare(*sides, Wish(seed=7), tmp_path, lambda _: None)
    assert not left
    return found, asked


# What is tried again, and what comes of it.


def test_a_result_that_was_chance_is_no_difference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tries = (one("passed"),), (one("failed"),), (one("passed"),), (one("passed"),)
    found, asked = told(monkeypatch, tmp_path, *tries)
    assert [name for name, _ in asked] == ["base", "candidate", "base-again", "candidate-again"]
    assert {wish.cases for _, wish in asked[2:]} == {("retry.attempts",)}
    assert {wish.seed for _, wish in asked} == {7}
    assert {finding.kind for finding in found} == {"same"}
    (varied,) = [finding for finding in found if finding.case]
    assert varied.detail == f"It varies: failed once and passed once on 0.8.1: {LATE}."
    assert varied.script


def test_a_case_that_fails_again_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tries = (one("passed"),), (one("failed"),), (one("passed"),), (one("failed"),)
    (found,), _ = told(monkeypatch, tmp_path, *tries)
    assert (found.kind, found.case) == ("broken", "retry.attempts")
    assert "passed before, failed now" in found.detail


def test_a_base_that_fails_too_when_it_is_tried_again_is_no_better(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tries = (one("passed"),), (one("failed"),), (one("failed"),), (one("failed"),)
    found, _ = told(monkeypatch, tmp_path, *tries)
    assert {finding.kind for finding in found} == {"same"}
    assert any("passed once and failed once on 0.7.3" in finding.detail for finding in found)


def test_nothing_is_tried_again_where_nothing_differs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found, asked = told(monkeypatch, tmp_path, (one("passed"),), (one("passed"),))
    assert len(asked) == 2
    assert [finding.kind for finding in found] == ["same"]


def test_a_case_of_the_candidate_alone_is_tried_again_on_it_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def new(outcome: str) -> Case:
        return case("maps.one", group="maps", core="", outcome=outcome)

    tries = (one("passed"),), (one("passed"), new("failed")), (new("passed"),)
    found, asked = told(monkeypatch, tmp_path, *tries)
    assert [name for name, _ in asked] == ["base", "candidate", "candidate-again"]
    assert "broken" not in {finding.kind for finding in found}


def test_a_test_that_broke_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tries = (one("passed"),), (STUCK,), (one("passed"),), (one("passed"),)
    found, asked = told(monkeypatch, tmp_path, *tries)
    assert asked[-1][1].cases == ("retry.attempts",)
    assert [finding.kind for finding in found] == ["same"]


def test_a_value_that_was_lost_with_its_case_comes_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def way(outcome: str) -> Case:
        return case("json.deno_deno", group="json", core="", outcome=outcome)

    loss = Loss("zero", ("deno", "deno"))
    tries = (way("passed"), loss), (way("failed"),), (way("passed"), loss), (way("passed"), loss)
    found, _ = told(monkeypatch, tmp_path, *tries)
    assert {finding.kind for finding in found} == {"same"}


def test_a_value_that_comes_to_harm_again_is_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    way = case("json.deno_deno", group="json", core="")
    good = Loss("zero", ("deno", "deno"))
    bad = replace(good, came="null")
    found, _ = told(monkeypatch, tmp_path, (way, good), (way, bad), (way, good), (way, bad))
    assert [finding.what for finding in found if finding.kind == "broken"] == [
        "what becomes of JSON: zero, deno > deno"
    ]


def test_what_is_not_supported_is_not_tried_again() -> None:
    assert repeats.doubtful(run(one("unsupported")), run(one("passed"))) == frozenset()
    assert repeats.doubtful(run(one("passed")), run(one("unsupported"))) == frozenset()


# What is told of runs as they are.


def test_a_failure_with_other_numbers_is_the_same_one() -> None:
    before, after = run(one("failed")), run(one("failed", "it is over after 12 s"))
    assert [finding.kind for finding in findings(before, after, OLD, NEW)] == ["same"]
    after = run(one("failed", "it is never over"))
    assert [finding.kind for finding in findings(before, after, OLD, NEW)] == ["changed"]


def test_a_fleet_is_one_case_whoever_is_in_it() -> None:
    crews = ("python", "deno"), ("plain", "python")
    before, after = (
        relabelled(run(mixed("fleet.two", group="fleet", core=core, workers=crew)), core)
        for core, crew in zip((OLD, NEW), crews, strict=True)
    )
    assert [finding.kind for finding in findings(before, after, OLD, NEW)] == ["same"]


def test_a_test_that_broke_on_the_candidate_is_broken_and_its_case_not_gone() -> None:
    found = findings(run(one("passed")), run(STUCK), OLD, NEW)
    assert [(finding.kind, finding.what) for finding in found] == [("broken", STUCK.id)]
    assert found[0].detail == "The suite itself could not try it on 0.8.1: OSError: no port is free"


def test_a_test_that_broke_on_the_base_is_no_verdict() -> None:
    with pytest.raises(CannotRun, match=r"could not try test_alone\[.*\] on 0\.7\.3"):
        findings(run(STUCK), run(one("passed")), OLD, NEW)


# A part that breaks.


def test_what_one_part_has_found_outlives_the_mistake_of_another(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    same = Finding("same", "workers", "all", "It is.")

    def wrong(_: Subjects) -> list[Finding]:
        raise LookupError("nowhere")

    monkeypatch.setattr(check, "PARTS", {"model": lambda _: [same], "cases": wrong})
    verdict = check.check(Choice(NEW, NEW, ("model", "cases")), lambda _: None)
    assert verdict.exit_code == 3
    assert verdict.findings == (same,)
    assert verdict.failures == {"cases": "a mistake of the check itself: LookupError: nowhere"}
    assert "Traceback" in capsys.readouterr().err


def test_what_differs_without_a_script_is_shown_by_its_part_of_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = Finding("changed", "operators", "order", "Another one.")
    found = [bare, replace(bare, script="SELECT 1;"), replace(bare, kind="same")]
    monkeypatch.setattr(check, "PARTS", {"crossing": lambda _: found})
    choice = Choice(OLD, NEW, ("crossing",), Wish(("my worker",), seed=7))
    verdict = check.check(choice, lambda _: None)
    command = f"./scripts/regress {OLD} {NEW} --only crossing '--worker=my worker' --seed=7"
    assert [one.script for one in verdict.findings] == [command, "SELECT 1;", None]
