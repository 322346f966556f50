"""Runs that start together, and runs that start later, on a real PostgreSQL."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from pgflow_ref import (
    Event,
    Flow,
    FlowNotFound,
    InvalidDelay,
    InvalidSchedule,
    Job,
    NotJson,
    RunNotFound,
    StepNotCompleted,
    StepNotFound,
)
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Database, Working
    from tests.ways import Way

UTC = dt.timezone.utc


@pytest.fixture
def pgflow(core: Database, way: Way) -> Iterator[Any]:
    with way.client(core.url) as pgflow:
        yield pgflow


@pytest.fixture
def job(core: Database) -> Job:
    job = Job("send_email")
    job.perform()(lambda email, _ctx: {"sent": email})
    core.add(job)
    return job


@pytest.fixture
def two_roots(core: Database) -> Flow:
    """A flow of three steps, two of which depend on nothing."""
    flow = Flow("two_roots")
    flow.step("one")(lambda given, _ctx: given)
    flow.step("two")(lambda given, _ctx: given)
    flow.step("three", depends_on=["one", "two"])(lambda given, _ctx: given)
    return core.add(flow)


def rows(database: Database) -> tuple[int, int, int]:
    """How many runs, step states and tasks there are."""
    found: tuple[int, int, int] = database.rows(
        "SELECT (SELECT count(*) FROM pgflow.runs), (SELECT count(*) FROM pgflow.step_states),"
        " (SELECT count(*) FROM pgflow.step_tasks)"
    )[0]
    return found


# Many at once


def test_a_run_for_each_input(core: Database, pgflow: Any, two_roots: Flow) -> None:
    inputs = [n % 7 or None for n in range(300)]
    run_ids = pgflow.start_flows(two_roots, iter(inputs))
    assert len(set(run_ids)) == 300
    assert [pgflow.get_flow_input(run_id) for run_id in run_ids[::50]] == inputs[::50]
    stored = dict(core.rows("SELECT run_id, input FROM pgflow.runs"))
    assert [stored[run_id] for run_id in run_ids] == inputs
    assert rows(core) == (300, 900, 600)
    assert core.value("SELECT count(*) FROM pgmq.q_two_roots") == 600


def test_no_input_touches_nothing(way: Way) -> None:
    nowhere = way.client("postgresql://nobody@127.0.0.1:1/nothing")
    assert nowhere.start_flows("whatever", []) == []


def test_all_inputs_or_none(core: Database, pgflow: Any, job: Job) -> None:
    with pytest.raises(NotJson, match=r"^\$\[2\]\.when: object is not a JSON value"):
        pgflow.start_flows(job, [1, 2, {"when": object()}])
    with pytest.raises(NotJson, match="nested deeper"):
        pgflow.start_flows(job, [1, 2, deep(20_000)])
    with pytest.raises(FlowNotFound):
        pgflow.start_flows("goodbye", [1, 2])
    for wrong in ("text", b"bytes", {"a": 1}):
        with pytest.raises(NotJson, match="inputs are given as a list of inputs, not as"):
            pgflow.start_flows(job, wrong)
    assert rows(core) == (0, 0, 0)
    assert core.value("SELECT count(*) FROM pgmq.q_send_email") == 0


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


# Later


def hidden_for(database: Database, slug: str) -> list[float]:
    """Seconds between a run's start and the moment at which its messages become visible."""
    tables = {"send_email": "pgmq.q_send_email", "two_roots": "pgmq.q_two_roots"}
    query: Any = (
        f"SELECT extract(epoch FROM q.vt - r.started_at)::float8 FROM {tables[slug]} q"
        " JOIN pgflow.runs r ON r.run_id::text = q.message->>'run_id' ORDER BY 1"
    )
    return [seconds for (seconds,) in database.rows(query)]


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (20, 20),
        (0.2, 1),
        (19.001, 20),
        (dt.timedelta(minutes=2), 120),
        (dt.timedelta(microseconds=1), 1),
        (2**31 - 1, 2**31 - 1),
    ],
)
def test_a_job_waits_for_its_delay(
    delay: Any, seconds: int, core: Database, pgflow: Any, job: Job
) -> None:
    for run_id in (pgflow.enqueue_in(job, 7, delay), pgflow.enqueue(job, 7, delay=delay)):
        run = pgflow.get_run(run_id)
        assert (run.status, run.input) == ("started", 7)
    for waited in hidden_for(core, "send_email"):
        assert seconds <= waited < seconds + PATIENCE


