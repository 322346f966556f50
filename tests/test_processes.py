"""Handlers in processes: whatever one of them does, only its task fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgflow_ref import ConfigError, Flow, Worker
from pgflow_ref.execute import STOPPED
from tests.conftest import PATIENCE, wait_until
from tests.flows_in_processes import each, local, mixed, odd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Database, Working

    Work = Callable[..., Working]

ROOT = Path(__file__).parent.parent
PROCESSES: dict[str, Any] = {"sync_handlers": "processes"}


@pytest.fixture
def odd_work(database: Database, work: Work) -> Working:
    """A worker of the flow that does what its input says."""
    return work(database.add(odd), **PROCESSES)


def output(database: Database, flow: Flow, given: object = None) -> Any:
    run = database.finish(database.start(flow, given))
    assert run.status == "completed", run.step_states
    return run.output


def outcome(database: Database, *given: object) -> Any:
    """The output of a run of the odd flow, or the error of its task."""
    run = database.finish(database.start("odd", list(given)))
    given_back: Any = run.output
    if run.status == "completed":
        return given_back["do"]
    return run.step_states[0].error_message


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return False


def wait_for_the_end(*pids: int) -> None:
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def children_of(pid: int) -> list[int]:
    """The processes that one has started, whichever of its threads did."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text(encoding="ascii").split()]


@pytest.mark.parametrize("value", [None, False, 0, "", "a\u2028\U0001f600", [1.5, {"a": None}]])
def test_values_pass_through_a_process(
    value: object, database: Database, odd_work: Working
) -> None:
    assert odd_work.error is None
    assert outcome(database, "echo", value) == value


def test_large_values_pass_both_ways(database: Database, odd_work: Working) -> None:
    assert odd_work.error is None
    text = "y" * 5_000_000
    assert outcome(database, "echo", text) == text
    assert outcome(database, "large", 5_000_000) == "x" * 5_000_000


def test_the_context_says_the_truth(database: Database, odd_work: Working) -> None:
    run_id = database.start("odd", ["context"])
    run = database.finish(run_id)
    worker_id = str(odd_work.worker.worker_id)
    assert run.output == {"do": [str(run_id), "odd", "do", 0, 1, worker_id, False, True]}


FAILURES: dict[str, tuple[list[object], str]] = {
    "an exception": (["raise", "no"], "ValueError: no"),
    "a failure": (["fail", "no"], "no"),
    "not to be pickled": (["unreadable"], "Unreadable: (its text cannot be read)"),
    "sys.exit": (["sys.exit"], "SystemExit: 3"),
    "KeyboardInterrupt": (["KeyboardInterrupt"], "KeyboardInterrupt"),
    "GeneratorExit": (["GeneratorExit"], "GeneratorExit"),
    "a generator": (
        ["generator"],
        "Output cannot be stored: $: generator is not a JSON value",
    ),
    "an async generator": (
        ["async generator"],
        "Output cannot be stored: $: async_generator is not a JSON value",
    ),
    "a coroutine": (
        ["coroutine"],
        "the handler returned a coroutine; declare it with `async def`",
    ),
    "a function": (["function"], "Output cannot be stored: $: function is not a JSON value"),
    "os._exit": (
        ["os._exit", 7],
        "The handler's process ended with exit code 7 before it returned",
    ),
    "exit code 0": (
        ["os._exit", 0],
        "The handler's process ended with exit code 0 before it returned",
    ),
    "SIGSEGV": (
        ["signal", int(signal.SIGSEGV)],
        "The handler's process was ended by SIGSEGV before it returned",
    ),
    "SIGKILL": (
        ["signal", int(signal.SIGKILL)],
        "The handler's process was ended by SIGKILL before it returned",
    ),
}


