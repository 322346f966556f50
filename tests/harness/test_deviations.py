"""Known deviations: what they cover, files that are wrong, and what a run makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conformance.compile.test_compile import ANY_GRAPH
from conformance.harness import cases
from conformance.harness.adapters import WORKERS
from conformance.harness.cases import FIXTURES
from conformance.harness.deviations import Deviation, DeviationsError, find, load, parse
from conformance.harness.deviations_update import Update, rewritten, steady, update, write
from conformance.harness.records import Case, Outcome
from tests.harness.test_suite import Place, place, wrong_at_work

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["place"]  # a fixture

IDS = {
    ANY_GRAPH.id,
    *(one.id for path in (FIXTURES / "cases").rglob("*.yaml") for one in cases.load(path)),
}
ADAPTERS = {path.parent.name for path in WORKERS.glob("*/adapter.toml")}

KNOWN = """\
# What this file is about.

[[deviation]]
worker = "deno"
case = "some.case"
holds = "is missing"
reason = "it does not"
reference = "somewhere"
date = "2026-01-01"
"""
ONE = Deviation(
    ("deno",), "some.case", "is missing", "it does not", "somewhere", "2026-01-01", line=3
)


def write_file(folder: Path, text: str) -> Path:
    path = folder / "deviations.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_deviation_names_a_case_and_adapters() -> None:
    listed = load(FIXTURES / "deviations.toml")
    assert [
        one for one in listed if one.case not in IDS or not ADAPTERS.issuperset(one.workers)
    ] == []


def test_a_file_is_read_with_its_lines(tmp_path: Path) -> None:
    assert load(write_file(tmp_path, KNOWN)) == [ONE]
    assert load(write_file(tmp_path, "")) == []
    shared = KNOWN.replace('"deno"', '["deno", "node"]') + 'versions = "<=0.8.1"\ncores = ">=0.7"\n'
    assert parse(shared, "") == [
        replace(ONE, workers=("deno", "node"), versions="<=0.8.1", cores=">=0.7")
    ]


WRONG = {
    "no TOML": ("[[deviation]]", "[[deviation]", 3, ""),
    "no TOML in its middle": ('"is missing"', "is missing", 6, ""),
    "another table": ("[[deviation]]", "[[deviations]]", 1, "deviations"),
    "no table": (KNOWN, 'deviation = "deno"', 1, "deviation"),
    "tables in a line": (KNOWN, "deviation = [{worker = 'x'}]", 1, "a line [[deviation]]"),
    "a key is missing": ('worker = "deno"\n', "", 3, "worker is missing"),
    "an unknown key": ("reason", "resaon", 3, "reason is missing; resaon is unknown"),
    "a date": ('"2026-01-01"', "2026-01-01", 3, "date is a text"),
    "a number": ('"it does not"', "7", 3, "reason is a text"),
    "no worker": ('"deno"', "[]", 3, "worker is a name, or a list of names"),
    "no name": ('"deno"', "[7]", 3, "worker is a name, or a list of names"),
    "versions": ('date = "2026-01-01"', 'date = ""\nversions = "0.8"', 3, "versions: "),
    "cores": ('date = "2026-01-01"', 'date = ""\ncores = "new"', 3, "cores: "),
    "twice": (
        KNOWN,
        KNOWN + KNOWN.replace('"deno"', '["a", "deno"]'),
        12,
        "twice: deno: some.case",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_by_line(name: str, tmp_path: Path) -> None:
    old, new, line, words = WRONG[name]
    assert KNOWN.count(old) == 1
    path = write_file(tmp_path, KNOWN.replace(old, new))
    with pytest.raises(DeviationsError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)


def test_what_is_no_text_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deviations.toml"
    with pytest.raises(DeviationsError, match="cannot be read"):
        load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(DeviationsError, match="no text"):
        load(path)


@pytest.mark.parametrize(
    ("versions", "cores", "worker", "version", "core", "covered"),
    [
        ("", "", "deno", "0.8.1", "0.5.0", True),
        ("", "", "deno", "", "0.5.0", True),
        ("", "", "python", "0.8.1", "0.5.0", False),
        ("<=0.8.1", "", "deno", "0.8.1", "0.5.0", True),
        ("<=0.8.1", "", "deno", "0.9.0", "0.5.0", False),
        ("<=0.8.1", "", "deno", "", "0.5.0", False),
        ("<=0.8.1", "", "deno", "main-3f2", "0.5.0", False),
        ("", ">=0.7", "deno", "1", "0.8.1", True),
        ("", ">=0.7", "deno", "1", "0.5.0", False),
    ],
)
def test_what_a_deviation_covers(  # noqa: PLR0913, PLR0917  # a table's columns
    versions: str, cores: str, worker: str, version: str, core: str, covered: bool
) -> None:
    one = replace(ONE, versions=versions, cores=cores)
    assert one.covers(worker, version, core) is covered
    found = find([one], "some.case", {"other": "1", worker: version}, core)
    assert found == (one if covered else None)
    assert find([one], "other.case", {worker: version}, core) is None


# What a run makes of them.


def result(
    outcome: Outcome,
    case: str = "some.case",
    workers: tuple[str, ...] = ("deno",),
    core: str = "0.5.0",
) -> Case:
    problems = (
        ("run 1f2e3d4c: its output is missing",) if outcome in {"failed", "deviation"} else ()
    )
    return Case(
        id=case,
        group="some",
        promise="it does",
        reference="here",
        core=core,
        workers=workers,
        outcome=outcome,
        seconds=1.0,
        problems=problems,
    )


def changed(*results: Case, text: str = KNOWN) -> tuple[Update, str]:
    change = update(parse(text, ""), results, {"deno": "0.8.1"}, "2026-02-03")
    return change, rewritten(text, "", change)


@pytest.mark.parametrize("outcome", ["deviation", "passed", "unsupported", "error"])
def test_what_says_nothing_new_changes_nothing(outcome: Outcome) -> None:
    change, text = changed(result(outcome), result("passed", "other.case"))
    assert (change.added, change.removed, change.by_hand, text) == ([], [], [], KNOWN)


def test_a_new_failure_is_added_and_has_to_be_explained() -> None:
    _, text = changed(result("deviation"), result("failed", "new.case"))
    assert text.startswith(KNOWN)
    (_, added) = parse(text, "")
    assert added == Deviation(
        ("deno",),
        "new.case",
        ": its output is missing",
        "to be explained",
        "to be given",
        "2026-02-03",
        "==0.8.1",
        "==0.5.0",
        line=11,
    )
    assert not added.explained
    # Again, it is known already, and still nothing is explained.
    again, after = changed(result("failed", "new.case"), text=text)
    assert (again.added, again.removed, after) == ([], [], text)


def test_what_passes_is_removed_with_its_comment_and_no_other() -> None:
    another = KNOWN.partition("\n\n")[2].replace("some", "other")
    end = f"# An end.\n\n# Of the last.\n{another.replace('other', 'last')}"
    text = f"{KNOWN}\n# Of this one.\n{another}{end}"
    change, new = changed(result("unexpected_pass", "other.case"), text=text)
    assert [one.case for one in change.removed] == ["other.case"]
    assert new == f"{KNOWN}\n{end}"
    _, none = changed(result("unexpected_pass"))
    assert none == "# What this file is about.\n\n"


def test_one_of_two_workers_that_passes_leaves_the_other() -> None:
    text = KNOWN.replace('"deno"', '["deno", "node"]')
    change, new = changed(result("unexpected_pass"), text=text)
    assert [one.workers for one in change.removed] == [("deno",)]
    assert new == KNOWN.replace('"deno"', '"node"')


def test_what_a_person_has_to_decide_is_said_and_not_done() -> None:
    change, text = changed(
        result("unexpected_pass"),
        result("deviation", core="0.8.1"),
        result("failed", "two.workers", ("deno", "python")),
    )
    assert text == KNOWN
    assert len(change.by_hand) == 2
    assert any("line 3: deno passes some.case on some cores" in one for one in change.by_hand)
    other = replace(result("failed"), problems=("it hangs",))
    change, text = changed(other)
    assert (change.by_hand, text) == (["line 3: deno fails some.case in another way"], KNOWN)


def test_a_file_that_a_machine_cannot_change_is_left_alone() -> None:
    text = KNOWN.replace('"deno"', '[\n  "deno", "node",\n]')
    change = update(parse(text, ""), [result("unexpected_pass")], {}, "")
    with pytest.raises(DeviationsError, match="by hand"):
        rewritten(text, "f", change)


def test_one_cause_may_show_in_two_ways() -> None:
    (plain,) = parse(KNOWN, "")
    (both,) = parse(f'{KNOWN}or_holds = "or is late"\n', "")
    assert plain.fits(["it is missing"])
    assert not plain.fits(["it is there", "or is late"])
    assert both.fits(["it is missing"])
    assert both.fits(["it is there", "or is late"])
    assert not both.fits(["it is there"])


@pytest.mark.parametrize("problem", ['a "quoted" \\ text', "two\nlines\x7f\x00", "é😀", ""])
def test_any_problem_can_be_written(problem: str) -> None:
    failed = replace(result("failed", "new.case"), problems=(problem,))
    _, text = changed(failed)
    assert parse(text, "")[1].holds == steady(problem)


def test_a_file_is_replaced_in_one_go(tmp_path: Path) -> None:
    path = write_file(tmp_path, KNOWN)
    write(path, "# é\n")
    assert path.read_text(encoding="utf-8") == "# é\n"
    assert list(tmp_path.iterdir()) == [path]


# Whole runs.


def test_a_run_adds_what_fails_which_excuses_once_it_is_explained(place: Place) -> None:
    path = place.path / "mine.toml"
    path.write_text("# Mine.\n", encoding="utf-8")
    asked = ["conformance/worker", "--case=worker.success", f"--deviations={path}"]
    dead = wrong_at_work("dead")
    done = place.run(*asked, dead, "--update-deviations")
    assert done.code == 1
    assert "1 added, 0 removed" in done.output
    added = path.read_text(encoding="utf-8")
    assert added.startswith("# Mine.\n")

    again = place.run(*asked, dead)
    assert again.code == 1
    assert "line 3 of the deviations has no reason yet" in again.output

    path.write_text(added.replace("to be explained", "it is dead"), encoding="utf-8")
    excused = place.run(*asked, dead)
    assert excused.code == 0
    assert {case.outcome for case in excused.cases("dead").values()} == {"deviation"}


def test_a_run_removes_what_passes(place: Place) -> None:
    path = place.path / "mine.toml"
    asked = ["conformance/compile", "--case=compile.one_step", f"--deviations={path}"]
    known = KNOWN.replace("some.case", "compile.one_step").replace("deno", "python")
    path.write_text(known, encoding="utf-8")
    done = place.run(*asked, "--worker=python")
    assert done.code == 1
    assert {case.outcome for case in done.cases("python").values()} == {"unexpected_pass"}
    again = place.run(*asked, "--worker=python", "--update-deviations")
    assert "0 added, 1 removed" in again.output
    assert path.read_text(encoding="utf-8") == "# What this file is about.\n\n"
    assert place.run(*asked, "--worker=python").code == 0


def test_a_run_that_cannot_run_changes_nothing(place: Place) -> None:
    path = place.path / "mine.toml"
    path.write_text(KNOWN, encoding="utf-8")
    asked = ["conformance/worker", "--case=worker.nothing", f"--deviations={path}"]
    assert place.run(*asked, "--worker=python", "--update-deviations").code == 2
    assert path.read_text(encoding="utf-8") == KNOWN


@pytest.mark.parametrize("parallel", [(), ("-n2",)], ids=["alone", "in parallel"])
def test_a_wrong_file_ends_a_run_before_it_begins(place: Place, parallel: tuple[str, ...]) -> None:
    path = place.path / "mine.toml"
    path.write_text(KNOWN.replace("reason", "resaon"), encoding="utf-8")
    done = place.run("conformance/worker", f"--deviations={path}", "--worker=python", *parallel)
    assert done.code == 2
    assert f"the suite cannot run: {path}:3: reason is missing" in done.output
