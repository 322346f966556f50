"""A history has nothing that is different each time, and a difference shows where it is."""

from __future__ import annotations

import doctest
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from conformance.harness.adapters import find
from conformance.harness.cases import FIXTURES, load
from conformance.harness.databases import Cluster, template_of
from conformance.harness.words import introduced
from conformance.histories import recording, scrub
from conformance.histories.played import Played
from conformance.histories.recording import HISTORIES, HistoryError, difference, path_of, written
from conformance.histories.scrub import HANDLER, Call, Names, Seen, history, split
from conformance.histories.tracing import Change
from pgflow_ref.install import Wanted, wanted
from pgflow_ref.profiles import known
from tests.harness.made import cluster_with

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from conformance.harness.cases import Case

RUN, OTHER, WORKER, HARNESS = (f"0193c2f0-6a3e-7c51-9d52-0d4f6a1f7f3{n}" for n in range(4))
NAMES: Final = Names([RUN, OTHER], {WORKER: "worker 1"})
LISTED: Final = load(FIXTURES / "cases" / "histories.yaml")
A_TIME: Final = "2026-01-31T10:00:00.25+00:00"


def change(
    source: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, **more: Any
) -> Change:
    """A change of a row of run 1, of step `a`."""
    of = {"run_id": RUN, "step_slug": "a", "task_index": 0, "flow_slug": "f"}
    before, after = (None if row is None else {**of, **row} for row in (old, new))
    call = more.pop("call", "complete_task")
    return Change(more.pop("txid", 1), call, source, before, after, **more)


def message(old: bool, new: bool, source: str = "message", **more: Any) -> Change:
    """A change of the message of that step's task."""
    row = {"msg_id": 5, "message": {"run_id": RUN, "step_slug": "a", "task_index": 0}, "vt": 1}
    later = {**row, "vt": 2}
    rows = (row if old else None, later if new else None)
    return Change(1, more.pop("call", "fail_task"), source, *rows, **more)


def effects(*changes: Change) -> list[Mapping[str, Any]]:
    return [effect for call in history(changes, [], NAMES) for effect in call.does]


# What is different each time.


def test_ids_and_times_get_names_that_are_always_the_same() -> None:
    given = {"z": [RUN, OTHER], "at": A_TIME, "by": WORKER, "topic": f"pgflow:run:{OTHER}"}
    assert NAMES.scrub({**given, "who": "0193c2f0-6a3e-7c51-9d52-0d4f6a1f7f39", "n": 1}) == {
        "z": ["run 1", "run 2"],
        "at": "time",
        "by": "worker 1",
        "topic": "pgflow:run:run 2",
        "who": "an id",
        "n": 1,
    }


def test_changes_in_one_call_come_to_one_effect() -> None:
    first = change("step", {"status": "created", "n": 1}, {"status": "created", "n": 0})
    second = change("step", {"status": "created", "n": 0}, {"status": "started", "n": 0})
    assert effects(first, second) == [
        {
            "of": "run 1, step a",
            "was": {"n": 1, "status": "created"},
            "is": {"n": 0, "status": "started"},
        }
    ]


def test_the_order_within_a_call_is_that_of_names() -> None:
    made = [change("task", None, {"step_slug": slug}) for slug in "cab"]
    made.append(change("run", {"n": 2}, {"n": 1}))
    assert [one["of"] for one in effects(*made)] == [
        "run 1",
        *(f"run 1, task {slug} 0" for slug in "abc"),
    ]


def test_what_is_done_and_undone_is_no_effect() -> None:
    there = change("step", {"n": 1}, {"n": 2})
    assert effects(there, change("step", {"n": 2}, {"n": 1})) == []


def test_calls_are_told_apart_by_function_and_transaction() -> None:
    made = [
        change("run", {"n": 3}, {"n": 2}),
        change("run", {"n": 2}, {"n": 1}, txid=2),
        change("run", {"n": 1}, {"n": 0}, txid=2, call="fail_task"),
    ]
    assert [call.name for call in history(made, [], NAMES)] == [
        "complete_task",
        "complete_task",
        "fail_task",
    ]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([message(old=False, new=True, hidden=0)], ["sent"]),
        ([message(old=False, new=True, hidden=9)], ["sent, hidden for 9 s"]),
        ([message(old=True, new=True, hidden=1200)], ["hidden for 1200 s"]),
        ([message(old=True, new=True, hidden=0)], ["visible"]),
        ([message(old=True, new=True, hidden=2, call="read_with_poll")], []),
        ([message(old=True, new=True, hidden=2, call="set_vt_batch")], []),
        ([message(old=True, new=False)], ["out of the queue"]),
        (
            [message(old=True, new=False), message(old=False, new=True, source="archive")],
            ["out of the queue, in the archive"],
        ),
    ],
)
def test_of_a_message_only_what_the_core_does_is_told(
    made: Sequence[Change], said: list[str]
) -> None:
    assert [effect["is"] for effect in effects(*made)] == said


