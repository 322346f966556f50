"""How differences between model and database are found, shortened and shown; without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from conformance.core import (
    compare,
    document,
    equivalents,
    evidence,
    examples,
    machine,
    statements,
)
from conformance.core.equivalents import ListError, reason_for
from conformance.core.history import Counts, Difference, History
from conformance.core.mutations import mutants
from conformance.core.subject import Seen
from conformance.core.teeth import good
from pgflow_ref.model import Refusal, State, apply, calls, rows, tables
from pgflow_ref.profiles import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.core.subject import Subject
    from pgflow_ref.model import Profile, Reply
    from pgflow_ref.model.calls import Call

OLD, NEW = load("0.5.0").profile, load("0.8.1").profile
RUN, WORKER = UUID(int=2), UUID(int=1)


class Mirror:
    """A database that does what the model does, but for one thing."""

    def __init__(self, profile: Profile, change: Callable[[Call, Seen], Seen]) -> None:
        self.profile = profile
        self.change = change

    def reset(self) -> None:
        pass

    def call(self, call: Call, state: State) -> Seen:
        return self.change(call, seen_by(call, apply(state, call, self.profile), self.profile))


def seen_by(call: Call, reply: Reply, profile: Profile) -> Seen:
    """What a database would show."""
    found = [compare._row(call, row, profile) for row in reply.rows]
    queues: dict[str, list[Any]] = {"meta": sorted(reply.state.queue_names)}
    for name, queue in reply.state.queues.items():
        archived = queue.archive.values()
        queues[f"q_{name}"] = [tables.message_as_json(row) for row in queue.messages.values()]
        queues[f"a_{name}"] = [tables.message_as_json(row, tables.ARCHIVED) for row in archived]
    return Seen(
        [row if isinstance(row, dict) else {"value": row} for row in found],
        reply.refusal,
        "what the server says",
        [event._asdict() for event in reply.events],
        tables.rows(reply.state, profile, boxed=True),
        queues,
    )


def history(change: Callable[[Call, Seen], Seen], profile: Profile = OLD) -> History:
    return History(cast("Subject", Mirror(profile, change)), profile, Counts())


PLAYED: list[Call] = [
    calls.RegisterWorker(WORKER, "f", "w"),
    calls.CreateFlow("f", max_attempts=2),
    calls.AddStep("f", "a", timeout=60),
    calls.AddStep("f", "b", ("a",)),
    calls.StartFlow("f", '{"x": 1}'),
    calls.Read("f", 30, 10),
    calls.StartTasks("f", (1,), WORKER),
    calls.Pass(1_500_000),
    calls.CompleteTask(UUID(int=(0x5EED << 112) | 1), "a", 0, "true"),
]


def same(_call: Call, seen: Seen) -> Seen:
    return seen


def test_two_that_do_the_same_do_not_differ() -> None:
    both = history(same)
    for call in PLAYED:
        both.call(call)
    assert both.counts.calls == len(PLAYED)
    seen = frozenset().union(*both.seen)
    assert seen >= {"step_started_is_not_sent", "claim_shows_message_again"}


def without(table: str) -> Callable[[Call, Seen], Seen]:
    return lambda _, seen: seen._replace(tables={**seen.tables, table: seen.tables[table][:-1]})


def with_value(table: str, column: str, value: object) -> Callable[[Call, Seen], Seen]:
    def change(_call: Call, seen: Seen) -> Seen:
        rows = [{**row, column: value} for row in seen.tables[table]]
        return seen._replace(tables={**seen.tables, table: rows})

    return change


RUN_KEY = "5eed0000-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without("flows"), "pgflow.flows (f): the model has it, the database has not"),
        (
            with_value("step_tasks", "output", [1]),
            f"pgflow.step_tasks ({RUN_KEY}, a, 0).output: the model has None, the database [1]",
        ),
        (
            lambda _, seen: seen._replace(
                tables={
                    **seen.tables,
                    "deps": [{"flow_slug": "f", "dep_slug": "x", "step_slug": "y"}],
                }
            ),
            "pgflow.deps (f, x, y): the database has it, the model has not",
        ),
        (
            lambda _, seen: seen._replace(queues={**seen.queues, "q_more": []}),
            "tables: the database also has q_more",
        ),
        (
            lambda _, seen: seen._replace(
                queues={k: v for k, v in seen.queues.items() if k != "a_f"}
            ),
            "pgmq.a_f: the database has no such table",
        ),
        (
            lambda _, seen: seen._replace(refusal=Refusal("XX000", "c")),
            "the model expects that it is accepted, the database refused it with XX000 c (what t",
        ),
        (
            lambda call, seen: seen._replace(rows=[]) if type(call) is calls.Read else seen,
            "the answer: the model has 1: [{",
        ),
        (
            lambda _, seen: seen._replace(
                events=[{**event, "private": True} for event in seen.events]
            ),
            "events.private: the model has False, the database True",
        ),
    ],
)
def test_every_difference_is_named(change: Callable[[Call, Seen], Seen], problem: str) -> None:
    found = difference(history(change), PLAYED)
    assert any(one.startswith(problem) for one in found.problems), found.problems


def test_a_database_that_accepts_what_it_should_refuse() -> None:
    both = history(lambda _, seen: seen._replace(refusal=None))
    with pytest.raises(
        Difference, match="the model expects a refusal with 23502, the database acc"
    ):
        both.call(calls.CreateFlow(None))


def test_true_is_not_one() -> None:
    both = history(with_value("step_tasks", "output", [1]))
    both.state = played(PLAYED[:-1])
    with pytest.raises(Difference, match=r"the model has \[True\], the database \[1\]"):
        both.call(PLAYED[-1])


def difference(both: History, some: list[Call]) -> Difference:
    """Play until they differ."""
    try:
        for call in some:
            both.call(call)
    except Difference as found:
        return found
    pytest.fail("no difference was found")


def played(some: list[Call]) -> State:
    state = State()
    for call in some:
        state = apply(state, call, OLD).state
    return state


def test_a_difference_becomes_the_shortest_script() -> None:
    def forgets_retries(call: Call, seen: Seen) -> Seen:
        if isinstance(call, calls.FailTask) and seen.rows:
            return seen._replace(rows=[{**seen.rows[0], "status": "failed"}])
        return seen

    long: list[Call] = [
        *PLAYED[:-1],
        calls.CreateFlow("g"),
        calls.FailTask(UUID(int=(0x5EED << 112) | 1), "a", 0, "no"),
    ]
    both = history(forgets_retries)
    short = evidence.shorten(difference(both, long), cast("Subject", both.subject))
    assert [type(call) for call, _ in short.history] == [
        calls.CreateFlow,
        calls.AddStep,
        calls.StartFlow,
        calls.FailTask,
    ]
    started = f"flow_slug => 'f', input => '{{}}'::jsonb, run_id => '{RUN_KEY}'"
    failed = f"run_id => '{RUN_KEY}', step_slug => 'a', task_index => 0, error_message => 'no'"
    assert evidence.script(short).splitlines() == [
        "-- pgflow core 0.5.0, in a database that holds nothing else",
        "SELECT * FROM pgflow.create_flow(flow_slug => 'f');",
        "SELECT * FROM pgflow.add_step(flow_slug => 'f', step_slug => 'a');",
        f"SELECT * FROM pgflow.start_flow({started});",
        f"SELECT * FROM pgflow.fail_task({failed});",
        "-- After this last call:",
        "--   the answer.status: the model has 'queued', the database 'failed'",
    ]
    word = evidence.encode([call for call, _ in short.history])
    again = evidence.decode(word)
    with pytest.raises(Difference):
        evidence.replay(again, OLD, cast("Subject", both.subject))


def test_a_difference_that_does_not_come_again_is_shown_as_it_was() -> None:
    answers = iter([True])

    def once(_call: Call, seen: Seen) -> Seen:
        return seen._replace(refusal=Refusal("XX000")) if next(answers, False) else seen

    both = history(once)
    with pytest.raises(Difference) as found:
        both.call(PLAYED[0])
    assert evidence.shorten(found.value, cast("Subject", both.subject)) is found.value


def test_only_the_first_problems_are_shown() -> None:
    difference = Difference(OLD, [(PLAYED[0], State())], [f"problem {n}" for n in range(20)])
    assert evidence.script(difference).endswith("problem 11\n--   and 8 more")


@pytest.mark.parametrize("word", ["", "x", "eJw=", evidence.encode([])[:-4]])
def test_what_is_no_history_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="this is no history"):
        evidence.decode(word)


def test_every_call_survives_the_command_line() -> None:
    some: list[Call] = [
        *PLAYED,
        calls.SetVtBatch("f", (1, None), (2, 3)),
        calls.StartFlow("f", None, None),
        calls.AddStep("f", None, None, max_attempts=None),
    ]
    assert evidence.decode(evidence.encode(some)) == some


@pytest.mark.parametrize(
    ("call", "statement"),
    [
        (
            calls.AddStep("f", "'", ("b", None)),
            "add_step(flow_slug => 'f', step_slug => '''', deps_slugs => ARRAY['b', NULL]::text[])",
        ),
        (
            calls.ReadWithPoll("f", 1, None, 2),
            "read_with_poll(queue_name => 'f', vt => 1, qty => NULL, max_poll_seconds => 2)",
        ),
        (
            calls.Send("f", "{}", 3),
            "send(queue_name => 'f', msg => '{}'::jsonb, delay => 3)",
        ),
        (calls.SetVt("f", 1, -5), "set_vt(queue_name => 'f', msg_id => 1, vt => (-5))"),
    ],
)
def test_a_call_is_a_statement(call: Call, statement: str) -> None:
    schema = "pgmq" if isinstance(call, (calls.Send, calls.SetVt)) else "pgflow"
    assert statements.statement(call, OLD) == f"SELECT * FROM {schema}.{statement};"


def test_what_differs_between_cores_differs_in_statements() -> None:
    poll, end = calls.ReadWithPoll("f", 1, 1), calls.EndWorker(WORKER)
    assert "pgmq.read_with_poll" in statements.statement(poll, NEW)
    assert "SET stopped_at" in statements.statement(end, OLD)
    assert "SET deprecated_at" in statements.statement(end, NEW)
    assert statements.statement(calls.Heartbeat(WORKER), OLD).startswith("UPDATE pgflow.workers")
    assert statements.statement(calls.DeleteWorker(WORKER), OLD).startswith("DELETE FROM")


def test_time_passes_in_a_script_by_moving_messages() -> None:
    script = examples.script([*PLAYED[:5], calls.Pass(2_000_000)], OLD)
    assert script.endswith(
        '-- 2 s pass\nUPDATE "pgmq"."q_f" SET vt = vt - interval \'2000000 microseconds\';'
    )


def test_histories_are_played_until_each_behaviour_has_shown() -> None:
    counts = Counts()
    machine.play_until(None, OLD, counts, 0)
    assert counts.calls == 0
    machine.play_until(None, OLD, counts, 300)
    assert counts.behaviours.keys() == OLD.behaviours
    calls_then = counts.calls
    machine.play_until(None, OLD, counts, 300)
    assert counts.calls == calls_then


def test_examples_end_with_what_they_show() -> None:
    shown = examples.examples("0.5.0")["retry_delay_overflows"]
    assert isinstance(shown[-1], calls.FailTask)
    reply = apply(played(shown[:-1]), shown[-1], OLD)
    assert reply.refusal == Refusal("22003")


def test_the_page_about_the_core_is_what_the_profiles_say() -> None:
    written = document.PAGE.read_text(encoding="utf-8")
    assert written == document.page(), "run: python -m conformance.core.document"


# Mutants

FUNCTION = """CREATE OR REPLACE FUNCTION pgflow.f()
 RETURNS integer
 LANGUAGE sql
