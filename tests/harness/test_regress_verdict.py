"""What findings come to, and how a verdict looks: in a terminal, as Markdown, as a page."""

from __future__ import annotations

import io
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from conformance.harness.run import Run
from conformance.regress import outputs, schemas
from conformance.regress.cases import findings as of_cases
from conformance.regress.cases import relabelled
from conformance.regress.catalogs import Catalog, Column, Function, Relation
from conformance.regress.findings import CannotRun, Finding
from conformance.regress.probes import Answers, Call
from conformance.regress.verdict import Verdict
from tests.harness.streams import END, HOSTILE, SUITE, case

if TYPE_CHECKING:
    from conformance.harness.records import Case, Control, Loss

OLD, NEW = "0.7.3", "0.8.1"
SAME = Finding("same", "operators", "grants", "4 privileges of others than the owner.")
CHANGED = Finding("changed", "clients", "add_step", "It takes more.", script="SELECT 1;")
BROKEN = Finding("broken", "workers", "read", "It is gone.", "read.poll", "SELECT 2;\nSELECT 3;")


def verdict(*found: Finding, **changes: object) -> Verdict:
    values: dict[str, object] = {"base": OLD, "candidate": NEW, "parts": {"catalogs": found}}
    return Verdict(**{**values, **changes})  # type: ignore[arg-type]


# What it comes to.


@pytest.mark.parametrize(
    ("found", "code", "title", "sentence"),
    [
        ((), 0, "Same", "0.8.1 does all that was looked at as 0.7.3 does."),
        ((SAME,), 0, "Same", "0.8.1 does all that was looked at as 0.7.3 does."),
        ((SAME, CHANGED), 1, "Changed", "From 0.7.3 to 0.8.1: 1 changed for clients."),
        (
            (BROKEN, SAME, CHANGED, BROKEN),
            2,
            "Broken",
            "From 0.7.3 to 0.8.1: 2 broken for workers; 1 changed for clients.",
        ),
    ],
)
def test_a_verdict_is_as_bad_as_its_worst_finding(
    found: tuple[Finding, ...], code: int, title: str, sentence: str
) -> None:
    given = verdict(*found)
    assert (given.exit_code, given.title, given.sentence) == (code, title, sentence)


def test_without_a_part_there_is_no_verdict() -> None:
    given = verdict(BROKEN, failures={"cases": "no worker is there"})
    assert (given.exit_code, given.title) == (3, "No verdict")
    assert given.sentence == "Not all could be looked at: cases. So far: 1 broken, 0 changed."


# How it looks.


def terminal(given: Verdict) -> str:
    file = io.StringIO()
    outputs.to_terminal(given, file, width=100)
    return file.getvalue()


def test_a_terminal_has_what_broke_first_and_the_verdict_last() -> None:
    text = terminal(verdict(SAME, CHANGED, BROKEN, left_out=("cases",)))
    lines = text.splitlines()
    assert lines[0] == "What broke for workers"
    assert lines[-2:] == [
        "Not looked at: cases.",
        "Broken. From 0.7.3 to 0.8.1: 1 broken for workers; 1 changed for clients.",
    ]
    assert "  read: It is gone. [catalogs, see case read.poll]" in text
    assert "SELECT 3;" in text
    assert "  add_step: It takes more. [catalogs]" in text
    assert "SELECT 1;" in text


def test_markdown_keeps_what_is_the_same_for_whoever_asks() -> None:
    text = outputs.to_markdown(verdict(SAME, SAME, CHANGED))
    before, _, same = text.partition("<details><summary>2 things that are as they were</summary>")
    assert "It takes more." in before
    assert "4 privileges" not in before
    assert "4 privileges" in same.partition("</details>")[0]


def test_markdown_says_in_what_a_script_is_written() -> None:
    command = Finding("changed", "workers", "a", "b", script="./scripts/conformance")
    text = outputs.to_markdown(verdict(CHANGED, command))
    assert "```sql\nSELECT 1;" in text
    assert "```sh\n./scripts/conformance" in text