def test_events_keep_their_order_but_among_their_kind() -> None:
    def sent(kind: str, step: str) -> Change:
        row = {"event": f"{kind}:{step}", "payload": {"event_type": kind, "run_id": RUN}}
        return Change(1, "complete_task", "sent", None, {**row, "topic": RUN, "private": False})

    made = [sent("done", "z"), sent("begun", "b"), sent("begun", "a"), sent("done", "a")]
    assert [one["of"].rpartition(" ")[2] for one in effects(*made)] == [
        "done:z",
        "begun:a",
        "begun:b",
        "done:a",
    ]


# Calls of handlers.


def claim(worker: str = WORKER, txid: int = 1) -> Change:
    new = {"status": "started", "last_worker_id": worker}
    return change("task", {"status": "queued"}, new, call="start_tasks", txid=txid)


def seen(value: object) -> Seen:
    return Seen(RUN, "a", 0, value)


def handlers(changes: Sequence[Change], calls: Sequence[Seen]) -> list[Mapping[str, Any]]:
    names = replace(NAMES, workers={WORKER: "worker 1", HARNESS: "harness"})
    found = history(changes, calls, names)
    return [effect for call in found if call.name == HANDLER for effect in call.does]


def test_a_call_of_a_handler_comes_after_its_claim() -> None:
    called = history([claim(), claim(txid=2)], [seen(1), seen(2)], NAMES)
    assert [call.name for call in called] == ["start_tasks", HANDLER, "start_tasks", HANDLER]
    assert [call.does[0].get("sees") for call in called] == [None, 1, None, 2]


def test_a_handler_that_is_not_called_shows() -> None:
    assert handlers([claim()], []) == [{"of": "run 1, task a 0", "called": False}]


def test_a_handler_that_is_called_without_a_claim_shows() -> None:
    assert handlers([], [seen(1)]) == [{"of": "run 1, task a 0", "sees": 1, "claimed": False}]


def test_the_harness_has_no_handlers() -> None:
    assert handlers([claim(HARNESS)], []) == []


@pytest.mark.parametrize(
    ("given", "form", "is_root", "is_map", "same"),
    [
        ({"run": {"n": 1}}, "whole", True, False, {"n": 1}),
        ({"n": 1}, "split", True, False, {"n": 1}),
        ({"run": 1, "a": 2}, "whole", False, False, {"a": 2}),
        ({"a": 2}, "split", False, False, {"a": 2}),
        ({"run": 3}, "whole", True, True, {"run": 3}),
        (7, "whole", True, False, 7),
    ],
)
def test_arguments_have_one_form(
    given: object, form: str, is_root: bool, is_map: bool, same: object
) -> None:
    assert split(given, form, is_root=is_root, is_map=is_map) == same


# Files, and differences.

CALLS: Final = [
    Call("start_flow", ({"of": "run 1", "is": {"status": "started"}},)),
    Call(HANDLER, ({"of": "run 1, task a 0", "sees": {"ä": None}},)),
    Call(
        "complete_task",
        (
            {"of": "run 1", "was": {"n": 1, "status": "started"}, "is": {"n": 0, "status": "done"}},
            {"of": "run 1, message a 0", "is": "out of the queue"},
            {"of": "run 1, event x", "is": {"n": 1}, "private": False},
        ),
    ),
]


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(written("histories.one", "0.5.0", CALLS), encoding="utf-8")
    assert recording.load(path) == CALLS
    assert difference(CALLS, recording.load(path)) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"calls": [1]}', '{"calls": [{"call": "x"}]}'])
def test_a_file_that_is_no_history_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HistoryError, match=r"one\.json is no history"):
        recording.load(path)


def test_a_difference_names_call_row_and_column() -> None:
    effect = {"of": "run 1", "was": {"n": 1, "status": "started"}, "is": {"n": 1, "status": "done"}}
    other = [*CALLS[:2], Call("complete_task", (effect, *CALLS[2].does[1:]))]
    assert difference(CALLS, other) == [
        "@@ call 3, complete_task @@",
        "- run 1: n 1 → 0",
        "+ run 1: n 1 → 1",
    ]


def test_a_row_that_is_new_is_one_line() -> None:
    more = Call("start_flow", (*CALLS[0].does, {"of": "run 2", "is": {"a": 1, "b": [2]}}))
    assert difference(CALLS, [more, *CALLS[1:]]) == [
        "@@ call 1, start_flow @@",
        "+ run 2: a 1, b [2]",
    ]