@pytest.mark.parametrize("delay", [0, 0.0, -0.0, dt.timedelta(0)])
def test_no_delay_is_now(delay: Any, core: Database, pgflow: Any, job: Job) -> None:
    pgflow.enqueue_in(job, 1, delay)
    pgflow.enqueue(job, 1, delay=delay)
    pgflow.enqueue(job, 1)
    assert core.value("SELECT count(*) FROM pgmq.read('send_email', 0, 10)") == 3


def test_all_steps_that_could_start_wait(core: Database, pgflow: Any, two_roots: Flow) -> None:
    pgflow.enqueue_in(two_roots, 1, 50)
    pgflow.enqueue_at(two_roots, 1, dt.datetime.now(UTC) + dt.timedelta(seconds=50))
    waited = hidden_for(core, "two_roots")
    assert len(waited) == 4
    assert min(waited) >= 49  # a clock of the client that is a little behind
    assert core.value("SELECT count(*) FROM pgmq.read('two_roots', 0, 10)") == 0


def test_a_delay_goes_before_start_delay(newest: Database, way: Way) -> None:
    flow = Flow("two_roots")
    flow.step("one")(lambda given, _ctx: given)
    flow.step("two", start_delay=1_000)(lambda given, _ctx: given)
    newest.add(flow)
    with way.client(newest.url) as pgflow:
        pgflow.enqueue_in(flow, 1, 100)
        with pytest.raises(InvalidDelay, match="too long"):
            pgflow.enqueue_in(flow, 1, 2**31 - 1)
    one, two = hidden_for(newest, "two_roots")
    assert 100 <= one < 100 + PATIENCE
    assert 1_100 <= two < 1_100 + PATIENCE
    assert newest.value("SELECT count(*) FROM pgflow.runs") == 1


def test_a_job_waits_until_its_time(core: Database, pgflow: Any, job: Job) -> None:
    later = core.value("SELECT clock_timestamp() + interval '1 hour'")
    zones = [UTC, ZoneInfo("Asia/Kathmandu"), dt.timezone(-dt.timedelta(hours=11, minutes=30))]
    for zone in zones:
        pgflow.enqueue_at(job, 1, later.astimezone(zone))
    pgflow.enqueue(job, 1, scheduled_at=later)
    pgflow.enqueue(job, 1, scheduled_at=later, delay=7)  # the time goes before
    for (vt,) in core.rows("SELECT vt FROM pgmq.q_send_email"):
        assert dt.timedelta(0) <= vt - later < dt.timedelta(seconds=PATIENCE)


def test_clocks_that_go_forward_and_back(core: Database, pgflow: Any, job: Job) -> None:
    """2:30 is not there on one day in spring, and is there twice on one in autumn."""
    berlin = ZoneInfo("Europe/Berlin")
    times = [
        dt.datetime(2040, 3, 25, 2, 30, tzinfo=berlin),
        dt.datetime(2040, 10, 28, 2, 30, tzinfo=berlin),
        dt.datetime(2040, 10, 28, 2, 30, fold=1, tzinfo=berlin),
    ]
    for at in times:
        pgflow.enqueue_at(job, str(at), at)
    found = core.rows(
        "SELECT q.vt FROM pgmq.q_send_email q JOIN pgflow.step_tasks t ON t.message_id = q.msg_id"
        " ORDER BY q.msg_id"
    )
    for at, (vt,) in zip(times, found, strict=True):
        assert dt.timedelta(0) <= vt - at.astimezone(UTC) < dt.timedelta(seconds=PATIENCE)
    assert found[2][0] - found[1][0] > dt.timedelta(minutes=59)