AS $function$
SELECT 1 WHERE 2 < 3
$function$
"""


def test_an_equivalent_mutant_is_found_by_line_or_id() -> None:
    listed = equivalents.load(
        """
        [[equivalent]]
        cores = ["0.5.0"]
        function = "pgflow.f"
        lines = [5, 5]
        ids = ["f:1"]
        reason = "because"
        """
    )
    reasons = {one.id: reason_for("0.5.0", one, listed) for one in mutants(FUNCTION)}
    assert reasons.pop("f:1") == "because"
    assert set(reasons.values()) == {None}
    assert reason_for("0.8.1", mutants(FUNCTION)[0], listed) is None


def test_the_project_has_a_list_and_a_reason_for_each() -> None:
    for one in equivalents.load():
        assert len(one.reason) > 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[equivalent", "mutants.toml: "),
        ("a = 1", "it may have [[equivalent]] alone"),
        ("equivalent = 1", "it may have [[equivalent]] alone"),
        ("[[equivalent]]\nwhy=1", "entry 1 (?): unknown key 'why'"),
        ("[[equivalent]]\nfunction='f'", "entry 1 (f): cores is missing"),
        (
            "[[equivalent]]\nfunction='f'\ncores=[]\nreason=''",
            "it must have lines, or ids, or both",
        ),
        (
            "[[equivalent]]\nfunction='f'\ncores=[]\nreason=''\nlines=[1]",
            "lines must be two numbers",
        ),
        ("[[equivalent]]\nfunction='f'\ncores=[]\nreason=''\nids=[1]", "must be lists of texts"),
    ],
)
def test_a_list_that_is_wrong_is_refused(text: str, said: str) -> None:
    with pytest.raises(ListError) as refused:
        equivalents.load(text)
    assert said in str(refused.value)


def test_teeth_are_good_from_95_percent_on_and_with_a_true_list() -> None:
    from conformance.core.mutants import Verdict

    mutant = mutants(FUNCTION)[0]

    def verdicts(killed: int, survived: int, *, stale: bool = False) -> list[Verdict]:
        fates = ["killed"] * killed + ["survived"] * survived
        made = [Verdict("0.5.0", mutant, fate, 1.0, 1, "", listed=False) for fate in fates]  # type: ignore[arg-type]
        return made + [Verdict("0.5.0", mutant, "killed", 1.0, 1, "", listed=True)] * stale

    assert good(verdicts(95, 5))
    assert not good(verdicts(94, 6))
    assert not good(verdicts(95, 0, stale=True))
    assert not good([])


def test_rows_are_named_tuples_of_their_tables() -> None:
    assert rows.DepRow("f", "a", "b", 0)._fields[:3] == compare.KEYS["deps"]
