"""The command `pgflow-ref`, as people and supervisors call it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgflow_ref
from pgflow_ref.commands import cli
from pgflow_ref.compile import compile_flow, mermaid, to_json
from pgflow_ref.execute import STOPPED
from pgflow_ref.install import inspect, pins, sources, wanted
from tests.command_line import ENVIRONMENT, FLOWS, NOWHERE, SECRET, Call, ended, run, running, told
from tests.conftest import PATIENCE, wait_until
from tests.flows_for_tests import hello, patient, stubborn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Database


# worker


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_finishes_its_task_when_it_is_asked_to_end(
    number: signal.Signals, database: Database
) -> None:
    run_id = database.start(database.add(patient))
    with running("worker", f"{FLOWS}:patient", "--url", database.url) as process:
        wait_until(lambda: database.tasks("started") == 1 or process.poll() is not None)
        process.send_signal(number)
        ended(process)
    assert database.run(run_id).output == {"wait": "ended early"}
    assert database.rows("SELECT function_name, stopped_at IS NULL FROM pgflow.workers") == [
        ("patient", False)
    ]


def test_a_worker_that_is_asked_twice_gives_back_its_task(
    database: Database, tmp_path: Path
) -> None:
    was_asked = tmp_path / "was asked"
    database.start(database.add(stubborn), str(was_asked))
    with running("worker", f"{FLOWS}:stubborn", "--url", database.url) as process:
        wait_until(lambda: database.tasks("started") == 1 or process.poll() is not None)
        process.terminate()
        wait_until(lambda: was_asked.exists() or process.poll() is not None)
        process.terminate()
        ended(process)
    assert database.rows("SELECT status, error_message FROM pgflow.step_tasks") == [
        ("queued", STOPPED.message)
    ]


def test_a_worker_that_is_killed_is_gone(database: Database, tmp_path: Path) -> None:
    run_id = database.start(database.add(stubborn), str(tmp_path / "unused"))
    with running("worker", f"{FLOWS}:stubborn", "--url", database.url) as process:
        wait_until(lambda: database.tasks("started") == 1 or process.poll() is not None)
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
    assert database.run(run_id).status == "started"
    assert database.rows("SELECT stopped_at FROM pgflow.workers") == [(None,)]
    wait_until(
        lambda: (
            database.rows(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            )
            == [(1,)]
        )
    )


def test_the_options_of_a_worker(database: Database) -> None:
    database.add(hello)
    options = ["--max-concurrency", 2, "--batch-size", 1, "--min-poll-interval", 0.01]
    options += ["--max-poll-interval", 0.02, "--visibility-timeout", 99, "--heartbeat-interval", 1]
    options += ["--stop-timeout", 9, "--worker-name", "shop 1", "--no-prepare"]
    with running("worker", f"{FLOWS}:hello", "--url", database.url, *options) as process:
        run_id = database.start("hello", "Ada")
        wait_until(lambda: database.run(run_id).is_over or process.poll() is not None)
        assert database.run(run_id).output == {"shout": "HELLO, ADA!"}
        assert database.rows("SELECT function_name FROM pgflow.workers") == [("shop 1",)]
        process.terminate()
        ended(process)


# What cannot be done


def test_a_worker_without_a_database(empty: str, call: Call) -> None:
    worker = ("worker", f"{FLOWS}:hello", "--url")
    assert "no connection to database 'shop' at 127.0.0.1:1" in told(run(*worker, NOWHERE))
    assert "this is no connection URL" in told(call(*worker, f"mysql://u:{SECRET}@h"))
    assert "authentication failed" in told(call(*worker, make_conninfo(empty, password=SECRET)))


@pytest.mark.parametrize("name", ["PGFLOW_DATABASE_URL", "DATABASE_URL"])
def test_the_url_may_be_in_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.setenv(name, NOWHERE)
    assert "at 127.0.0.1:1" in told(call("worker", f"{FLOWS}:hello"))


def test_a_worker_on_a_database_that_is_not_ready(
    empty: str, database: Database, call: Call
) -> None:
    worker = ("worker", f"{FLOWS}:hello", "--url")
    assert "`pgflow-ref install URL` puts one there" in told(call(*worker, empty))
    assert "flow 'hello' is not in the database" in told(call(*worker, database.url))
    database.rows("SELECT pgflow.create_flow('hello', max_attempts => 2)")
    assert "this adds what is missing: SELECT pgflow.add_step(" in told(call(*worker, database.url))


def test_a_worker_whose_user_may_do_nothing(database: Database, call: Call) -> None:
    database.rows(f"CREATE USER nobody PASSWORD '{SECRET}'")
    try:
        url = make_conninfo(database.url, user="nobody", password=SECRET)
        said = told(call("worker", f"{FLOWS}:hello", "--url", url))
        assert "the user 'nobody' may not work on flow 'hello': missing is USAGE" in said
        assert "`pgflow-ref roles --worker nobody" in said
    finally:
        database.rows("DROP USER nobody")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--max-concurrency", "0", "max_concurrency is between 1 and 10000, not 0"),
        ("--max-concurrency", "many", "many"),
        ("--min-poll-interval", "9", "min_poll_interval (9.0) is longer than max_poll_interval"),
        ("--stop-timeout", "nan", "stop_timeout is between"),
        ("--worker-name", "", "worker_name is a text that is not empty"),
        ("--threads", "9", "--threads"),
    ],
)
def test_wrong_options_of_a_worker(option: str, value: str, said: str, call: Call) -> None:
    assert said in told(call("worker", f"{FLOWS}:hello", "--url", NOWHERE, option, value))


BROKEN = {
    "no_such_import": ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
    "no_such_name": ("nonsense", "NameError: name 'nonsense' is not defined"),
    "no_python": ("def:", "SyntaxError: invalid syntax"),
    "no_slug": ("from pgflow_ref import Flow; Flow('1st')", "flow '1st': a slug is"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_module_that_cannot_be_imported(name: str, tmp_path: Path, call: Call) -> None:
    text, said = BROKEN[name]
    path = tmp_path / f"broken_{name}.py"
    path.write_text(text)
    line = told(call("compile", f"{path}:flow"))
    assert f"cannot import broken_{name}" in line
    assert said in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("flow", "'flow' is not of the form module:flow"),
        (":flow", "':flow' is not of the form module:flow"),
        (f"{FLOWS}:", "is not of the form module:flow"),
        ("nowhere.py:flow", "No module named 'nowhere'"),
        ("tests.nowhere:flow", "No module named 'tests.nowhere'"),
        (f"{FLOWS}:bye", "has no flow 'bye'; its flows are: fragile, hello, patient, stubborn"),
        (
            f"{FLOWS}:no_flow",
            "has no flow 'no_flow'; its flows are: fragile, hello, patient, stubborn",
        ),
        ("json:loads", "module json has no flow 'loads'; it has no flows"),
    ],
)
def test_a_flow_that_is_not_to_be_found(given: str, said: str, call: Call) -> None:
    assert said in told(call("compile", given))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["work"], "No such command 'work'"),
        (["compile"], "Missing argument 'MODULE:FLOW'"),
        (["worker", f"{FLOWS}:hello"], "Missing option '--url'"),
        (["install"], "give the database's URL, or --print"),
        (["install", NOWHERE, "--from", "nowhere"], "'nowhere' does not exist"),
        (["worker", f"{FLOWS}:hello", NOWHERE], "--url"),
        (["demo", NOWHERE], "extra argument"),
        (["demo", f"postgresql://u:x@{SECRET}@h/d"], "extra argument"),
        (["demo", f"host=h password={SECRET}"], "extra argument"),
    ],
)
def test_wrong_words(words: list[str], said: str, call: Call) -> None:
    assert said in told(call(*words))


ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from pgflow_ref.cli import main
main()
"""