def test_markdown_numbers_its_scripts() -> None:
    text = outputs.to_markdown(verdict(SAME, CHANGED, BROKEN, facts={"seed": "7"}))
    assert text.startswith("## pgflow core 0.7.3 → 0.8.1: Broken\n")
    assert "| workers | 1 | 0 | 0 |" in text
    assert "It is gone. See case <code>read.poll</code>. Script 1." in text
    assert "It takes more. Script 2." in text
    assert "2 scripts" in text
    assert "SELECT 2;\nSELECT 3;" in text
    assert text.rstrip().endswith(r"seed 7\.")


def test_a_release_gets_all_of_a_long_detail() -> None:
    names = (
        ", ".join(f"209901010000{n}_pgflow_migration.sql" for n in range(10, 30)) + " and no more"
    )
    given = verdict(Finding("changed", "operators", "migrations", names))
    for text in (outputs.to_markdown(given).replace("\\", ""), outputs.to_html(given)):
        assert names in text


def test_what_could_not_be_looked_at_is_in_all_of_them() -> None:
    given = verdict(SAME, failures={"cases": "no worker is there"})
    for text in (terminal(given), outputs.to_markdown(given), outputs.to_html(given)):
        assert "no worker is there" in text
        assert "No verdict" in text


class Tags(HTMLParser):
    """The tags of a page, and whether each is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_what_a_core_says_is_text_and_nothing_else() -> None:
    hostile = Finding("broken", "workers", HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    given = verdict(hostile, base=HOSTILE, failures={"cases": HOSTILE})
    page = Tags(outputs.to_html(given))
    assert page.open == []
    assert not {"script", "img"} & set(page.seen)
    assert "\x1b[31m" not in terminal(given)
    text = outputs.to_markdown(given)
    assert "![i](" not in text.partition("### Scripts")[0]
    text.encode()


# Of two runs of the suite.


def run(*records: Case | Loss | Control, ended: bool = True) -> Run:
    return Run.of([SUITE, *records, *([END] if ended else [])])


def test_a_result_is_found_again_on_another_core() -> None:
    one = case("core.diff[0.7.3]", core=OLD)
    other = case("core.diff[0.8.1]", core=NEW)
    found = of_cases(relabelled(run(one), OLD), relabelled(run(other), NEW), OLD, NEW)
    assert [(one.kind, one.what) for one in found] == [("same", "1 case of worker")]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("passed", "failed", "broken"),
        ("passed", "unsupported", "broken"),
        ("passed", "deviation", "changed"),
        ("failed", "passed", "changed"),
        ("unsupported", "passed", "changed"),
        ("failed", "failed", "same"),
    ],
)
def test_a_result_that_is_another_one(before: str, after: str, kind: str) -> None:
    one, other = (case(outcome=outcome, core="", script="SELECT 1;") for outcome in (before, after))
    (found,) = of_cases(run(one), run(other), OLD, NEW)
    assert found.kind == kind
    if kind != "same":
        assert (found.case, found.script) == ("retry.attempts", "SELECT 1;")
        assert "The promise: A failing task" in found.detail


def test_what_a_worker_does_not_support_is_told_once_for_each_reason() -> None:
    def tried(name: str, outcome: str, why: str = "") -> Case:
        return case(name, core="", outcome=outcome, problems=(why,) if why else ())

    names, why = ("a.one", "a.two", "b.one"), "its client is not made for 0.8.1"
    before = run(*(tried(name, "passed") for name in names))
    after = run(*(tried(name, "unsupported", why) for name in names[:2]), tried("b.one", "failed"))
    (both, failed) = of_cases(before, after, OLD, NEW)
    assert (both.kind, both.what, both.case) == ("broken", "2 cases, deno", "a.one")
    assert both.detail == f"passed before, unsupported now: {why}. The cases: a.one, a.two."
    assert (failed.kind, failed.case) == ("broken", "b.one")


def test_cases_of_one_core_alone_are_told_together() -> None:
    both = case(core="")
    alone = [case(f"maps.{name}", group="maps", core="") for name in ("one", "two")]
    (new, _) = of_cases(run(both), run(both, *alone), OLD, NEW)
    assert (new.kind, new.what) == ("changed", "2 cases of maps")
    assert "about 0.8.1 and not about the other: maps.one, maps.two; 2 passed" in new.detail
    (gone, _) = of_cases(run(both, *alone), run(both), OLD, NEW)
    assert "about 0.7.3 and not about the other" in gone.detail


def test_a_case_of_the_candidate_alone_that_fails_is_broken() -> None:
    alone = case("maps.one", group="maps", core="", outcome="failed")
    found = of_cases(run(case(core="")), run(case(core=""), alone), OLD, NEW)
    assert [one.kind for one in found] == ["broken", "same"]


def test_what_fails_on_both_is_told_too() -> None:
    bad = case(core="", outcome="failed")
    (found,) = of_cases(run(bad), run(bad), OLD, NEW)
    assert found.detail == "Results on both: 1 failed. Bad on both: retry.attempts."


@pytest.mark.parametrize("broken", [run(ended=False), run(case(), ended=False), run()])
def test_a_run_that_broke_off_proves_nothing(broken: Run) -> None:
    with pytest.raises(CannotRun, match=r"on core 0\.8\.1 broke off"):
        of_cases(run(case()), broken, OLD, NEW)


# Of two catalogs.

FUNCTION = Function(
    name="pgflow.fail_task",
    arguments=(("run_id", "uuid"), ("why", "text")),
    optional=1,
    defaults="NULL",
    result="SETOF pgflow.step_tasks",
    columns=(("run_id", "uuid"),),
    properties="sql, volatile",
    body="0" * 64,
)
TABLE = Relation(
    name="pgflow.workers",
    kind="table",
    columns={"worker_id": Column("uuid", not_null=True, default="")},
    constraints={},
    indexes={},
    triggers={},
    policies={},
)


def changed(old: Function | Relation, **changes: object) -> Function | Relation:
    return replace(old, **changes)  # type: ignore[arg-type]


def catalog(*things: Function | Relation, **changes: object) -> Catalog:
    functions = [one for one in things if isinstance(one, Function)]
    relations = [one for one in things if isinstance(one, Relation)]
    return Catalog(
        functions={one.signature: one for one in functions},
        relations={one.name: one for one in relations},
        **changes,  # type: ignore[arg-type]
    )


def compared(base: Catalog, candidate: Catalog, *refused: Call, accepted: int = 1) -> list[Finding]:
    answers = {
        name: Answers(dict.fromkeys(refused, "no (42883)"), accepted) for name in base.functions
    }
    return [one for one in schemas.compare(base, candidate, answers) if one.kind != "same"]


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"body": "1" * 64}, "changed", "Its body has SHA-256 111111111111…"),
        ({"properties": "sql, stable"}, "changed", "It is sql, stable, not sql, volatile"),
        ({"defaults": "'x'"}, "changed", "Defaults: 'x', not NULL"),
        ({"arguments": (("run", "uuid"), ("why", "text"))}, "changed", "called run, why, not"),
        ({"columns": (("run_id", "uuid"), ("n", "integer"))}, "changed", "have n integer as well"),
        ({"columns": (("n", "integer"),)}, "broken", "have no run_id uuid any more"),
        (
            {"result": "pgflow.step_tasks"},
            "changed",
            "It gives back pgflow.step_tasks, not SETOF pgflow.step_tasks, with the same columns",
        ),
        ({"columns": (), "result": "void"}, "broken", "It gives back void, not SETOF"),
    ],
)
def test_a_function_that_is_another_one(changes: dict[str, object], kind: str, words: str) -> None:
    (found,) = compared(catalog(FUNCTION), catalog(changed(FUNCTION, **changes)))
    assert (found.kind, found.who) == (kind, "workers")
    assert words in found.detail


def test_columns_in_another_order_are_told_as_such() -> None:
    columns = (("run_id", "uuid"), ("n", "integer"))
    old = changed(FUNCTION, columns=columns)
    new = changed(FUNCTION, columns=columns[::-1], result="SETOF pgflow.others")
    (found,) = compared(catalog(old), catalog(new))
    assert (found.kind, found.detail) == ("changed", "The order of its columns is n, run_id.")


@pytest.mark.parametrize(
    ("columns", "kind"),
    [((("msg_id", "bigint"),), "changed"), ((("headers", "jsonb"),), "broken")],
)
def test_the_core_loses_only_what_its_own_function_had(
    columns: tuple[tuple[str, str], ...], kind: str
) -> None:
    grown = (("msg_id", "bigint"), ("headers", "jsonb"))
    old, new = changed(FUNCTION, columns=grown), changed(FUNCTION, columns=columns)
    found = schemas.compare(catalog(old), catalog(new), {}, {FUNCTION.name})
    assert [one.kind for one in found] == [kind]
    found = schemas.compare(catalog(old), catalog(new), {})
    assert [one.kind for one in found] == ["broken"]


def test_a_new_overload_is_told_unless_it_replaces_one() -> None:
    more = (*FUNCTION.arguments, ("n", "integer"))
    other = changed(FUNCTION, arguments=more)
    (found,) = compared(catalog(FUNCTION), catalog(FUNCTION, other))
    assert (found.kind, found.what) == ("changed", "function pgflow.fail_task(uuid, text, integer)")
    assert "beside the one of this name that there was" in found.detail
    (moved,) = compared(catalog(FUNCTION), catalog(other))
    assert moved.what == "function pgflow.fail_task(uuid, text)"


def test_a_call_that_is_refused_is_broken_though_the_signature_is_the_same() -> None:
    call = Call("by name, with all arguments", "SELECT 1;")
    other = changed(FUNCTION, arguments=(("run", "uuid"), ("why", "text")))
    (found,) = compared(catalog(FUNCTION), catalog(other), call)
    assert (found.kind, found.script) == ("broken", "SELECT 1;")
    assert "a call by name, with all arguments, is refused: no (42883)" in found.detail


def test_a_function_that_is_gone() -> None:
    call = Call("by position, with all arguments", "SELECT 1;")
    other = changed(FUNCTION, arguments=(("run_id", "uuid"), ("n", "integer")))
    (gone,) = compared(catalog(FUNCTION), catalog(), call, accepted=0)
    assert (gone.kind, gone.script) == ("broken", "SELECT 1;")
    assert "no call of it is taken any more: no (42883)" in gone.detail
    (moved,) = compared(catalog(FUNCTION), catalog(other))
    assert (moved.kind, moved.what) == ("changed", "function pgflow.fail_task(uuid, text)")
    assert "pgflow.fail_task(uuid, integer) has taken its place" in moved.detail


@pytest.mark.parametrize(
    ("columns", "kind", "words"),
    [
        ({}, "broken", "It is gone"),
        ({"worker_id": Column("text", not_null=True, default="")}, "changed", "text, not uuid"),
        ({"worker_id": Column("uuid", not_null=False, default="")}, "changed", "may be NULL now"),
        (
            {**TABLE.columns, "name": Column("text", not_null=True, default="")},
            "broken",
            "A worker that does not know of it cannot register",
        ),
        (
            {**TABLE.columns, "name": Column("text", not_null=True, default="''")},
            "changed",
            "text not null, default ''",
        ),
    ],
)
def test_a_table_that_workers_write(columns: dict[str, Column], kind: str, words: str) -> None:
    (found,) = compared(catalog(TABLE), catalog(changed(TABLE, columns=columns)))
    assert (found.kind, found.who) == (kind, "workers")
    assert words in found.detail


@pytest.mark.parametrize("part", ["constraints", "indexes", "triggers", "policies"])
def test_what_belongs_to_a_table(part: str) -> None:
    with_it = catalog(changed(TABLE, **{part: {"its_name": "what it says"}}))
    (new,) = compared(catalog(TABLE), with_it)
    (gone,) = compared(with_it, catalog(TABLE))
    assert (new.kind, new.who, new.detail) == ("changed", "operators", "It is new: what it says.")
    assert gone.detail == "It is gone; it was: what it says."
    assert "its_name" in new.what


def test_a_right_that_is_taken_is_broken() -> None:
    right = frozenset({("table pgflow.workers", "SELECT", "everybody")})
    (taken,) = compared(catalog(TABLE, grants=right), catalog(TABLE))
    (given,) = compared(catalog(TABLE), catalog(TABLE, grants=right))
    assert (taken.kind, given.kind) == ("broken", "changed")
    assert taken.detail == "SELECT is not granted any more to everybody."
    assert compared(catalog(), catalog(TABLE, grants=right))[-1].what == "table pgflow.workers"
