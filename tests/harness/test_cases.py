"""Files of cases and deviations: the real ones are sound, and a wrong one is refused by line."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from conformance.compile.test_compile import ANY_GRAPH
from conformance.harness.adapters import WORKERS, Adapter, AdapterError, find
from conformance.harness.cases import (
    DEFAULT_WITHIN,
    FIXTURES,
    Case,
    CaseError,
    RunOf,
    load,
)
from conformance.mixed.orders import EXPECTED

if TYPE_CHECKING:
    from pathlib import Path

FILES = sorted((FIXTURES / "cases").rglob("*.yaml"))
CASES = [case for path in FILES for case in load(path)]
ALONE = [case for case in CASES if (FIXTURES / "cases/worker" / f"{case.group}.yaml").exists()]
ADAPTERS = sorted(path.parent.name for path in WORKERS.glob("*/adapter.toml"))

GOOD = """\
# A comment.
- id: some.case
  promise: It does what it should.
  reference: nowhere
  flow:
    slug: some
    max_attempts: 2
    steps:
      - {slug: a, handler: [{sleep: 0.5}, {return: {yes: [1, null]}}]}
      - {slug: b, depends_on: [a], handler: [{pick: [a, "yes", 0]}]}
  worker: {poll_interval: 0.1}
  runs:
    - input: {n: 1}
      expect: {status: completed, output: {b: 1}}
  expect: {at_once: 1}
  within: 5