@pytest.mark.parametrize("name", ["click", "rich"])
def test_the_extra_that_is_missing_is_named(name: str) -> None:
    words = [sys.executable, "-c", ABSENT, name]
    result = subprocess.run(words, check=False, capture_output=True, text=True)
    assert "`pip install 'pgflow-ref[cli]'`" in told(result)


def test_a_driver_that_does_not_load() -> None:
    """As psycopg does without libpq."""
    worker = ("worker", f"{FLOWS}:hello", "--url", NOWHERE)
    assert "psycopg" in told(run(*worker, PSYCOPG_IMPL="none"))


# compile


@pytest.mark.parametrize("flow", [f"{FLOWS}:hello", "tests.flows_for_tests:hello"])
def test_compile_prints_sql(flow: str, database: Database, call: Call) -> None:
    result = call("compile", flow)
    assert result.stdout.splitlines() == compile_flow(hello.shape)
    database.connection.execute(result.stdout.encode())
    assert database.value("SELECT count(*) FROM pgflow.steps WHERE flow_slug = 'hello'") == 2


def test_compile_prints_json_and_a_drawing(call: Call) -> None:
    assert json.loads(call("compile", f"{FLOWS}:hello", "--json").stdout) == to_json(hello.shape)
    drawn = call("compile", f"{FLOWS}:hello", "--mermaid").stdout
    assert drawn == mermaid(hello.shape) + "\n"


# install


def test_install_puts_a_core_there_once(empty: str, call: Call) -> None:
    first, second = run("install", empty), call("install", empty)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.startswith("pgflow core 0.5.0 with pgmq 1.11.1: installed\n")
    assert second.stdout.startswith("pgflow core 0.5.0 with pgmq 1.11.1: there already\n")
    assert "realtime.send is a stand-in" in first.stdout

    found = json.loads(call("install", empty, "--json").stdout)
    assert (found["core"], found["changed"]) == ("0.5.0", False)

    refused = told(call("install", empty, "--core", "0.8.1"))
    assert "0.5.0" in refused
    assert "nothing was changed" in refused
    with psycopg.connect(empty) as connection:
        connection.execute("SELECT pgflow.create_flow('hello')")


def test_install_prints_what_it_would_do(empty: str, call: Call) -> None:
    result = call("install", "--print")
    assert result.returncode == 0
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(result.stdout.encode())
    assert "there already" in call("install", empty).stdout


