"""`pgflow-ref start` and `status`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pgflow_ref.commands.inputs import read_json
from pgflow_ref.commands.words import duration, instant
from pgflow_ref.errors import TaskFailed
from pgflow_ref.flow import Flow
from pgflow_ref.json_contract import encode
from tests.command_line import ENVIRONMENT, FLOWS, NOWHERE, command, ended, running, told
from tests.conftest import PATIENCE, wait_until
from tests.flows_for_tests import hello

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.command_line import Call
    from tests.conftest import Database

failing = Flow("failing", max_attempts=1)


@failing.step()
def break_down(_given: object, _ctx: object) -> None:
    raise TaskFailed("it broke\x1b[31m")


class Bytes:
    """Standard input, as bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


# start


def test_start_prints_the_runs_id(database: Database, call: Call) -> None:
    database.add(hello)
    by_slug = call("start", "hello", '"Ada"', "--url", database.url)
    by_module = call("start", f"{FLOWS}:hello", '"Bob"', "--url", database.url, "--json")
    assert (by_slug.returncode, by_slug.stderr) == (0, "")
    assert database.run(UUID(by_slug.stdout.strip())).input == "Ada"
    assert database.run(UUID(json.loads(by_module.stdout)["run_id"])).input == "Bob"


def test_start_with_an_id_of_ones_own(database: Database, call: Call) -> None:
    database.add(hello)
    words = ("start", "hello", "null", "--url", database.url, "--run-id", uuid4())
    assert call(*words).stdout == f"{words[-1]}\n"
    assert "is there already" in told(call(*words))


@pytest.mark.parametrize("way", [["-"], ["--file", "-"], ["--file", "input.json"]])
def test_start_reads_a_file_or_standard_input(
    way: list[str], database: Database, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.add(hello)
    text = '{"name": "Zoë", "price": 0.12345678901234567890}\n'
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.json").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", Bytes(text.encode()))
    started = call("start", "hello", *way, "--url", database.url)
    assert encode(database.run(UUID(started.stdout.strip())).input) == text.strip()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"id": seven}', "no JSON: line 1, column 8: Expecting value, at 'seven}'"),
        (b'{"id": 7,\n "x"}', "no JSON: line 2, column 5: Expecting ':' delimiter, at '}'"),
        (b"[1,", "no JSON: line 1, column 4: Expecting value, at the end"),
        (b"", "no JSON: line 1, column 1: Expecting value, at the end"),
        (b"[NaN]", "no JSON: NaN is not a JSON number"),
        (b"\xef\xbb\xbf1", "no JSON: line 1, column 1: Unexpected UTF-8 BOM"),
        (b'["ok",\n"\xff"]', "is not UTF-8: byte 8, in line 2"),
        (b"[" * 3000 + b"1", "no JSON: "),
        (b'"\\u0000"', "$: PostgreSQL's jsonb has no U+0000"),
    ],
)
def test_start_says_where_the_input_is_no_json(
    data: bytes, said: str, database: Database, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.add(hello)
    monkeypatch.setattr(sys, "stdin", Bytes(data))
    assert said in told(call("start", "hello", "-", "--url", database.url))
    assert database.value("SELECT count(*) FROM pgflow.runs") == 0


def test_an_argument_is_read_like_a_file() -> None:
    assert read_json('"a"', "the argument") == "a"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hello"], "give the input once"),
        (["hello", "1", "--file", "x.json"], "give the input once"),
        (["hello", "{", "--url", NOWHERE], "the argument is no JSON: line 1, column 2"),
        (["hello", "--file", "nowhere.json"], "cannot read nowhere.json: No such file"),
        (["hello", "1", "--run-id", "7"], "'7' is not a valid UUID"),
        (["hello", "1"], "no connection to database 'shop'"),
        (["nowhere:flow", "1"], "cannot import nowhere"),
    ],
)
def test_starts_that_cannot_be_tried(words: list[str], said: str, call: Call) -> None:
    assert said in told(call("start", *words, *(() if NOWHERE in words else ("--url", NOWHERE))))


def test_a_flow_that_is_not_in_the_database(database: Database, call: Call) -> None:
    assert "flow 'hello' is not in the database" in told(
        call("start", "hello", "1", "--url", database.url)
    )


LATER = "2099-01-15T09:00:00+01:00"


@pytest.mark.parametrize("word", ["--in", "--at"])
def test_start_later(word: str, database: Database, call: Call) -> None:
    database.add(hello)
    at = database.value("SELECT now()") + timedelta(days=1)
    when = "86400" if word == "--in" else at.isoformat()
    result = call("start", "hello", "1", word, when, "--url", database.url)
    assert result.returncode == 0, result.stderr
    assert database.run(UUID(result.stdout.strip())).status == "started"
    assert database.value("SELECT vt FROM pgmq.q_hello") >= at


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--in", "-1"], "delay is between 0 and"),
        (["--in", "soon"], "'soon' is not a valid float"),
        (["--at", "2099-01-15T09:00:00"], "says no zone: end it with Z for UTC"),
        (["--in", "1", "--at", LATER], "give one of --run-id, --in and --at"),
        (["--in", "1", "--run-id", str(UUID(int=7))], "give one of --run-id, --in and --at"),
    ],
)
def test_times_that_are_none(words: list[str], said: str, database: Database, call: Call) -> None:
    database.add(hello)
    assert said in told(call("start", "hello", "1", *words, "--url", database.url))
    assert database.value("SELECT count(*) FROM pgflow.runs") == 0


# start --wait


