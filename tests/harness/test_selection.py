"""What is tried of all that there is, as a user chooses it; each test is a run of the suite."""

from __future__ import annotations

import io
import re
import shlex

import pytest
from rich.console import Console

from conformance import __main__ as suite
from conformance.__main__ import PARALLEL
from conformance.harness import cases, listing
from conformance.harness.acts import ACTS
from conformance.harness.cases import FIXTURES
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


# Which cases.


def test_cases_are_chosen_by_their_ids(place: Place) -> None:
    done = place.run("conformance/compile", "--case=*.map_over_*", "--case=*.one_step", IDLE, "-n2")
    assert done.cases("idle").keys() == {
        "compile.map_over_input",
        "compile.map_over_step",
        "compile.map_over_map",
        "compile.one_step",
    }


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "in parallel"])
def test_a_case_that_is_not_there_ends_the_run_and_names_those_near(
    place: Place, parallel: tuple[str, ...]
) -> None:
    asked = ["--case=compile.chain", "--case=compile.one_stop", "--worker=python"]
    done = place.run("conformance/compile", *asked, *parallel)
    assert done.code == 2
    assert "no case is called 'compile.one_stop'; near it: compile.one_step" in done.output
    place.assert_clean()


def test_what_records_is_the_first_worker_with_the_flows_that_are_kept(place: Place) -> None:
    done = place.run("conformance", "--record", "--list", IDLE, "--worker=python", "--core=0.8.1")
    assert done.code == 0
    lines = [line for line in done.output.splitlines() if line.startswith("  ")][1:]
    assert len(lines) == len(cases.load(FIXTURES / "cases" / "histories.yaml"))
    assert all(re.match(r"  histories\.\w+ +0\.8\.1 +\S+ +idle ", line) for line in lines)


def test_what_a_patched_core_does_is_not_recorded(place: Place) -> None:
    done = place.run("conformance", "--record", "--core-patch=some.sql", IDLE)
    assert done.code == 2
    assert "--record keeps what a core does, not what a patch of it does" in done.output


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "in parallel"])
def test_a_list_starts_nothing(place: Place, parallel: tuple[str, ...]) -> None:
    done = place.run("conformance", "--list", "--core=0.8.1", IDLE, "--worker=python", *parallel)
    assert done.code == 0
    assert not done.folder.exists()
    lines = done.output.splitlines()
    (line,) = (line for line in lines if line.startswith("  worker.success "))
    promise = "A run whose handler returns is completed, and its output is what the handler"
    assert re.match(rf"  worker\.success +0\.8\.1 +- +idle, python +(quick)? +{promise}", line)
    assert any(line.startswith("  core.does_what_its_model_does ") for line in lines)
    assert "starting PostgreSQL" not in done.output
    assert lines[-1].endswith(" in all")
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_list_of_a_choice(place: Place) -> None:
    done = place.run("conformance", "--list", "--case=compile.map_*", IDLE)
    assert done.code == 0
    assert "4 in all" in done.output
    nothing = place.run("conformance", "--list", "-k", "no_such_thing", IDLE)
    assert (nothing.code, nothing.output) == (2, "nothing matches\n")
    wrong = place.run("conformance", "--list", "--case=no.such.thing", IDLE)
    assert wrong.code == 2
    assert "no case is called 'no.such.thing'" in wrong.output


def test_a_case_may_be_lacking_where_another_is_there(place: Place) -> None:
    words = ["conformance", "--list", "--core=0.5.0", "--case=maps.*", IDLE]  # 0.5.0 has no maps
    more = ["--case=acks.completed_once", "--case-may-lack"]
    assert place.run(*words, more[0]).code == 2
    assert place.run(*words, more[1]).code == 2
    listed = place.run(*words, *more)
    assert listed.code == 0
    assert "acks.completed_once" in listed.output


def test_a_case_is_explained_in_full(place: Place) -> None:
    done = place.run("conformance", "--explain=worker.timeout", "--worker=deno", IDLE)
    assert done.code == 0
    for words in (
        "A task that runs longer than its timeout fails",
        "workers      deno, idle",
        "│ slow │",
        'slow:  {"sleep": 10}, then {"return": "late"}',
        '{"poll_interval": 0.1}',
        "1. the harness starts the runs, with pgflow.start_flow",
        "4. every worker: it is asked to stop (SIGTERM)",
        "'error_holds': 'timed out'",
        "deno and node: timeouts are stored in the database, and enforced by nobody",
        "./scripts/conformance --case worker.timeout",
    ):
        assert words in done.output, words
    wrong = place.run("conformance", "--explain=worker.timeou", IDLE)
    assert wrong.code == 2
    assert "near it: worker.timeout" in wrong.output


def test_every_act_has_words() -> None:
    for verb in ACTS:
        assert verb in listing.WORDS, verb


def test_every_case_can_be_explained() -> None:
    console = Console(file=io.StringIO(), width=100)
    for path in (FIXTURES / "cases").rglob("*.yaml"):
        for case in cases.load(path):
            entry = listing.Entry(case.id, case, ("python",), ("0.5.0",))
            console.print(listing.explanation(entry, []))
            for act in case.acts:
                assert listing.in_words(act)
    assert isinstance(console.file, io.StringIO)
    assert "worker.success" in console.file.getvalue()


# What cannot run.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["--core=0.4.0"], "pgflow core '0.4.0' is not known; known are 0.5.0"),
        (["conformance/no_such_file.py"], "there is no conformance/no_such_file.py"),
        (["conformance/compile", "-n0", "-k", "no_such_thing"], "/ 0 selected"),
        (["--list", "--explain"], "expected one argument"),
    ],
)
def test_what_cannot_run_ends_with_2(arguments: list[str], words: str, place: Place) -> None:
    done = place.run_script(*arguments)
    assert done.code == 2
    assert words in done.output
    place.assert_clean()


def test_help_shows_the_suites_own_options(place: Place) -> None:
    done = place.run_script("--help")
    assert done.code == 0
    assert "--update-deviations" in done.output
    assert "--capture" not in done.output


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ([], [*PARALLEL, "conformance"]),
        (["-k", "mixed", "-x"], [*PARALLEL, "conformance", "-k", "mixed", "-x"]),
        (["-n2"], ["conformance", "-n2"]),
        (["--numprocesses=2"], ["conformance", "--numprocesses=2"]),
        (["--list"], ["conformance", "--list"]),
        (["--explain=a.b"], ["conformance", "--explain=a.b"]),
        (["conformance/core"], [*PARALLEL, "conformance/core"]),
        (["--results", "docs"], [*PARALLEL, "conformance", "--results", "docs"]),
        (["--core-patch", "x.sql"], [*PARALLEL, "conformance", "--core-patch", "x.sql"]),
        (
            ["conformance/core/test_core.py::x[y]"],
            [*PARALLEL, "conformance/core/test_core.py::x[y]"],
        ),
    ],
)
def test_arguments_are_completed(given: list[str], completed: list[str]) -> None:
    assert suite.completed(given) == completed