"""


def write(folder: Path, text: str, name: str = "cases.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# The real files.


def test_there_are_files() -> None:
    assert {"compile.yaml", "mixed.yaml", "worker.yaml"} <= {path.name for path in FILES}


def test_every_id_is_unique_over_all_files() -> None:
    ids = Counter([*(case.id for case in CASES), ANY_GRAPH.id])
    assert [name for name, count in ids.items() if count > 1] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_ids_of_a_file_begin_with_its_name(path: Path) -> None:
    assert {case.group for case in load(path)} == {path.stem}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_expectation_is_of_a_step_that_the_flow_has(case: Case) -> None:
    slugs = {step.slug for step in case.stored.steps}
    inner = {slug for step in case.stored.steps for slug in step.depends_on}
    for run in case.runs:
        assert run.expect.get("steps", {}).keys() <= slugs
        if run.expect.get("output") is not None:
            assert run.expect["output"].keys() == slugs - inner


@pytest.mark.parametrize("case", ALONE, ids=lambda case: case.id)
def test_a_case_of_one_worker_can_fail(case: Case) -> None:
    """Every run is expected to come to something, or the case as a whole is."""
    checks = [act for act in case.acts if "check" in act]
    if not checks and not case.expect.keys() & {"finished", "messages", "archived"}:
        assert case.runs
        for run in case.runs:
            assert "status" in run.expect


def test_every_mixed_case_has_an_expectation_and_asks_for_a_share() -> None:
    mixed = [case for case in CASES if case.group == "mixed"]
    assert {case.id for case in mixed} == EXPECTED.keys()
    assert all(case.expect["share"] > 0 for case in mixed)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_can_be_found(name: str) -> None:
    adapter = find(name)
    assert adapter.name == name
    assert adapter.language
    assert adapter.command


# What a case is made of.


def test_a_file_is_read(tmp_path: Path) -> None:
    (case,) = load(write(tmp_path, GOOD))
    assert (case.id, case.group, case.within) == ("some.case", "some", 5)
    assert case.runs == (RunOf({"n": 1}, {"status": "completed", "output": {"b": 1}}),)
    assert case.shape.steps[1].depends_on == ("a",)
    assert case.flow["steps"][0]["handler"] == [{"sleep": 0.5}, {"return": {"yes": [1, None]}}]


def test_what_is_not_given_has_a_default(tmp_path: Path) -> None:
    text = "- {id: a.b, promise: a promise of it, reference: somewhere, flow: {slug: f, steps: []}}"
    (case,) = load(write(tmp_path, text))
    assert (case.worker, case.runs, case.expect, case.within) == ({}, (), {}, DEFAULT_WITHIN)


def test_a_step_that_is_added_is_the_databases_and_not_the_workers(tmp_path: Path) -> None:
    added = "  acts: [{add: {slug: c, depends_on: [b], timeout: 9}}]\n"
    (case,) = load(write(tmp_path, GOOD + added))
    assert [step.slug for step in case.shape.steps] == ["a", "b"]
    assert [step.slug for step in case.stored.steps] == ["a", "b", "c"]
    said = "SELECT pgflow.add_step('some', 'c', ARRAY['b'], timeout => 9);"
    assert case.statement_of("c") == said


# Wrong files of cases: what takes the place of what, the line, and what is said.

WRONG = {
    "no YAML": ("  flow:\n", "  flow: {\n", 7, "mapping"),
    "a key twice": ("  reference:", "  id: other.case\n  reference:", 4, "duplicate key"),
    "no list": (GOOD, "id: some.case\n", 1, "array"),
    "nothing": (GOOD, "# nothing\n", 1, ""),
    "no case": (GOOD, "[]\n", 1, ""),
    "an unknown key": ("  within: 5", "  witin: 5", 2, "'witin' was unexpected"),
    "a key is missing": ("  reference: nowhere\n", "", 2, "'reference' is a required"),
    "a wrong type": ("  within: 5", "  within: soon", 16, "'soon' is not of type 'number'"),
    "a wrong id": ("some.case", "Some case", 2, "does not match"),
    "an empty promise": ("It does what it should.", "It does", 3, "too short"),
    "an unknown worker option": ("poll_interval", "pollInterval", 11, "was unexpected"),
    "an unknown instruction": ("{sleep: 0.5}", "{slep: 0.5}", 9, "slep"),
    "two instructions in one": ("{sleep: 0.5}", "{sleep: 0.5, echo: true}", 9, "sleep"),
    "a path without a start": ('[a, "yes", 0]', "[0]", 10, "is not valid"),
    "an unknown status": ("status: completed", "status: done", 14, "'done' is not one of"),
    "an unknown expectation": ("output: {b: 1}", "outputs: {b: 1}", 14, "was unexpected"),
    "a run without an input": ("    - input: {n: 1}\n      expect", "    - expect", 13, "'input'"),
    "a slug that cannot be": ("slug: b,", "slug: 1b,", 2, "step '1b'"),
    "an unknown dependency": ("[a], handler", "[c], handler", 2, "'c', which is no step"),
    "a circle": ("{slug: a,", "{slug: a, depends_on: [b],", 2, "circle"),
    "an option out of range": ("max_attempts: 2", "max_attempts: 0", 2, "max_attempts"),
    "the same id twice": (GOOD, GOOD + GOOD.partition("\n")[2], 17, "some.case"),
    "an expectation of no step": ("output: {b: 1}", "steps: {c: {attempts: 0}}", 2, "c"),
    "an invariant that is none": ("  within: 5", "  suspends: [order]", 2, "no invariant order"),
    "an input that is no JSON": ("{n: 1}", "{n: 2026-01-01}", 2, "JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_by_line(name: str, tmp_path: Path) -> None:
    old, new, line, words = WRONG[name]
    assert GOOD.count(old) == 1
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(CaseError) as caught:
        load(path)
    said = str(caught.value)
    assert said.startswith(f"{path}:{line}:") or f"line {line}," in said
    assert str(path) in said
    assert words in said


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.yaml"
    path.write_bytes(b"- id: \xff\n")
    with pytest.raises(CaseError, match=str(path)):
        load(path)


# Adapters.


def test_a_command_is_an_adapter() -> None:
    assert find("mine=./my-worker --flag 'two words'") == Adapter(
        "mine", "mine", ("./my-worker", "--flag", "two words")
    )
    assert find("mine=X=1 run").command == ("X=1", "run")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("ruby", "known are " + ", ".join(ADAPTERS)),
        ("", "no such adapter"),
        ("=run", "NAME=COMMAND"),
        ("mine=", "NAME=COMMAND"),
        ("mine= ", "NAME=COMMAND"),
        ("mine='run", "mine='run"),
        ("../mine=run", "../mine"),
    ],
)
def test_what_is_no_adapter_is_refused(wanted: str, words: str) -> None:
    with pytest.raises(AdapterError) as caught:
        find(wanted)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "TOMLDecodeError"),
        ('command = ["run"]', "language"),
        ('language = "x"', "command"),
        ('language = "x"\ncommand = "run it"', "command"),
        ('language = "x"\ncommand = ["{ruby}"]', "ruby"),
        ('language = "x"\ncommand = [1]', "command"),
    ],
)
def test_a_wrong_description_is_refused(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conformance.harness.adapters.WORKERS", tmp_path)
    (tmp_path / "mine").mkdir()
    path = write(tmp_path / "mine", text, "adapter.toml")
    with pytest.raises(AdapterError) as caught:
        find("mine")
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
