"""Commands that take a core by its path, and `core files`, which makes such a path."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgflow_ref.install import core_files, inspect, known_cores, wanted
from tests.command_line import ended, run, running, told

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import Call

NEXT = "20991231235959_pgflow_next.sql"
NEXT_SQL = "CREATE FUNCTION pgflow.next() RETURNS int LANGUAGE sql AS 'SELECT 1';"


@pytest.fixture
def core(tmp_path: Path, call: Call) -> Path:
    """The files of a known core, as the command leaves them."""
    place = tmp_path / "next"
    assert call("core", "files", "0.8.1", place).returncode == 0
    return place


@pytest.mark.parametrize("version", known_cores())
def test_the_files_of_a_version_are_that_version(version: str, tmp_path: Path, call: Call) -> None:
    place = tmp_path / "deep" / "core"
    result = call("core", "files", version, place)
    assert (result.returncode, result.stderr) == (0, "")
    count = len(core_files(version))
    assert result.stdout == f"{place} has the {count} migrations of pgflow core {version}\n"
    assert wanted(place).release == version


def test_a_folder_that_holds_something_stays_as_it_is(
    core: Path, tmp_path: Path, call: Call
) -> None:
    (core / NEXT).write_text(NEXT_SQL)
    before = sorted(core.iterdir())
    assert f"{core} is not empty; give a new folder" in told(call("core", "files", "0.5.0", core))
    assert sorted(core.iterdir()) == before
    assert "'0.9' is not known; known are 0.5.0, 0.5.3" in told(
        call("core", "files", "0.9", tmp_path / "new")
    )
    assert not (tmp_path / "new").exists()
    assert "Not a directory" in told(call("core", "files", "0.5.0", core / NEXT / "below"))


def test_up_takes_a_path_and_says_what_is_in_it(core: Path) -> None:
    (core / NEXT).write_text(NEXT_SQL)
    with running("up", "--core", "0.8.1", "--core", core, "--json") as process:
        assert process.stdout is not None
        known, newer = (json.loads(process.stdout.readline()) for _ in range(2))
        assert (known["core"], newer["core"]) == ("0.8.1", wanted(core).label)
        with psycopg.connect(newer["url"]) as connection:
            assert connection.execute("SELECT pgflow.next()").fetchone() == (1,)
            mark = inspect(connection).core.mark
        assert mark is not None
        assert mark.label == newer["core"]
        process.send_signal(signal.SIGTERM)
        said = ended(process)
    assert f"pgflow core {newer['core']} is pinned nowhere" in said
    assert "pgflow core 0.8.1 is pinned nowhere" not in said


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_file_that_was_changed_is_refused(command: str, core: Path) -> None:
    changed = sorted(core.iterdir())[3]
    changed.write_text("SELECT 1;")
    result = run(command, "--core", core)
    assert (result.returncode, "Traceback" in result.stderr) == (2, False)
    assert f"{changed.name} in {core} is not the file of @pgflow/core" in result.stderr
    assert "--force installs it all the same" in result.stderr


def test_up_makes_one_database_of_a_core(core: Path) -> None:
    result = run("up", "--core", "0.8.1", "--core", core)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"0.8.1 and {core} are both core 0.8.1: give one of them" in result.stderr
    assert "Traceback" not in result.stderr


def test_up_takes_a_changed_file_by_force(core: Path) -> None:
    last = max(core.iterdir())
    last.write_text(f"{last.read_text()}\n{NEXT_SQL}\n")
    with running("up", "--core", core, "--force") as process:
        assert process.stdout is not None
        with psycopg.connect(process.stdout.readline().strip()) as connection:
            assert connection.execute("SELECT pgflow.next()").fetchone() == (1,)
        process.send_signal(signal.SIGTERM)
        ended(process)


def test_the_demo_runs_on_any_core(core: Path) -> None:
    (core / NEXT).write_text(NEXT_SQL)
    result = run("demo", "--core", core, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["status"] == "completed"


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_pgmq_that_cannot_be_had_is_refused(command: str) -> None:
    result = run(command, "--pgmq", "1.4.4")
    assert (result.returncode, "Traceback" in result.stderr) == (2, False)
    assert "pgmq 1.4.4 is not known as plain SQL" in result.stderr


def test_the_demo_runs_on_another_pgmq() -> None:
    result = run("demo", "--pgmq", "1.13.0", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["status"] == "completed"