@pytest.mark.parametrize(
    "at",
    [
        dt.datetime(2026, 1, 1, tzinfo=UTC),
        dt.datetime(1999, 12, 31, tzinfo=UTC),
        dt.datetime.min.replace(tzinfo=UTC),
        dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=14))),
    ],
    ids=str,
)
def test_what_is_past_is_now(at: dt.datetime, core: Database, pgflow: Any, job: Job) -> None:
    pgflow.enqueue_at(job, 1, at)
    assert core.value("SELECT count(*) FROM pgmq.read('send_email', 0, 10)") == 1


@pytest.mark.parametrize(
    "at",
    [
        dt.datetime(9999, 12, 31, tzinfo=UTC),
        dt.datetime.max.replace(tzinfo=UTC),
        dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=12))),
    ],
    ids=str,
)
def test_a_time_that_is_too_far_away(at: Any, core: Database, pgflow: Any, job: Job) -> None:
    with pytest.raises(InvalidSchedule, match="can wait for 2147483647 seconds, 68 years"):
        pgflow.enqueue_at(job, 1, at)
    assert rows(core) == (0, 0, 0)
    assert core.value("SELECT count(*) FROM pgmq.q_send_email") == 0


NO_DELAYS = [-1, -0.001, math.nan, math.inf, -math.inf, "20", b"1", True, False, [], 2**31]
NO_DELAYS += [10**400, dt.timedelta(-1), dt.timedelta.max, dt.datetime(2040, 1, 1, tzinfo=UTC), 1j]


@pytest.mark.parametrize("delay", NO_DELAYS, ids=lambda delay: repr(delay)[:20])
def test_what_is_no_delay(delay: Any, core: Database, pgflow: Any, job: Job) -> None:
    with pytest.raises(InvalidDelay) as caught:
        pgflow.enqueue_in(job, 1, delay)
    assert len(str(caught.value)) < 200
    with pytest.raises(InvalidDelay):
        pgflow.enqueue(job, 1, delay=delay)
    assert rows(core) == (0, 0, 0)


@pytest.mark.parametrize(
    "at",
    [dt.datetime(2040, 1, 1), dt.datetime.max, "2040-01-01T00:00:00Z", 0, 2e9, dt.date(2040, 1, 1)],  # noqa: DTZ001, DTZ901
    ids=str,
)
def test_what_is_no_time(at: Any, core: Database, pgflow: Any, job: Job) -> None:
    with pytest.raises(InvalidSchedule):
        pgflow.enqueue_at(job, 1, at)
    with pytest.raises(InvalidSchedule):
        pgflow.enqueue(job, 1, scheduled_at=at)
    assert rows(core) == (0, 0, 0)


def test_a_job_that_cannot_be_started_later(core: Database, pgflow: Any, job: Job) -> None:
    later = dt.datetime.now(UTC) + dt.timedelta(hours=1)
    starts: list[Callable[[Any, object], object]] = [
        lambda slug, given: pgflow.enqueue_in(slug, given, 5),
        lambda slug, given: pgflow.enqueue_at(slug, given, later),
    ]
    for start in starts:
        with pytest.raises(FlowNotFound):
            start("goodbye", 1)
        with pytest.raises(NotJson):
            start(job, {1})
        with pytest.raises(NotJson, match="nested deeper"):
            start(job, deep(20_000))
    assert rows(core) == (0, 0, 0)


def test_nothing_is_started_that_cannot_be_delayed(core: Database, pgflow: Any, job: Job) -> None:
    """Run and delay are one transaction."""
    core.alter("DROP FUNCTION pgmq.set_vt(text, bigint, integer)")
    with pytest.raises(Exception, match="set_vt"):
        pgflow.enqueue_in(job, 1, 20)
    assert rows(core) == (0, 0, 0)
    assert core.value("SELECT count(*) FROM pgmq.q_send_email") == 0


def test_a_delayed_job_in_a_transaction_of_the_callers(core: Database, way: Way, job: Job) -> None:
    with way.connect(core.url) as mine:
        pgflow = way.client(mine)
        pgflow.enqueue_in(job, 1, 20)
        assert rows(core) == (0, 0, 0)
        with pytest.raises(FlowNotFound):
            pgflow.enqueue_in("goodbye", 1, 20)
        with pytest.raises(InvalidSchedule):
            pgflow.enqueue_at(job, 2, dt.datetime(9999, 1, 1, tzinfo=UTC))
        pgflow.enqueue_in(job, 3, 20)
        mine.commit()
    assert core.rows("SELECT input FROM pgflow.runs ORDER BY 1") == [(1,), (3,)]
    assert min(hidden_for(core, "send_email")) >= 20


