"""What is tried of all that there is, as a user chooses it; each test is a run of the suite."""

from __future__ import annotations

import shlex

from conformance.harness.records import Suite
from tests.harness.test_suite import IDLE, Place, place

__all__ = ["place"]  # a fixture


def test_a_run_says_its_seed_and_so_does_the_command_that_repeats_a_case(place: Place) -> None:
    done = place.run("conformance/compile", "-k", "one_step", IDLE, "--seed=70041")
    (suite,) = (record for record in done.records if isinstance(record, Suite))
    assert suite.seed == 70041
    assert "conformance: seed 70041\n" in done.output
    (case,) = done.cases("idle").values()
    assert "--seed=70041" in shlex.split(case.repeat)


def test_a_seed_is_from_the_clock_and_the_same_in_all_processes(place: Place) -> None:
    done = place.run("conformance/compile", IDLE, "-n2", "-k", "one_step or no_steps or diamond")
    (suite,) = (record for record in done.records if isinstance(record, Suite))
    assert suite.seed > 1_700_000_000
    repeats = [case.repeat for case in done.cases("idle").values()]
    assert len(repeats) > 1
    assert all(f"--seed={suite.seed}" in repeat for repeat in repeats)


def test_a_quick_run_leaves_cases_out_and_keeps_what_is_none(place: Place) -> None:
    done = place.run("conformance/compile", IDLE, "--quick")
    cases = done.cases("idle")
    assert {"compile.one_step", "compile.any_graph"} <= cases.keys()
    assert "compile.sixty_steps" not in cases