def test_whatever_a_handler_does_only_its_task_fails(database: Database, odd_work: Working) -> None:
    told = {name: outcome(database, *given) for name, (given, _) in FAILURES.items()}
    assert told == {name: expected for name, (_, expected) in FAILURES.items()}
    assert outcome(database, "echo", "fine") == "fine"
    assert not odd_work.is_over()


def test_a_handler_that_closes_what_is_not_its_own_fails_its_task(
    database: Database, odd_work: Working
) -> None:
    assert odd_work.error is None
    assert outcome(database, "close all").startswith("The handler's process ")
    assert outcome(database, "echo", "fine") == "fine"


def test_signals_are_for_the_worker_to_heed(database: Database, odd_work: Working) -> None:
    assert odd_work.error is None
    assert outcome(database, "terminate") == "still here"


def test_a_handler_that_forks_returns_once(database: Database, odd_work: Working) -> None:
    assert odd_work.error is None
    pid = outcome(database, "pid")
    assert [outcome(database, "fork") for _ in range(3)] == [pid] * 3


def test_a_process_is_used_again(database: Database, odd_work: Working) -> None:
    assert odd_work.error is None
    pids = {outcome(database, "pid") for _ in range(10)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_a_process_that_ends_between_two_tasks_is_replaced(
    database: Database, odd_work: Working
) -> None:
    assert odd_work.error is None
    pid = outcome(database, "pid")
    for _ in range(3):
        outcome(database, "exit later")  # and it is over before its thread ends it, or after
        wait_for_the_end(pid)
        pid = outcome(database, "pid")
        assert isinstance(pid, int)


def test_tasks_at_once_have_a_process_each(database: Database, work: Work, tmp_path: Path) -> None:
    working = work(database.add(odd), **PROCESSES, max_concurrency=3)
    paths = [tmp_path / str(number) for number in range(3)]
    ids = [database.start("odd", ["until stopping", str(path)]) for path in paths]
    wait_until(lambda: all(path.exists() for path in paths))
    working.stop()  # and handlers hear of it
    assert [database.run(run_id).output for run_id in ids] == [{"do": "stopped"}] * 3


def test_handlers_hear_that_the_database_wants_the_worker_to_leave(
    newest: Database, work: Work, tmp_path: Path
) -> None:
    path = tmp_path / "began"
    working = work(newest.add(odd), url=newest.url, **PROCESSES, heartbeat_interval=0.1)
    run_id = newest.start("odd", ["until stopping", str(path)])
    wait_until(path.exists)
    newest.rows("UPDATE pgflow.workers SET deprecated_at = now()")
    working.join()
    assert newest.run(run_id).output == {"do": "stopped"}


@pytest.mark.parametrize("how", ["hang", "spin"])
def test_at_the_limit_a_process_is_ended_and_replaced(
    how: str, database: Database, odd_work: Working, tmp_path: Path
) -> None:
    path = tmp_path / "pids"
    run_id = database.start("odd", [how, str(path)])
    wait_until(path.exists)
    assert database.finish(run_id).step_states[0].error_message == "Task timed out after 3s"
    if how == "hang":  # and what it had started
        handler, child = map(int, path.read_text(encoding="ascii").split())
        wait_for_the_end(handler, child)
    assert outcome(database, "echo", "fine") == "fine"
    assert not odd_work.is_over()


def test_a_worker_that_is_stopped_twice_ends_processes(
    database: Database, odd_work: Working, tmp_path: Path
) -> None:
    path = tmp_path / "pids"
    run_id = database.start("odd", ["hang", str(path)])
    wait_until(lambda: path.exists() and path.read_text(encoding="ascii").count(" "))
    odd_work.worker.stop()
    odd_work.stop()
    told = database.run(run_id).step_states[0].error_message
    assert told == STOPPED.message
    wait_for_the_end(*map(int, path.read_text(encoding="ascii").split()))


def test_idle_processes_end_with_their_worker(database: Database, odd_work: Working) -> None:
    pid = outcome(database, "pid")
    assert is_alive(pid)
    odd_work.stop()
    assert not is_alive(pid)


def test_coroutines_stay_in_the_loop(database: Database, work: Work) -> None:
    work(database.add(mixed), **PROCESSES)
    pid, of_loop, is_main = output(database, mixed)["in_a_process"]
    assert of_loop == os.getpid() != pid
    assert is_main


def test_map_tasks_in_processes(newest: Database, work: Work) -> None:
    work(newest.add(each), url=newest.url, **PROCESSES)
    run = newest.finish(newest.start(each, ["a", "b"]))
    assert run.output == {"item": [["a", 0, ["a", "b"]], ["b", 1, ["a", "b"]]]}


def test_a_flow_without_plain_functions_needs_no_process(database: Database, work: Work) -> None:
    flow = Flow("async_only")

    @flow.step()
    async def echo(given: object, _ctx: object) -> object:
        return given

    work(database.add(flow), **PROCESSES)
    assert database.finish(database.start(flow, 1)).output == {"echo": 1}


def test_a_flow_that_no_module_holds(database: Database) -> None:
    flow = database.add(local())
    with pytest.raises(ConfigError, match=r"flow 'local' is no variable of a module .* 'threads'"):
        Worker(flow, database.url, **PROCESSES).run(signals=False)
    assert database.rows("SELECT * FROM pgflow.workers") == []


# Scripts, and a worker that is killed

SCRIPT = """
    import os, sys
    from pgflow_ref import Flow, Worker

    shop = Flow("shop")

    @shop.step()
    def work(given, ctx):
        if given == "hang":
            print(os.getpid(), flush=True)
            while True:
                pass
        return [given, os.getpid()]

    {guard}
        worker = Worker(shop, sys.argv[1], sync_handlers="processes", min_poll_interval=0.01,
                        max_poll_interval=0.05, on_ready=lambda _: print("ready", flush=True))
        worker.run()
"""


def script(tmp_path: Path, guard: str) -> Path:
    path = tmp_path / "shop.py"
    path.write_text(textwrap.dedent(SCRIPT).format(guard=guard), encoding="utf-8")
    return path


shop = Flow("shop")
shop.step("work")(lambda _given, _ctx: None)


@contextmanager
def start(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A program, which is gone at the end."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["script", "module"])
def test_a_program_whose_handlers_are_in_its_main_module(
    how: str, database: Database, tmp_path: Path
) -> None:
    database.add(shop)
    path = script(tmp_path, "if __name__ == '__main__':")
    if how == "script":
        command = [str(path), database.url]
    else:
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import runpy;"
        code += "runpy.run_module('shop', run_name='__main__', alter_sys=True)"
        command = ["-c", code, database.url]
    with start(*command) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        given, pid = output(database, shop, 1)["work"]
        assert (given, pid != process.pid) == (1, True)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert not is_alive(pid)


def test_a_script_that_starts_its_worker_without_asking_who_it_is(
    database: Database, tmp_path: Path
) -> None:
    database.add(shop)
    with start(str(script(tmp_path, "if True:")), database.url) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "ConfigError: sync_handlers='processes': a process for handlers cannot" in errors
    assert "under if __name__ == '__main__'" in errors
    assert database.rows("SELECT * FROM pgflow.workers") == []


def test_processes_end_with_a_worker_that_is_killed(database: Database, tmp_path: Path) -> None:
    database.add(shop)
    path = script(tmp_path, "if __name__ == '__main__':")
    with start(str(path), database.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        idle = output(database, shop, 1)["work"][1]
        database.start("shop", "hang")
        busy = int(process.stdout.readline())
        assert busy == idle
        database.start("shop", 2)
        wait_until(lambda: database.tasks("completed") == 2)
        pids = children_of(process.pid)
        assert busy in pids
        assert len(pids) == 2
        process.kill()
        process.wait(PATIENCE)
    wait_for_the_end(*pids)
