"""The differential tests as a user runs them, against cores that were changed."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from conformance.core import evidence
from conformance.harness.records import Case
from pgflow_ref.model import calls
from tests.harness.test_suite import place

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.test_suite import Outcome, Place

__all__ = ["place"]  # a fixture

SHORT = evidence.encode([calls.CreateFlow("f"), calls.CalculateRetryDelay(5, 2)])
WRONG = """
CREATE OR REPLACE FUNCTION pgflow.calculate_retry_delay(base_delay numeric, attempts_count integer)
RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT (base_delay * (attempts_count + 2))::integer';
"""


def run(place: Place, *arguments: str) -> Outcome:
    return place.run("conformance/core", "--worker=python", "--core=0.5.0", *arguments)


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    return tmp_path / "patch.sql"


def test_a_wrong_core_is_shown_by_the_shortest_script_and_the_command_to_repeat_it(
    place: Place, patch: Path
) -> None:
    patch.write_text(WRONG)
    outcome = run(place, f"--core-patch={patch}")
    assert outcome.code == 1
    assert re.search(
        r"patch\.sql makes this another core than 0\.5\.0: different: function"
        r" pgflow\.calculate_retry_delay\(numeric, integer\)",
        outcome.output,
    )
    (case,) = (record for record in outcome.records if isinstance(record, Case))
    assert (case.outcome, case.workers) == ("failed", ())
    script = case.script.splitlines()
    assert script[0] == "-- pgflow core 0.5.0, in a database that holds nothing else"
    assert script[-2] == "-- After this last call:"
    assert len(script) <= 3 + 4, "a call shows it, or a flow, its step, its run and a failure"
    assert re.match(r"SELECT \* FROM pgflow\.(calculate_retry_delay|fail_task)\(", script[-3])
    assert re.search(r"the model (has|expects) .*, the database ", script[-1])
    assert case.script in outcome.output

    _, *words = shlex.split(case.repeat)
    again = place.run("--worker=python", "--core=0.5.0", *words)
    assert again.code == 1
    assert case.script in again.output
    place.assert_clean()


def test_a_patch_that_changes_nothing_passes(place: Place, patch: Path) -> None:
    patch.write_text("COMMENT ON SCHEMA pgflow IS 'mine';")
    outcome = run(place, f"--core-patch={patch}", f"--replay={SHORT}")
    assert outcome.code == 0
    assert "patch.sql makes this another core than 0.5.0: in nothing" in outcome.output
    assert re.search(r"core\.does_what_its_model_does\[0\.5\.0\].*one history", outcome.output)
    place.assert_clean()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--core-patch=no-such-file.sql"], "no-such-file.sql cannot be read"),
        (["--core=0.4.0"], "pgflow core '0.4.0' is not known; known are 0.5.0"),
        (["--replay=nonsense"], "this is no history"),
    ],
)
def test_what_cannot_run_says_why(place: Place, arguments: list[str], said: str) -> None:
    outcome = run(place, *arguments)
    assert outcome.code == 2
    assert f"the suite cannot run: {said}" in outcome.output
    place.assert_clean()


def test_a_patch_that_the_server_refuses_says_why(place: Place, patch: Path) -> None:
    patch.write_text("SELECT pgflow.nothing();")
    outcome = run(place, f"--core-patch={patch}")
    assert outcome.code == 2
    assert re.search(
        r"patch\.sql: the server refuses it: .*pgflow\.nothing.* \(42883\)", outcome.output
    )
    place.assert_clean()


def test_long_runs_say_their_seed(place: Place) -> None:
    outcome = run(place, "--differential-minutes=0.02", "--seed=5", "-n0")
    assert re.search(r"calls, \d+ of 33 behaviours shown, seed 5", outcome.output)
    place.assert_clean()