def test_start_waits_for_the_output(
    database: Database, call: Call, work: Callable[..., Any]
) -> None:
    work(database.add(hello))
    result = call("start", "hello", '"Ada"', "--wait", "--url", database.url)
    assert (result.returncode, result.stdout) == (0, '{"shout": "HELLO, ADA!"}\n')
    assert result.stderr == ""
    told_all = json.loads(
        call("start", "hello", '"Bob"', "--wait", "--json", "--url", database.url).stdout
    )
    assert (told_all["status"], told_all["output"]) == ("completed", {"shout": "HELLO, BOB!"})
    assert [step["step_slug"] for step in told_all["steps"]] == ["greet", "shout"]
    assert told_all["steps"][0]["attempts"] == 1


def test_a_run_that_fails_while_it_is_waited_for(
    database: Database, call: Call, work: Callable[..., Any]
) -> None:
    work(database.add(failing))
    words = ("start", "failing", "1", "--wait", "--url", database.url)
    result = call(*words)
    assert (result.returncode, result.stdout) == (1, "")
    assert "it broke\\x1b[31m" in result.stderr
    assert "Traceback" not in result.stderr
    as_json = call(*words, "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["status"] == "failed"


def test_a_run_that_is_not_over_in_time(database: Database, call: Call) -> None:
    database.add(hello)
    result = call("start", "hello", "1", "--wait", "--timeout", "0", "--url", database.url)
    assert (result.returncode, result.stdout) == (1, "")
    assert "was not over after 0 s; it goes on" in result.stderr
    assert str(database.value("SELECT run_id FROM pgflow.runs")) in result.stderr


# status


def test_status_shows_the_steps(database: Database, call: Call) -> None:
    run_id = database.start(database.add(hello), "Ada")
    result = call("status", run_id, "--url", database.url)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"hello ▶ running  run {run_id}" in result.stdout
    assert "greet   ◦ queued" in result.stdout
    assert "shout   · waiting" in result.stdout
    told_all = json.loads(call("status", run_id, "--json", "--url", database.url).stdout)
    assert (told_all["run_id"], told_all["input"]) == (str(run_id), "Ada")
    counts = ("tasks_queued", "tasks_started", "tasks_completed")
    assert [[step[name] for name in counts] for step in told_all["steps"]] == [[1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("run_id", ["nonsense", str(UUID(int=7)), "\x1b[2J"])
def test_a_run_that_is_not_there(run_id: str, database: Database, call: Call) -> None:
    assert "no run has the id" in told(call("status", run_id, "--url", database.url))


def test_watching_a_run_to_its_end(database: Database, work: Callable[..., Any]) -> None:
    run_id = database.start(database.add(hello), "Ada")
    with running("status", run_id, "--watch", "--json", "--url", database.url) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["status"], first["steps"][0]["attempts"]) == ("started", 0)
        work(hello)
        lines = [json.loads(line) for line in process.stdout]
        assert ended(process) == ""
    assert lines[-1]["output"] == {"shout": "HELLO, ADA!"}
    assert all(line["status"] == "started" for line in lines[:-1])


def test_watching_a_run_that_fails(
    database: Database, call: Call, work: Callable[..., Any]
) -> None:
    work(database.add(failing))
    run_id = database.start(failing)
    result = call("status", run_id, "--watch", "--url", database.url)
    assert (result.returncode, result.stderr) == (1, "")
    assert "break_down   ✗ failed" in result.stdout
    assert "0 of 1 steps" in result.stdout
    wait_until(lambda: database.run(run_id).is_over)
    assert call("status", run_id, "--url", database.url).returncode == 0


def test_ctrl_c_ends_the_watching_quietly(database: Database) -> None:
    run_id = database.start(database.add(hello), "Ada")
    with running("status", run_id, "--watch", "--json", "--url", database.url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr.strip()) == (130, "")


def test_a_reader_that_has_gone_is_no_error(database: Database) -> None:
    run_id = database.start(database.add(hello), "Ada")
    with running("status", run_id, "--watch", "--json", "--url", database.url) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        database.rows("UPDATE pgflow.runs SET status = 'failed', failed_at = now()")
        assert process.stderr.read() == ""
        assert process.wait(30) == 141


@pytest.mark.parametrize("words", [["doctor"], ["flows", "--json"], ["compile", f"{FLOWS}:hello"]])
def test_a_reader_that_was_never_there(words: list[str], database: Database) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**ENVIRONMENT, "DATABASE_URL": database.url}
    with subprocess.Popen(
        command(*words), stdout=writer, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        os.close(writer)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (141, "")


def test_a_terminal_is_redrawn(database: Database, work: Callable[..., Any]) -> None:
    """In a terminal of its own, from the first look to the last."""
    run_id = database.start(database.add(hello), "Ada")
    control, terminal = pty.openpty()
    words = command("status", run_id, "--watch", "--url", database.url)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    environment.pop("NO_COLOR", None)
    seen = b""
    with subprocess.Popen(words, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        while b"of 2 steps" not in seen:
            seen += os.read(control, 4096)
        work(hello)
        with contextlib.suppress(OSError):  # the terminal is gone with its process
            while True:
                seen += os.read(control, 4096)
        assert process.wait(30) == 0
    os.close(control)
    assert b"0 of 2 steps" in seen
    assert b"2 of 2 steps" in seen
    assert b"\x1b[1A" in seen  # up again, to draw in the same place
    assert b"HELLO, ADA!" in seen


# Words


@pytest.mark.parametrize("text", ["30", "", "-3d", "3 months", "1e9d", "36501d", "infd", "nans"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration|is more than"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("90m", 5400), ("1.5h", 5400), ("30d", 2592000), ("2w", 1209600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["tomorrow", "", "2027-13-01T00:00:00Z", "2027-01-15"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time|says no zone"):
        instant(text)


def test_times_with_zones_are_instants() -> None:
    assert instant("2027-01-15T09:00:00+01:00") == instant("2027-01-15T08:00:00z")
