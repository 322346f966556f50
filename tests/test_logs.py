"""Listeners that write events to a log."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import time
from dataclasses import fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgflow_ref.json_contract import encode
from pgflow_ref.logs import FAILURES, ConsoleLog, JsonLog, as_record, as_text, level, silenced
from pgflow_ref.telemetry import EVENT_NAMES, Event

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = UUID("00000000-0000-4000-8000-000000000001")
RUN = UUID("00000000-0000-4000-8000-000000000002")
TASK: dict[str, Any] = {
    "worker_id": WORKER,
    "worker_name": "order",
    "flow_slug": "order",
    "run_id": RUN,
    "step_slug": "charge",
    "task_index": 0,
    "attempt": 1,
}
AT = 1_800_000_000.25

STORY = [
    Event(name="pgflow.flow.ensured", at=AT, flow_slug="order", count=2),
    Event(
        name="pgflow.worker.start", at=AT, worker_id=WORKER, worker_name="shop", flow_slug="order"
    ),
    Event(name="pgflow.run.started", at=AT, flow_slug="order", run_id=RUN),
    Event(name="pgflow.worker.poll.start", at=AT, worker_id=WORKER, flow_slug="order"),
    Event(
        name="pgflow.worker.poll.stop",
        at=AT,
        worker_id=WORKER,
        worker_name="order",
        flow_slug="order",
        duration=0.002,
        count=1,
    ),
    Event(name="pgflow.worker.task.start", at=AT, **TASK),
    Event(
        name="pgflow.worker.task.exception",
        at=AT,
        **TASK,
        duration=0.1234567,
        kind="error",
        reason="no\nmoney \x1b[31m",
    ),
    Event(
        name="pgflow.worker.task.stop",
        at=AT,
        **{**TASK, "task_index": 3, "attempt": 2},
        duration=2.0,
        output={"charged": True},
    ),
    Event(
        name="pgflow.worker.recovered", at=AT, worker_id=WORKER, worker_name="order",
        flow_slug="order", count=2,
    ),
    Event(name="pgflow.run.completed", at=AT, flow_slug="order", run_id=RUN, output=None),
    Event(
        name="pgflow.run.failed", at=AT, worker_id=WORKER, flow_slug="order", run_id=RUN,
        reason="it broke",
    ),
    Event(
        name="pgflow.worker.stop", at=AT, worker_id=WORKER, worker_name="order", flow_slug="order"
    ),
    Event(name="pgflow.flow.deleted", at=AT, flow_slug="order"),
]  # fmt: skip


CONSOLE = r"""
08:00:00.250  order                    ensured        2 steps
08:00:00.250  worker shop              ready          flow order  id WORKER
08:00:00.250  order                    run started    run RUN
08:00:00.250  worker order             polls          id WORKER
08:00:00.250  worker order             polled         0.002 s  1 task  id WORKER
08:00:00.250  order.charge             started        attempt 1  run RUN
08:00:00.250  order.charge             failed         attempt 1  0.123 s  run RUN  error: no\nmoney \x1b[31m
08:00:00.250  order.charge[3]          completed      attempt 2  2.000 s  run RUN  output {"charged": true}
08:00:00.250  worker order             recovered      2 tasks  id WORKER
08:00:00.250  order                    run completed  run RUN  output null
08:00:00.250  order                    run failed     run RUN  it broke
08:00:00.250  worker order             stopped        id WORKER
08:00:00.250  order                    deleted
""".lstrip()  # noqa: E501


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(log: ConsoleLog | JsonLog, *events: Event) -> str:
    for event in events:
        log(event)
    assert isinstance(log.stream, io.StringIO)
    return log.stream.getvalue()


def test_the_story_tells_of_every_event() -> None:
    assert {event.name for event in STORY} == set(EVENT_NAMES)


@pytest.mark.usefixtures("utc")
def test_the_console_shows_aligned_lines() -> None:
    text = written(ConsoleLog(io.StringIO(), polls=True, outputs=True), *STORY)
    ids = text.replace(str(WORKER), "WORKER").replace(str(RUN), "RUN")
    assert ids == CONSOLE


@pytest.mark.usefixtures("utc")
def test_a_long_name_widens_the_lines_that_follow() -> None:
    log = ConsoleLog(io.StringIO())
    far = Event(name="pgflow.flow.deleted", at=AT, flow_slug="f" * 30)
    near = Event(name="pgflow.flow.deleted", at=AT, flow_slug="g")
    lines = written(log, near, far, near).splitlines()
    assert [line.index("deleted") for line in lines] == [39, 45, 45]


@pytest.mark.parametrize("log", [ConsoleLog, JsonLog])
def test_outputs_and_polls_are_left_out_unless_asked_for(log: type[ConsoleLog | JsonLog]) -> None:
    quiet = written(log(io.StringIO()), *STORY)
    assert "charged" not in quiet
    assert "poll" not in quiet
    assert quiet.count("\n") == len(STORY) - 2
    loud = written(log(io.StringIO(), outputs=True, polls=True), *STORY)
    assert "charged" in loud
    assert loud.count("\n") == len(STORY)


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    failed = STORY[6]
    plain = written(ConsoleLog(io.StringIO()), failed)
    coloured = written(ConsoleLog(Terminal()), failed)
    assert "\x1b" not in plain
    assert "\x1b[31mfailed       \x1b[0m" in coloured
    for code in ("31", "2", "0"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert written(ConsoleLog(Terminal()), failed) == plain
    monkeypatch.setenv("NO_COLOR", "")  # set, but to nothing: as if it were not
    assert "\x1b" in written(ConsoleLog(Terminal()), failed)
    monkeypatch.setenv("TERM", "dumb")
    assert written(ConsoleLog(Terminal()), failed) == plain


def test_json_has_one_object_per_line_with_stable_keys() -> None:
    lines = written(JsonLog(io.StringIO(), outputs=True), *STORY).splitlines()
    records = [json.loads(line) for line in lines]
    assert records[5] == {
        "time": "2027-01-15T08:00:00.250000Z",
        "event": "pgflow.worker.task.stop",
        **{key: str(value) if isinstance(value, UUID) else value for key, value in TASK.items()},
        "task_index": 3,
        "attempt": 2,
        "duration": 2.0,
        "output": {"charged": True},
    }
    assert records[4]["duration"] == 0.123457
    assert records[4]["reason"] == "no\nmoney \x1b[31m"
    order = ["time", "event", *(field.name for field in fields(Event) if field.name != "output")]
    keys = [
        "time", "event", "worker_id", "worker_name", "flow_slug", "run_id", "step_slug",
        "task_index", "attempt", "duration", "count", "kind", "reason", "output",
    ]  # fmt: skip
    assert set(keys) == {*order, "output"} - {"name", "at"}
    for record in records:
        assert list(record) == [key for key in keys if key in record]


def test_an_output_of_null_is_told_from_none_at_all() -> None:
    completed, failed = STORY[9], STORY[10]
    assert as_record(completed, outputs=True)["output"] is None
    assert "output" not in as_record(completed)
    assert "output" not in as_record(failed, outputs=True)


@given(
    output=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
        lambda parts: st.lists(parts) | st.dictionaries(st.text("aé𝄞"), parts),
    ),
    reason=st.text(),
)
def test_any_text_is_one_line(output: Any, reason: str) -> None:
    event = Event(name="pgflow.run.completed", at=0.0, output=output, reason=reason)
    line = written(JsonLog(io.StringIO(), outputs=True), event)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["output"] == output
    shown = written(ConsoleLog(io.StringIO(), outputs=True), event)
    assert len(shown.splitlines()) == 1
    assert "\x1b" not in shown
    assert "\n" not in as_text(event, outputs=True)


def test_numbers_are_kept() -> None:
    event = Event(name="pgflow.run.completed", at=0.0, output=[Decimal("0.10"), 10**700])
    line = written(JsonLog(io.StringIO(), outputs=True), event)
    assert f'"output": {encode(event.output)}' in line


def test_a_long_reason_is_cut_for_people_and_kept_for_machines() -> None:
    event = Event(name="pgflow.run.failed", at=0.0, reason="x" * 2000)
    assert as_text(event).count("x") == 500
    assert as_text(event).endswith("…")
    assert as_record(event)["reason"] == "x" * 2000


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_that_lacks_a_character_gets_its_number(encoding: str) -> None:
    raw = io.BytesIO()
    log = ConsoleLog(io.TextIOWrapper(raw, encoding=encoding))
    log(Event(name="pgflow.run.failed", at=0.0, reason="zu teuer: 9 € \ud800"))
    assert raw.getvalue().decode(encoding).count("\n") == 1
    euro = "€" if encoding == "utf-8" else "\\u20ac"
    assert f"9 {euro} \\ud800" in raw.getvalue().decode(encoding)


def test_they_write_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleLog()(STORY[0])
    JsonLog()(STORY[0])
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    assert ConsoleLog().stream is sys.stderr


class Halting(io.StringIO):
    """Lets another thread have its turn in the middle of a line."""

    def write(self, text: str) -> int:
        middle = len(text) // 2
        super().write(text[:middle])
        time.sleep(0)
        super().write(text[middle:])
        return len(text)


@pytest.mark.parametrize("log", [ConsoleLog, JsonLog])
def test_lines_of_several_threads_are_whole(log: type[ConsoleLog | JsonLog]) -> None:
    alone = log(io.StringIO())
    expected = set(written(alone, *STORY).splitlines())
    together = log(Halting())

    def tell() -> None:
        for _ in range(50):
            for event in STORY:
                together(event)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(together.stream, io.StringIO)
    lines = together.stream.getvalue().splitlines()
    assert set(lines) == expected
    assert len(lines) == 4 * 50 * (len(STORY) - 2)


def test_levels(caplog: pytest.LogCaptureFixture) -> None:
    """Events in a logging set-up of the user's own, as the module's head shows."""
    logger = logging.getLogger("tests.shop.flows")
    with caplog.at_level(logging.DEBUG, logger.name):
        for event in STORY:
            logger.log(level(event), as_text(event), extra={"pgflow": as_record(event)})
    counted = [logging.getLevelName(level(event)) for event in STORY]
    assert [record.levelname for record in caplog.records] == counted
    assert counted == [
        "INFO", "INFO", "INFO", "DEBUG", "DEBUG", "INFO", "WARNING", "INFO", "WARNING", "INFO",
        "ERROR", "INFO", "INFO",
    ]  # fmt: skip
    assert getattr(caplog.records[0], "pgflow") == as_record(STORY[0])  # noqa: B009


def test_a_logger_is_silenced_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(FAILURES)
    with silenced(FAILURES):
        logger.warning("not said")
    logger.warning("said")
    assert [record.message for record in caplog.records] == ["said"]