def test_a_delayed_job_is_done(
    core: Database, pgflow: Any, job: Job, work: Callable[..., Working]
) -> None:
    run_id = pgflow.enqueue_in(job, "ada", 3_600)
    work(job, url=core.url)
    assert core.finish(run_id).output == {"send_email": {"sent": "ada"}}


# Outputs


def test_outputs_of_steps(core: Database, pgflow: Any, work: Callable[..., Working]) -> None:
    flow = Flow("outputs", max_attempts=1)
    values = {"text": "", "zero": 0, "no": False, "nothing": None, "list": [1, {"a": None}]}
    for name, value in values.items():
        flow.step(name)(lambda _given, _ctx, value=value: value)

    @flow.step(depends_on=["text"])
    def fails(_given: object, _ctx: object) -> None:
        raise ValueError("no")

    last = flow.step("last", depends_on=[fails])(lambda _given, _ctx: 1)
    run_id = pgflow.start_flow(core.add(flow), 1)
    with pytest.raises(StepNotCompleted, match=r"'text' of run .* is not completed, but started"):
        pgflow.get_step_output(run_id, "text")
    work(flow, url=core.url)
    core.finish(run_id)
    done = {
        step: pgflow.get_step_output(run_id, step)
        for step, status in core.rows("SELECT step_slug, status FROM pgflow.step_states")
        if status == "completed"
    }
    assert "text" in done
    assert done == {step: values[step] for step in done}
    for step, status in ((fails, "failed"), (last, "created"), ("last", "created")):
        with pytest.raises(StepNotCompleted) as caught:
            pgflow.get_step_output(str(run_id), step)
        assert caught.value.status == status


def test_the_output_of_a_map_step(newest: Database, way: Way, work: Callable[..., Working]) -> None:
    flow = Flow("mapping")
    double = flow.map(slug="double")(lambda given, _ctx: None if given is None else 2 * given)
    newest.add(flow)
    work(flow, url=newest.url)
    with way.client(newest.url) as pgflow:
        for given, output in (([3, None, 1], [6, None, 2]), ([], [])):
            run_id = pgflow.start_flow(flow, given)
            newest.finish(run_id)
            assert pgflow.get_step_output(run_id, double) == output


def test_outputs_that_are_not_there(pgflow: Any, job: Job) -> None:
    run_id = pgflow.start_flow(job, 1)
    for step in ("nothing", "", "a\x00b", "\ud800", None, 7):
        with pytest.raises(StepNotFound, match=f"run {run_id} has no step"):
            pgflow.get_step_output(run_id, step)
    for missing in (uuid4(), "no id", None):
        with pytest.raises(RunNotFound):
            pgflow.get_step_output(missing, "send_email")
        with pytest.raises(RunNotFound):
            pgflow.get_flow_input(missing)


# Who listens


def test_who_listens_hears_of_each_run(core: Database, way: Way, job: Job) -> None:
    heard: list[Event] = []

    def fail(_event: Event) -> None:
        raise RuntimeError("deaf")

    with way.client(core.url, listeners=[fail, heard.append]) as pgflow:
        run_ids = [
            pgflow.start_flow(job, 1),
            *pgflow.start_flows(job, [2, 3]),
            pgflow.enqueue_in(job, 4, 5),
            pgflow.enqueue_at(job, 5, dt.datetime.now(UTC)),
            pgflow.enqueue(job, 6),
        ]
        for wrong in ("goodbye", None):
            with pytest.raises((FlowNotFound, ValueError)):
                pgflow.start_flow(wrong, 1)
    assert [(event.name, event.run_id) for event in heard] == [
        ("pgflow.run.started", run_id) for run_id in run_ids
    ]
    assert {event.flow_slug for event in heard} == {"send_email"}
