"""The regression check on real cores: what core.md's own list has must be among what it finds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.regress import __main__ as command
from conformance.regress.cases import Wish
from conformance.regress.check import Choice, check
from conformance.regress.findings import CannotRun
from conformance.regress.sides import distinct, pair, side
from conformance.regress.verdict import Verdict
from pgflow_ref.errors import InstallRefused, SourceError
from tests.harness.made import FILES, NEXT, Folder, folder

__all__ = ["folder"]  # a fixture

ABOUT = '{"name": "@pgflow/core", "version": "9.9.9"}'
ALIKE = ("catalogs", "model")

HARMLESS = "CREATE INDEX later ON pgflow.step_tasks (last_worker_id);"
LOSES_COLUMN = "ALTER TABLE pgflow.workers DROP COLUMN deprecated_at;"
LOSES_CALL = "DROP FUNCTION pgflow.set_vt_batch(text, bigint[], integer[]);"
WAITS_LONGER = """
CREATE OR REPLACE FUNCTION pgflow.calculate_retry_delay(base_delay numeric, attempts_count int)
RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = ''
AS $$ SELECT floor(base_delay * power(3, attempts_count))::int $$;
"""


def looked(base: str, candidate: str, *parts: str, folder: Path = Path("unused")) -> Verdict:
    choice = Choice(base, candidate, parts or ALIKE, Wish(seed=1), histories=2, folder=folder)
    return check(choice, lambda _: None)


# From the oldest core that is known to the newest.


@pytest.fixture(scope="module")
def far() -> Verdict:
    return looked("0.5.0", "0.8.1")


# What a worker or a client notices of each version, in the order of the versions.
NOTICED = {
    "0.5.3: steps may be delayed": ("changed", "start delay", "Since 0.5.3"),
    "0.5.3: add_step takes the delay": ("changed", "column opt_start_delay", "It is new"),
    "0.6.1: deprecated_at is there": ("changed", "column deprecated_at", "It is new"),
    "0.6.1: stopped_at is gone": ("broken", "column stopped_at", "It is gone"),
    "0.6.1: writing it is refused": ("broken", "workers are stopped", "refused with 42703"),
    "0.6.1: a heartbeat may say to leave": (
        "changed",
        "workers are deprecated",
        "asked to leave; the TypeScript worker looks at it with each heartbeat",
    ),
    "0.7.3: map steps": ("changed", "map steps", "one task for each element"),
    "0.7.3: the tables allow them": ("changed", "steps_step_type_check", "'map'"),
    "0.7.3: tasks say their index": ("changed", "type pgflow.step_task_record", "It is new"),
    "0.7.3: and the model knows it": ("changed", "task index in record", "Since 0.7.3"),
    "0.7.3: one add_step": (
        "changed",
        "function pgflow.add_step(text, text, text[], integer, integer, integer)",
        "has taken its place; it takes every call",
    ),
    "0.7.3: the other is gone": (
        "broken",
        "function pgflow.add_step(text, text, integer, integer, integer)",
        "by position, with all arguments, is refused",
    ),
    "0.7.3: a failed run takes no late calls": ("changed", "failed run is closed", "Since 0.7.3"),
    "0.7.3: and hands out no tasks": ("changed", "failed run starts tasks", "No more since 0.7.3"),
    "0.7.3: its messages are archived": ("changed", "failed run keeps messages", "are archived"),
    "0.7.3: step:started is sent": ("changed", "step started is sent", "Since 0.7.3"),
    "0.7.3: and was not": ("changed", "step started is not sent", "No more since 0.7.3"),
    "0.7.3: a flow without steps completes": (
        "changed",
        "stepless run completes at once",
        "Since 0.7.3",
    ),
    "0.8.1: it needs a newer pgmq": ("changed", "pgmq", "It needs pgmq 1.5 or newer"),
    "0.8.1: its own read_with_poll is gone": (
        "broken",
        "function pgflow.read_with_poll",
        "It is gone; no call of it is taken any more",
    ),
    "0.8.1: pgmq's is there instead": ("changed", "read with poll in pgmq", "pgmq.read_with_poll"),
    "0.8.1: there are five migrations more": ("changed", "migrations", "there are 5 to run"),
}


@pytest.mark.parametrize(("kind", "what", "words"), NOTICED.values(), ids=NOTICED)
def test_what_is_known_to_be_different_is_named(
    kind: str, what: str, words: str, far: Verdict
) -> None:
    assert far.failures == {}
    found = [one for one in far.findings if what in one.what and words in one.detail]
    assert [one.kind for one in found] == [kind], [one.what for one in far.findings]


def test_what_broke_has_a_script_that_shows_it(far: Verdict) -> None:
    broken = [one for _, one in far.of("broken")]
    assert far.exit_code == 2
    assert [one.what for one in broken if not one.script] == []


def test_what_the_catalogs_and_the_model_have_found_can_be_run(far: Verdict) -> None:
    assert not [one.what for _, one in far.of("changed") if not one.script]
    said = {one.what: one.script or "" for _, one in far.of("changed")}
    assert said["migrations"].splitlines() == [
        "pgflow-ref core files 0.5.0 base",
        "pgflow-ref core files 0.8.1 candidate",
        "diff -rq base candidate",
    ]
    assert "pg_available_extension_versions" in said["pgmq"]


@pytest.mark.parametrize(
    ("what", "case"),
    [
        ("table pgflow.workers: column stopped_at", "heartbeat.stopped_at_last"),
        ("table pgflow.steps: column opt_start_delay", "delays.are_waited_for"),
        ("map steps", "maps.elements_of_the_run"),
        ("failed run starts tasks", "exhaust.queued_sibling_runs"),
        ("read with poll in core", "core.does_what_its_model_does"),
        ("table pgflow.steps: constraint steps_step_type_check", None),
    ],
)
def test_a_case_is_named_that_is_about_it(what: str, case: str | None, far: Verdict) -> None:
    assert {one.case for one in far.findings if one.what == what} == {case}


def test_a_function_of_the_installer_is_no_break(far: Verdict) -> None:
    (found,) = [one for one in far.findings if one.what.startswith("function pgflow.set_vt_batch(")]
    assert found.kind == "changed"
    assert "no last_read_at timestamp with time zone any more, which the core's own" in found.detail
    assert "one of the two is the installer's own" in found.detail


def test_nothing_of_one_kind_is_told_twice(far: Verdict) -> None:
    told = [(one.what, one.detail) for one in far.findings]
    assert len(told) == len(set(told))


# One core, and nearly the same core.


def test_a_core_is_the_same_as_itself(folder: Folder) -> None:
    verdict = looked("0.8.1", folder("copy"))
    assert (verdict.kind, verdict.exit_code, verdict.failures) == ("same", 0, {})
    assert verdict.candidate == "0.8.1"


def test_a_candidate_with_one_more_index_changed(folder: Folder) -> None:
    verdict = looked("0.8.1", folder(**{NEXT: HARMLESS}))
    assert (verdict.kind, verdict.exit_code) == ("changed", 1)
    assert {one.who for _, one in verdict.of("changed")} == {"operators"}
    said = {one.what: one.detail for one in verdict.findings}
    assert said["migrations"] == f"From 0.8.1 on there are 1 to run: {NEXT}."
    assert "CREATE INDEX later" in said["table pgflow.step_tasks: index later"]
    assert "held against the model of 0.8.1, which it" in said[f"core {verdict.candidate}"]


def test_what_a_candidate_does_otherwise_is_told_with_a_script(folder: Folder) -> None:
    verdict = looked("0.8.1", folder(**{NEXT: WAITS_LONGER}))
    assert verdict.exit_code == 1
    told = [one for part, one in verdict.of("changed", "workers") if part == "model"]
    assert told
    assert "does not do what core 0.8.1 does" in told[0].detail
    assert "pgflow.fail_task(" in (told[0].script or "")


@pytest.mark.parametrize(
    ("lost", "what"),
    [(LOSES_COLUMN, "column deprecated_at"), (LOSES_CALL, "function pgflow.set_vt_batch")],
)
def test_what_a_candidate_takes_away_is_broken(lost: str, what: str, folder: Folder) -> None:
    verdict = looked("0.8.1", folder(**{NEXT: lost}))
    assert (verdict.exit_code, verdict.failures) == (2, {})
    assert [one for _, one in verdict.of("broken", "workers") if what in one.what]


def test_a_candidate_that_cannot_be_installed_has_no_verdict(folder: Folder) -> None:
    verdict = looked("0.8.1", folder(**{NEXT: "SELECT 1 / 0;"}))
    assert (verdict.exit_code, set(verdict.failures)) == (3, set(ALIKE))
    assert f"{NEXT}" in verdict.failures["catalogs"]


def test_workers_cases_and_an_upgrade_under_way(folder: Folder, tmp_path: Path) -> None:
    wish = Wish(workers=("plain",), cases=("acks.completed_once",), seed=1, more=("-n", "0"))
    parts = ("crossing", "upgrading", "cases")
    path = folder(**{NEXT: HARMLESS})
    verdict = check(Choice("0.8.1", path, parts, wish, folder=tmp_path / "results"), print)
    assert verdict.failures == {}
    assert verdict.exit_code == 0, verdict.findings
    said = {one.what: one.detail for one in verdict.findings}
    name = verdict.candidate
    assert said["order of an upgrade"] == "Core and workers may be upgraded in any order."
    assert said["worker plain"] == f"It does all its work on 0.8.1 and {name}."
    assert "nothing was lost, nothing was done twice" in said["live upgrade"]
    made = f"The core that comes of it is {name} as a new installation makes it."
    assert said["upgraded core"] == made
    assert said["1 case of acks"] == "Results on both: 1 passed."


# What is refused before anything is started.


def test_a_file_that_is_not_as_it_is_pinned_takes_force(folder: Folder) -> None:
    path = folder("changed", **{FILES[3]: "SELECT 1;"})
    with pytest.raises(CannotRun, match=rf"{FILES[3]} in .* expected SHA-256 .*; --force"):
        pair("0.8.1", path)
    assert pair("0.8.1", path, force=True)[1].like == "0.8.1"


def test_what_is_no_core_is_refused() -> None:
    with pytest.raises(InstallRefused, match=r"'9\.9\.9' is not known"):
        pair("0.8.1", "9.9.9")
    with pytest.raises(SourceError, match="does not exist"):
        pair("./nowhere", "0.8.1")


def test_two_cores_of_one_name_are_refused(folder: Folder) -> None:
    one = folder("one", **{NEXT: HARMLESS, "package.json": ABOUT})
    two = folder("two", **{NEXT: LOSES_CALL, "package.json": ABOUT})
    with pytest.raises(CannotRun, match=r"both say to be core 9\.9\.9 and are not the same"):
        pair(one, two)
    assert len(distinct(*pair(one, one))) == 1
    assert len(distinct(side("0.8.1"), side(two))) == 2


# The command.


def exits(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        command.run(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_writes_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, text = tmp_path / "deep" / "page.html", tmp_path / "text.md"
    words = ["--only", "catalogs", "--html", str(page), "--markdown", str(text)]
    assert exits("0.7.3", "0.8.1", *words, "--results", str(tmp_path / "results")) == 2
    shown = capsys.readouterr()
    last = shown.out[shown.out.rindex("Broken. ") :]
    assert re.fullmatch(r"Broken\. From 0\.7\.3 to 0\.8\.1: [\w ;]+\.", " ".join(last.split()))
    assert "Not looked at: model, crossing, upgrading, cases." in shown.out
    for path in (page, text):
        assert "pgflow.read_with_poll" in path.read_text()
        assert path.read_bytes() == (tmp_path / f"results/verdict{path.suffix}").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["0.8.1", "9.9.9"], "'9.9.9' is not known"),
        (["./nowhere", "0.8.1"], "does not exist"),
        (["0.8.1", "0.8.1", "--pgmq", "new"], "'new' is neither a version"),
        (["0.8.1"], "Missing argument 'CANDIDATE'"),
        (["0.8.1", "0.8.1", "--only", "nothing"], "'nothing' is not one of"),
        (["0.8.1", "0.8.1", "--only", "cases", "--without", "cases"], "nothing to look at"),
    ],
)
def test_what_cannot_run_is_no_verdict(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exits(*words, "--results", str(tmp_path)) == 3
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_verdict_that_cannot_be_written_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Verdict("0.7.3", "0.8.1", {})
    monkeypatch.setattr(command, "check", lambda *_: made)
    (tmp_path / "file").touch()
    words = ["--html", str(tmp_path / "file" / "page.html"), "--results", str(tmp_path)]
    assert exits("0.7.3", "0.8.1", *words) == 3
    assert "page.html cannot be written" in " ".join(capsys.readouterr().err.split())


def test_an_accident_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "check", lambda *_: 1 / 0)
    assert exits("0.8.1", "0.8.1") == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_help_is_no_verdict_either(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits("--help") == 0
    assert "2  broken: what works with BASE does not with CANDIDATE" in capsys.readouterr().out
