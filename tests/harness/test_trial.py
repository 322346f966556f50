"""A trial takes whatever a worker says, and its record says what became of the case."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from conformance.harness.adapters import Adapter
from conformance.harness.cases import Case, RunOf
from conformance.harness.databases import Database
from conformance.harness.deviations import Deviation
from conformance.harness.processes import NotSupported, WorkerProblem
from conformance.harness.stage import Stage
from conformance.harness.trial import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.records import Outcome

CASE = Case(
    id="some.case",
    promise="It works.",
    reference="nowhere",
    flow={"slug": "flow", "steps": [{"slug": "a", "handler": []}]},
    worker={"max_concurrency": 1},
    runs=(RunOf({"n": "ä"}, {}), RunOf(None, {})),
)
NOWHERE = Database("postgresql://nowhere")


def trial_of(folder: Path, script: str = "true") -> Trial:
    """A trial of the case with a worker that is a line of shell."""
    return Trial(CASE, [Adapter("sh", "shell", ("sh", "-c", script))], folder)


def raising(error: Exception) -> Any:
    def what() -> None:
        raise error

    return what


# What becomes of a case.


def test_a_case_without_problems_is_passed(tmp_path: Path) -> None:
    trial = trial_of(tmp_path)
    trial.attempt(lambda: None)
    assert (trial.outcome, trial.problems) == ("passed", [])


def test_a_problem_fails_the_case(tmp_path: Path) -> None:
    trial = trial_of(tmp_path)
    trial.attempt(lambda: trial.problems.append("something"))
    assert (trial.outcome, trial.problems) == ("failed", ["something"])


def test_what_a_worker_does_fails_the_case(tmp_path: Path) -> None:
    trial = trial_of(tmp_path)
    trial.problems.append("something before")
    trial.attempt(raising(WorkerProblem("it died")))
    assert (trial.outcome, trial.problems) == ("failed", ["it died", "something before"])


def test_what_a_worker_cannot_do_is_no_pass(tmp_path: Path) -> None:
    trial = trial_of(tmp_path)
    trial.attempt(raising(NotSupported("no such option")))
    assert (trial.outcome, trial.problems) == ("unsupported", ["no such option"])


def test_a_mistake_of_the_suite_is_not_blamed_on_a_worker(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        trial_of(tmp_path).attempt(raising(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("outcome", "problem", "known", "recorded"),
    [
        ("passed", None, False, "passed"),
        ("failed", "it does not", False, "failed"),
        ("unsupported", "no", False, "unsupported"),
        ("passed", None, True, "unexpected_pass"),
        ("failed", "run 1: it does not", True, "deviation"),
        ("failed", "it did not even start", True, "failed"),
        ("unsupported", "it does not", True, "unsupported"),
    ],
)
def test_a_known_deviation_is_told_from_a_failure(
    outcome: Outcome, problem: str | None, known: bool, recorded: Outcome, tmp_path: Path
) -> None:
    trial = trial_of(tmp_path)
    trial.outcome = outcome
    trial.problems = [problem] if problem else []
    deviation = Deviation(("sh",), CASE.id, "it does not", "too old", "somewhere", "2026-01-01")
    record = trial.record("again", deviation if known else None)
    assert record.outcome == recorded
    assert (record.deviation is not None) == known
    assert (record.id, record.group, record.workers) == ("some.case", "some", ("sh",))
    assert (record.runs, record.calls, record.repeat) == (2, 0, "again")


# What a worker prints at `start`.


def start(folder: Path, script: str) -> list[str]:
    adapters = trial_of(folder, script).adapters
    with ExitStack() as stack:
        stage = Stage(CASE, adapters, NOWHERE, folder, 1, stack)
        stage.start_runs(adapters)
        return stage.run_ids


def test_start_gets_all_it_needs(tmp_path: Path) -> None:
    script = 'cat > got; cat "$PGFLOW_FIXTURE" > fixture; echo "$0 $PGFLOW_DATABASE_URL" >> got'
    ids = '; echo \'{"run_id": "one"}\'; echo \'{"run_id": "2", "more": []}\''
    assert start(tmp_path, f"cd {tmp_path}; {script}{ids}") == ["one", "2"]
    got = (tmp_path / "got").read_text(encoding="utf-8")
    assert got == '{"n": "ä"}\nnull\nstart postgresql://nowhere\n'
    fixture = (tmp_path / "fixture").read_text(encoding="utf-8")
    assert '"worker": {"name": "sh", "max_concurrency": 1}' in fixture


@pytest.mark.parametrize(
    "printed",
    [
        "",
        '{"run_id": "1"}',
        '{"run_id": "1"}\n{"run_id": "2"}\n{"run_id": "3"}',
        '{"run_id": "1"}\n{"run_id": "1"}',
        '{"run_id": 1}\n{"run_id": 2}',
        '{"id": 1}\n{"id": 2}',
        "[1]\n[2]",
        "1\n2",
        "null\nnull",
        "one\ntwo",
        '"one"\n"two"',
        "[" * 100_000 + "\n",
    ],
)
def test_what_start_must_not_print(printed: str, tmp_path: Path) -> None:
    (tmp_path / "printed").write_text(printed, encoding="utf-8")
    with pytest.raises(WorkerProblem, match="sh: `start` printed"):
        start(tmp_path, f"cat {tmp_path}/printed")


def test_start_that_cannot(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="no"):
        start(tmp_path, "echo no >&2; exit 3")


# What a worker prints at `compile`.


def test_compiled_statements(tmp_path: Path) -> None:
    trial = trial_of(tmp_path, """echo '["one", "two"]'""")
    assert trial.compiled(trial.adapters[0], CASE.shape) == ["one", "two"]


@pytest.mark.parametrize(
    "printed", ["", "SELECT 1;", '{"sql": []}', '"SELECT 1;"', "null", "[" * 100_000]
)
def test_what_compile_must_not_print(printed: str, tmp_path: Path) -> None:
    (tmp_path / "printed").write_text(printed, encoding="utf-8")
    trial = trial_of(tmp_path, f"cat {tmp_path}/printed")
    with pytest.raises(WorkerProblem, match="sh: `compile` printed"):
        trial.compiled(trial.adapters[0], CASE.shape)