def test_calls_that_are_missing_or_new_show() -> None:
    assert difference(CALLS, CALLS[:1])[0] == "@@ call 2, handler @@"
    assert '- run 1, task a 0: sees {"ä": null}' in difference(CALLS, CALLS[:1])
    assert difference(CALLS[:1], CALLS)[0] == "@@ call 2, handler @@"
    assert "+ run 1, message a 0: out of the queue" in difference(CALLS[:1], CALLS)
    assert difference([], CALLS)[1] == "+ call: start_flow"
    assert difference(CALLS, [])[1] == "- call: start_flow"


@pytest.mark.parametrize("module", [recording, scrub])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


# The files that are kept.


KEPT: Final = [(case, core) for core in known() for case in LISTED if case.admits(core)]


def test_a_dozen_flows_are_kept_for_every_core() -> None:
    assert {path_of(case.id, core) for case, core in KEPT} == set(HISTORIES.rglob("*.json"))
    assert sum(case.admits("0.5.0") for case in LISTED) >= 12


@pytest.mark.parametrize(("case", "core"), KEPT, ids=lambda one: getattr(one, "id", one))
def test_what_is_kept_is_as_it_would_be_written(case: Case, core: str) -> None:
    path = path_of(case.id, core)
    text = path.read_text(encoding="utf-8")
    assert text == written(case.id, core, recording.load(path))
    assert Names([], {}).scrub(text) == text, "an id or a time is left"


def test_the_cores_differ_where_they_are_known_to() -> None:
    def lines(name: str, before: str, after: str) -> str:
        of = [recording.load(path_of(f"histories.{name}", core)) for core in (before, after)]
        return "\n".join(difference(*of))

    assert '+ run 1, event step:first:started: event_type "step:started"' in lines(
        "chain", "0.6.1", "0.7.3"
    )
    assert "message waits 0: out of the queue, in the archive" in lines(
        "failed_beside", "0.6.1", "0.7.3"
    )
    assert lines("chain", "0.5.3", "0.6.1") == ""


# Played.

PATCH: Final = (
    "CREATE OR REPLACE FUNCTION pgflow.calculate_retry_delay(base_delay numeric,"
    " attempts_count integer) RETURNS integer LANGUAGE sql AS 'SELECT 1000'"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_with("0.5.0") as made:
        yield made


def play(
    cluster: Cluster, folder: Path, *, records: bool = False, patch: str = "", name: str = "chain"
) -> Played:
    case = next(one for one in LISTED if one.id == f"histories.{name}")
    if patch:
        case = replace(case, acts=({"sql": patch}, *case.acts))
    folder.mkdir(exist_ok=True)
    trial = Played(case, [introduced(find("plain"))], folder, records=records)
    trial.run(cluster)
    return trial


def test_a_worker_leaves_what_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    trial = play(cluster, tmp_path)
    assert (trial.outcome, trial.problems) == ("passed", [])


def test_a_core_that_does_something_else_is_told(cluster: Cluster, tmp_path: Path) -> None:
    trial = play(cluster, tmp_path, patch=PATCH, name="retry")
    assert trial.outcome == "failed"
    (problem,) = trial.problems
    assert "fixtures/histories/0.5.0/retry.json" in problem
    assert "- run 1, message flaky 0: hidden for 1200 s" in problem
    assert "+ run 1, message flaky 0: hidden for 1000 s" in problem
    assert "--record --case histories.retry --core 0.5.0" in problem


def test_a_history_is_recorded_and_then_compared_with(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_now = path_of("histories.chain", "0.5.0").read_text(encoding="utf-8")
    monkeypatch.setattr(recording, "HISTORIES", tmp_path / "fixtures" / "histories")
    first = play(cluster, tmp_path / "1")
    assert first.outcome == "unsupported"
    assert "no history of core 0.5.0 is recorded; to record it" in first.problems[0]
    assert play(cluster, tmp_path / "2", records=True).note == "recorded"
    assert path_of("histories.chain", "0.5.0").read_text(encoding="utf-8") == kept_now
    assert play(cluster, tmp_path / "3", records=True).note == "recorded, and as it was"
    assert play(cluster, tmp_path / "4").outcome == "passed"


def test_a_core_that_is_recorded_nowhere_is_held_against_the_one_that_it_is_like(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_a_path(_: str) -> Wanted:
        return replace(wanted("0.5.0"), label="0.5.0-mine")

    monkeypatch.setattr("conformance.histories.played.cores.of", of_a_path)
    cluster.create(template_of("0.5.0"), "conformance_0.5.0")
    same = play(cluster, tmp_path / "1")
    assert (same.outcome, same.note) == ("passed", "as on 0.5.0")
    other = play(cluster, tmp_path / "2", patch=PATCH, name="retry")
    assert other.outcome == "unsupported"
    assert "it is not that of fixtures/histories/0.5.0/retry.json" in other.problems[0]
    assert "+ run 1, message flaky 0: hidden for 1000 s" in other.problems[0]