def test_install_from_a_folder(empty: str, call: Call) -> None:
    # Filled by the installation of the fixture that `empty` rests upon.
    folder = sources.cache_folder() / f"pgflow-core-{pins.load().core.version}"
    result = call("install", empty, "--from", folder, "--core", "0.8.1")
    assert (result.returncode, "core 0.8.1 with" in result.stdout) == (0, True), result.stderr


def test_install_refuses(empty: str, tmp_path: Path, call: Call) -> None:
    assert "'9.9.9' is not known; known are 0.5.0" in told(
        call("install", empty, "--core", "9.9.9")
    )
    assert "holds no migration" in told(call("install", empty, "--from", tmp_path))
    assert "no connection to database 'shop'" in told(call("install", NOWHERE))
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT to_regnamespace('pgflow')").fetchone() == (None,)


def test_install_takes_paths_and_says_what_it_needs(empty: str, tmp_path: Path, call: Call) -> None:
    for file in sources.core_files(list(pins.load().core.files)):
        (tmp_path / file.name).write_text(file.text)
    newer = tmp_path / "20991231235959_pgflow_next.sql"
    newer.write_text(
        "CREATE FUNCTION pgflow.next() RETURNS bigint LANGUAGE sql "
        "AS $$ SELECT cron.schedule('a', '1 hour', 'SELECT 1') $$"
    )
    refused = told(call("install", empty, "--core", tmp_path))
    assert f"newer than all that is known, {newer.name}; --force" in refused
    two = call("install", empty, "--core", "0.5.0", "--core", "0.8.1")
    assert (two.returncode, "a database holds one core" in two.stderr) == (2, True)

    done = call("install", empty, "--core", tmp_path, "--pgmq", "1.11.1", "--force")
    assert done.returncode == 0, done.stderr
    assert f"pgflow core {wanted(tmp_path).label} with pgmq 1.11.1: installed" in done.stdout
    assert "pg_cron is a stand-in" in done.stdout


# up


@pytest.mark.parametrize(("number", "core"), [(signal.SIGTERM, "0.5.0"), (signal.SIGINT, "none")])
def test_up_runs_a_database_until_it_is_told_to_end(number: signal.Signals, core: str) -> None:
    with running("up", "--core", core) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT to_regnamespace('pgflow')::text").fetchone()
        assert found == (None if core == "none" else "pgflow",)
        process.send_signal(number)
        assert f"pgflow core {core}. Ctrl-C ends it." in ended(process)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


def test_up_makes_a_database_for_each_core() -> None:
    with running("up", "--core", "0.5.3", "--core", "0.8.1", "--json") as process:
        assert process.stdout is not None
        found = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [one["core"] for one in found] == ["0.5.3", "0.8.1"]
        for one in found:
            with psycopg.connect(one["url"]) as connection:
                assert inspect(connection).core.version == one["core"]
        process.send_signal(signal.SIGTERM)
        ended(process)


# demo


def test_the_demo_shows_the_result() -> None:
    result = run("demo")
    assert result.returncode == 0, result.stderr
    assert '"total": 18.8' in result.stdout
    assert "the warehouse does not answer" in result.stdout
    assert "Traceback" not in result.stderr


def test_the_demo_as_json(database: Database, call: Call) -> None:
    result = call("demo", "--json", "--url", database.url)
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["status"], found["output"]["confirm"]["total"]) == ("completed", 18.8)
    assert [step["attempts"] for step in found["steps"]] == [1, 1, 2, 1]


def test_up_says_its_url_as_json() -> None:
    with running("up", "--core", "none", "--json") as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.readline())
        psycopg.connect(found["url"]).close()
        assert found["core"] == "none"
        process.terminate()
        ended(process)


def test_a_demo_that_cannot_be_shown(empty: str, call: Call) -> None:
    assert "no connection to database" in told(call("demo", "--url", NOWHERE))
    assert "`pgflow-ref install URL`" in told(call("demo", "--url", empty))


def test_a_demo_where_another_flow_has_its_name(database: Database) -> None:
    database.rows("SELECT pgflow.create_flow('demo_order', max_attempts => 9)")
    result = run("demo", "--url", database.url)
    assert result.returncode in (1, 2)
    assert "Traceback" not in result.stderr
    assert "max_attempts is 3 in the code and 9 in the database" in result.stdout + result.stderr


# help


def test_help_and_version(call: Call) -> None:
    for words in (["-h"], *([name, "--help"] for name in cli.commands)):
        result = call(*words)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("Usage: pgflow-ref")
    assert pgflow_ref.__version__ in call("--version").stdout


def test_a_shell_can_complete_commands() -> None:
    words = {"COMP_WORDS": "pgflow-ref re", "COMP_CWORD": "1"}
    result = subprocess.run(
        [sys.executable, "-c", "from pgflow_ref.cli import main; main()"],
        env={**ENVIRONMENT, **words, "_PGFLOW_REF_COMPLETE": "bash_complete"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (result.stdout, result.stderr) == ("plain,recover\n", "")
