"""`pgflow-ref worker`: several flows, its options, its log."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from pgflow_ref.commands import cli
from pgflow_ref.commands.workers import JsonFormatter, LineFormatter
from pgflow_ref.config import WorkerConfig
from tests.command_line import FLOWS, NOWHERE, running, told
from tests.conftest import PATIENCE, wait_until
from tests.flows_for_tests import fragile, hello, patient

if TYPE_CHECKING:
    from tests.command_line import Call
    from tests.conftest import Database

QUICK = ("--min-poll-interval", "0.01", "--max-poll-interval", "0.05")


def test_every_option_of_a_worker_is_an_option_of_the_command() -> None:
    given = cli.commands["worker"].make_context("worker", [f"{FLOWS}:hello", "--url", NOWHERE])
    config = WorkerConfig()
    for field in fields(config):
        assert given.params[field.name] == getattr(config, field.name), field.name


def test_one_process_works_on_several_flows(database: Database) -> None:
    database.add(hello)
    database.add(patient)
    words = ("worker", f"{FLOWS}:hello", f"{FLOWS}:patient", "--url", database.url, *QUICK)
    with running(*words) as process:
        greeted, waited = database.start("hello", "Ada"), database.start("patient")
        wait_until(lambda: database.run(greeted).is_over or process.poll() is not None)
        wait_until(lambda: database.tasks("started") == 1 or process.poll() is not None)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert database.run(waited).output == {"wait": "ended early"}
    names = database.rows("SELECT function_name, stopped_at IS NULL FROM pgflow.workers ORDER BY 1")
    assert names == [("hello", False), ("patient", False)]


def test_a_flow_that_is_missing_keeps_the_others_from_starting(
    database: Database, call: Call
) -> None:
    database.add(hello)
    words = ("worker", f"{FLOWS}:hello", f"{FLOWS}:patient", "--url", database.url)
    result = call(*words, "--log", "none")
    assert "flow 'patient' is not in the database" in told(result)
    assert database.value("SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NULL") == 0


def test_what_is_missing_is_compiled_at_the_start(database: Database) -> None:
    words = ("worker", f"{FLOWS}:hello", "--url", database.url, "--compile-on-start", *QUICK)
    with running(*words) as process:
        wait_until(
            lambda: (
                database.value("SELECT count(*) FROM pgflow.workers") == 1
                or process.poll() is not None
            )
        )
        run_id = database.start("hello", "Ada")
        wait_until(lambda: database.run(run_id).is_over or process.poll() is not None)
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("word", ["--log=json", "--json"])
def test_the_log_as_json(word: str, database: Database) -> None:
    database.add(hello)
    words = ("worker", f"{FLOWS}:hello", "--url", database.url, word, *QUICK)
    lines = logged(words, database)
    events = [json.loads(line) for line in lines]
    names = [event.get("event") for event in events]
    assert names[0] == "pgflow.worker.start"
    assert names[-1] == "pgflow.worker.stop"
    assert names.count("pgflow.worker.task.stop") == 2
    assert "HELLO" not in "".join(lines)


def test_the_log_shows_outputs_when_asked_to(database: Database) -> None:
    database.add(hello)
    words = ("worker", f"{FLOWS}:hello", "--url", database.url, "--log-outputs", *QUICK)
    text = "\n".join(logged(words, database))
    assert "hello.shout" in text
    assert '"HELLO, ADA!"' in text
    assert "Traceback" not in text


@pytest.mark.parametrize("log", ["console", "json"])
def test_a_failure_is_told_once(log: str, database: Database) -> None:
    database.add(fragile)
    words = ("worker", f"{FLOWS}:fragile", "--url", database.url, "--log", log, *QUICK)
    lines = logged(words, database, "fragile")
    assert sum("it broke" in line and "run" in line for line in lines) == 2  # the task, the run
    assert all("\\nin two" in line for line in lines if "it broke" in line)


def test_no_log(database: Database) -> None:
    database.add(hello)
    words = ("worker", f"{FLOWS}:hello", "--url", database.url, "--log", "none", *QUICK)
    assert logged(words, database) == []


def logged(words: tuple[str, ...], database: Database, flow: str = "hello") -> list[str]:
    """The lines of a worker that does one run."""
    with running(*words) as process:
        run_id = database.start(flow, "Ada")
        wait_until(lambda: database.run(run_id).is_over or process.poll() is not None)
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "")
    return err.splitlines()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"{FLOWS}:hello"], "flow 'hello' is given 2 times"),
        (["--recovery-interval", "never"], "'never' is no number of seconds, and not 'off'"),
        (["--recovery-interval", "0"], "recovery_interval is between"),
        (["--recovery-interval", "off"], "no connection to database"),
        (["--signal-strategy", "pigeon"], "'pigeon' is not one of"),
        (["--sync-handlers", "fibres"], "'fibres' is not one of"),
        (
            ["--batch-size", "0", "--stale-grace", "-1"],
            "batch_size is between 1 and 10000, not 0; s",
        ),
        (["--log", "xml"], "'xml' is not one of"),
    ],
)
def test_wrong_words(words: list[str], said: str, call: Call) -> None:
    assert said in told(call("worker", f"{FLOWS}:hello", "--url", NOWHERE, *words))


def test_what_is_logged_beyond_events_is_one_line() -> None:
    record = logging.LogRecord(
        "shop", logging.ERROR, __file__, 1, "no %s\nat \x1b[31mall", ("way",), None
    )
    text = LineFormatter().format(record)
    assert text.endswith("  ERROR: no way\\nat \\x1b[31mall")
    assert record.getMessage() == "no way\nat \x1b[31mall"


def test_what_is_logged_beyond_events_is_json_as_well() -> None:
    try:
        int("9 €\x00")
    except ValueError:
        given = sys.exc_info()
    record = logging.LogRecord("shop", logging.ERROR, __file__, 1, "no %s\nat all", ("way",), given)
    text = JsonFormatter().format(record)
    assert text.count("\n") == 0
    found = json.loads(text)
    assert list(found) == ["time", "level", "logger", "message", "error"]
    assert (found["level"], found["logger"]) == ("error", "shop")
    assert found["message"] == "no way\nat all"
    assert found["error"].startswith("Traceback")
    assert "'9 €\\x00'" in found["error"]
