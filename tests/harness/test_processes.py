"""Worker processes that do what no worker should, and what the harness makes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.harness import kin, processes, words
from conformance.harness.adapters import Adapter, AdapterError, prepare
from conformance.harness.processes import (
    NotSupported,
    WorkerProblem,
    WorkerProcess,
    environment,
)
from conformance.harness.words import run_word
from tests.harness.leftovers import DEATH, PATIENCE, alive, assert_nobody_left

WRONG = Path(__file__).parent / "workers" / "wrong.py"
REPOSITORY = Path(__file__).parents[2]
MOMENT = 0.3  # seconds: long for the harness, short for a test

Start = Callable[[str], WorkerProcess]


def wrong(way: str) -> Adapter:
    return Adapter(way, "python", (sys.executable, "-I", "-S", str(WRONG), way))


def shell(script: str) -> Adapter:
    return Adapter("shell", "sh", ("sh", "-c", script))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Marks every process of the test with the test's own folder."""
    return environment(None, tmp_path / "fixture.json")


@pytest.fixture
def start(tmp_path: Path, environ: dict[str, str]) -> Iterator[Start]:
    """Starts a worker. At the end it is closed, and nobody may be left."""
    started: list[WorkerProcess] = []

    def start(way: str) -> WorkerProcess:
        worker = WorkerProcess(wrong(way), environ, tmp_path / "log")
        started.append(worker)
        worker.start()
        return worker

    yield start
    for worker in started:
        worker.close()
    assert_nobody_left(str(tmp_path))


def stop(worker: WorkerProcess, within: float = PATIENCE) -> list[str]:
    """Stop a worker that is ready; what was not as it should be."""
    worker.wait_ready()
    worker.stop(within)
    return worker.problems


def test_the_environment_is_that_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home")
    given = environment("postgresql://somewhere", Path("fixture.json"))
    assert given["PGFLOW_CONTRACT"] == "1"
    assert given["PGFLOW_DATABASE_URL"] == "postgresql://somewhere"
    assert given["PGFLOW_FIXTURE"] == "fixture.json"
    assert given["HOME"] == "/home"


def test_without_a_database_there_is_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGFLOW_DATABASE_URL", "postgresql://of-the-user")
    assert "PGFLOW_DATABASE_URL" not in environment(None, Path("fixture.json"))


# A worker at `work`.


def test_a_worker_that_keeps_the_contract(start: Start) -> None:
    worker = start("nothing_wrong")
    assert stop(worker) == []
    assert worker.exit_code() == 0
    assert [line["type"] for line in worker.lines] == ["hello", "ready", "stopped"]
    assert (worker.name, worker.worker_id, worker.handler_input) == (
        "nothing_wrong",
        "nobody",
        "split",
    )


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    worker = WorkerProcess(Adapter("none", "none", ("/no/such", "x y")), {}, tmp_path / "log")
    with pytest.raises(WorkerProblem, match=r"none: cannot start /no/such 'x y' work: .*No such"):
        worker.start()
    worker.close()


def test_a_command_that_is_no_program(tmp_path: Path) -> None:
    worker = WorkerProcess(Adapter("file", "none", (str(WRONG),)), {}, tmp_path / "log")
    with pytest.raises(WorkerProblem, match="file: cannot start"):
        worker.start()
    worker.close()


@pytest.mark.parametrize("way", ["silent", "closed"])
def test_one_that_never_says_ready(way: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "READY_WITHIN", MOMENT)
    worker = start(way)
    with pytest.raises(WorkerProblem, match=rf"{way}: it did not say ready within {MOMENT:g} s"):
        worker.wait_ready()


def test_one_that_dies_at_once(start: Start) -> None:
    worker = start("dead")
    with pytest.raises(WorkerProblem) as caught:
        worker.wait_ready()
    said = "dead: it exited with 7 and did not say ready: it hurts | very much"
    assert str(caught.value) == said
    assert worker.stderr() == "it hurts\nvery much\n"


def test_one_that_is_killed(start: Start) -> None:
    worker = start("shot")
    worker.wait_ready()
    with pytest.raises(WorkerProblem, match="shot: it exited with -9 and did not call 1 handlers"):
        worker.wait_for_calls(1, PATIENCE)


def test_one_that_cannot_do_it(start: Start) -> None:
    with pytest.raises(NotSupported, match=r"^no such thing here$"):
        start("unsupported").wait_ready()


def test_after_ready_there_is_no_way_back_to_not_supported(start: Start) -> None:
    worker = start("unsupported_later")
    worker.wait_ready()
    with pytest.raises(WorkerProblem, match="exited with 3"):
        worker.wait_for_calls(2, PATIENCE)


def test_garbage_is_noted_and_skipped(start: Start) -> None:
    problems = stop(start("garbage"))
    assert len(problems) == 5, "at most five are kept"
    assert problems[0] == "garbage: line 1 of its output is no line of the contract: b'Hello!\\n'"
    assert "b'[1, 2]\\n'" in problems[1]


def test_garbage_that_is_deep_is_noted_and_skipped(start: Start) -> None:
    (problem,) = stop(start("deep"))
    assert problem.startswith("deep: line 1 of its output is no line of the contract: b'[[[")


def test_a_flood_is_dammed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_MOST_LINES", 5_000)
    worker = start("flood")
    with pytest.raises(WorkerProblem, match="exited with -9"):
        worker.wait_for_calls(1, PATIENCE)
    assert worker.problems == ["flood: it printed more than 5000 lines"]
    assert len(worker.lines) == 5_000


def test_a_line_without_an_end_is_cut_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LONGEST_LINE", 3 * 2**20)
    worker = start("endless")
    with pytest.raises(WorkerProblem, match="exited with -9"):
        worker.wait_for_calls(1, PATIENCE)
    assert worker.problems == ["endless: line 3 of its output is longer than 3 MiB"]


def test_more_bytes_than_one_can_keep(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_MOST_BYTES", 5 * 2**20)
    worker = start("talker")
    with pytest.raises(WorkerProblem, match="exited with -9"):
        worker.wait_for_calls(1_000, PATIENCE)
    assert worker.problems == ["talker: it printed more than 5 MiB"]
    assert len(worker.of("call")) < 10


@pytest.mark.parametrize(("way", "end"), [("noisy", "exited with 9"), ("noisy_program", "-25")])
def test_a_flood_of_what_is_for_people_fills_no_disk(
    way: str, end: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kin, "LONGEST_FILE", 2_000_000)
    monkeypatch.setattr(processes, "LONGEST_FILE", 2_000_000)
    worker = start(way)
    worker.wait_ready()
    with pytest.raises(WorkerProblem, match=end):
        worker.wait_for_calls(1, PATIENCE)
    assert worker.problems == [f"{way}: it wrote 1 MiB to stderr, and no more is taken"]
    assert (tmp_path / "log").stat().st_size == 2_000_000
    assert len(worker.stderr()) == 2**20, "more is not looked at"


def test_one_that_ignores_sigterm(start: Start) -> None:
    worker = start("stubborn")
    assert stop(worker, within=MOMENT) == [f"stubborn: it still ran {MOMENT:g} s after SIGTERM"]
    assert worker.exit_code() is None
    worker.close()
    assert worker.exit_code() == -signal.SIGKILL


@pytest.mark.parametrize("way", ["wordless", "deaf"])
def test_one_that_ends_without_saying_stopped(way: str, start: Start) -> None:
    assert stop(start(way)) == [f"{way}: it ended without saying stopped"]


def test_one_that_ends_with_an_error(start: Start) -> None:
    assert stop(start("sore")) == ["sore: it exited with 1 after SIGTERM: sore"]


def test_one_that_ends_before_it_is_asked_to(start: Start) -> None:
    worker = start("hasty")
    worker.wait_ready()
    wait_until(lambda: worker.exit_code() is not None)
    assert stop(worker) != []


# Being rid of it.


def test_children_go_with_their_worker(start: Start, tmp_path: Path) -> None:
    worker = start("parent")
    worker.wait_ready()
    wait_until(lambda: "sleep 1000" in alive(str(tmp_path)).values())
    worker.close()
    assert_nobody_left(str(tmp_path))


def test_children_go_though_their_worker_has_gone_before(start: Start, tmp_path: Path) -> None:
    worker = start("parent")
    worker.wait_ready()
    worker.send(signal.SIGKILL)
    wait_until(lambda: worker.exit_code() is not None)
    wait_until(lambda: list(alive(str(tmp_path)).values()) == ["sleep 1000"])
    worker.close()
    assert_nobody_left(str(tmp_path))


CHILDREN = ("parent", "parent_of_escaped", "grandparent", "parent_of_nameless", "multiplying")


@pytest.mark.parametrize("way", CHILDREN)
def test_a_worker_that_leaves_children_behind_is_told_so(
    way: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LINGER", MOMENT)
    (problem,) = stop(start(way))
    assert problem.startswith(f"{way}: it ended and left processes behind: ")
    assert "sleep 1000" in problem


@pytest.mark.parametrize("way", CHILDREN)
def test_children_of_every_kind_go_with_their_worker(way: str, start: Start) -> None:
    # The fixture looks whether they are gone; nobody else would know those without environment.
    worker = start(way)
    worker.wait_ready()
    assert worker._kin is not None
    relatives = worker._kin
    wait_until(lambda: "sleep 1000" in relatives.left())
    worker.close()
    assert relatives.left() == []


def test_a_child_that_left_the_group_does_not_hold_up_the_harness(tmp_path: Path) -> None:
    # In a process of its own: if it is held up, it is for ever.
    with subprocess.Popen(harness("parent_of_escaped", tmp_path)) as process:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail("close() waits for a child that has left the worker's process group")
        finally:
            assert_gone_and_clean(tmp_path)


def test_another_worker_is_no_relative(start: Start) -> None:
    one, other = start("parent"), start("parent")
    for worker in (one, other):
        worker.wait_ready()
    one.close()
    assert other.exit_code() is None
    assert other._kin is not None
    relatives = other._kin
    wait_until(lambda: relatives.left() == ["sleep 1000"])


def test_closing_twice_or_before_the_start_does_nothing(start: Start, tmp_path: Path) -> None:
    worker = start("nothing_wrong")
    worker.close()
    worker.close()
    WorkerProcess(wrong("silent"), {}, tmp_path / "log").close()


def test_a_signal_to_one_that_has_gone_does_nothing(start: Start) -> None:
    worker = start("dead")
    wait_until(lambda: worker.exit_code() is not None)
    worker.send(signal.SIGTERM)


def test_a_worker_dies_with_a_harness_that_is_killed(tmp_path: Path) -> None:
    then = "import time; worker.wait_ready(); time.sleep(1000)"
    with subprocess.Popen(harness("stubborn", tmp_path, then)) as process:
        wait_until(lambda: any("stubborn work" in text for text in alive(str(tmp_path)).values()))
        process.kill()
    assert_nobody_left(str(tmp_path))


def harness(way: str, folder: Path, then: str = "worker.wait_ready(); worker.close()") -> list[str]:
    """The command of a harness with one worker."""
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(REPOSITORY)!r})
from conformance.harness.adapters import Adapter
from conformance.harness.processes import WorkerProcess, environment
from conformance.harness.words import run_word
environ = environment(None, Path({str(folder / "fixture.json")!r}))
adapter = Adapter({way!r}, "python", {wrong(way).command!r})
worker = WorkerProcess(adapter, environ, Path({str(folder / "log")!r}))
worker.start()
{then}
"""
    return [sys.executable, "-c", program]


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.01)


# `compile` and `start`.


def test_a_word_gets_its_input_and_gives_its_output(environ: dict[str, str]) -> None:
    adapter = shell('cat; echo "$0"; echo aside >&2')
    assert run_word(adapter, "start", environ, "Grüße\n") == "Grüße\nstart\n"


def test_a_word_whose_output_is_no_text(environ: dict[str, str]) -> None:
    assert run_word(shell(r"printf '\377'"), "compile", environ) == "\ufffd"


def test_a_word_that_does_not_read_its_input(environ: dict[str, str]) -> None:
    assert run_word(shell("exec <&-; echo done"), "start", environ, "1\n" * 1_000_000) == "done\n"


def test_a_word_that_cannot_be_started(environ: dict[str, str]) -> None:
    with pytest.raises(WorkerProblem, match=r"none: cannot start /no/such compile: .*No such"):
        run_word(Adapter("none", "none", ("/no/such",)), "compile", environ)


def test_a_word_that_fails(environ: dict[str, str]) -> None:
    with pytest.raises(WorkerProblem) as caught:
        run_word(wrong("dead"), "start", environ)
    assert str(caught.value) == "dead: `start` exited with 7: it hurts | very much"


def test_a_word_that_cannot_be_done(environ: dict[str, str]) -> None:
    with pytest.raises(NotSupported, match=r"^no such thing here$"):
        run_word(wrong("unsupported"), "start", environ)


@pytest.mark.parametrize("way", ["silent", "parent"])
def test_a_word_that_is_never_over(
    way: str, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "ONE_SHOT_WITHIN", MOMENT)
    with pytest.raises(WorkerProblem, match=rf"{way}: `start` was not over after {MOMENT:g} s"):
        run_word(wrong(way), "start", environ)
    assert_gone_and_clean(tmp_path)


@pytest.mark.parametrize("before", ["", "setsid ", "env -i ", "(setsid sleep 1000 &) & "])
def test_a_word_that_leaves_a_child_behind(
    before: str, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LINGER", MOMENT)
    with pytest.raises(WorkerProblem, match="`start`: it ended and left processes behind: sleep"):
        run_word(shell(f"{before}sleep 1000 & echo done"), "start", environ)
    assert_gone_and_clean(tmp_path)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_word_that_floods(
    stream: str, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kin, "LONGEST_FILE", 1_000_000)
    monkeypatch.setattr(processes, "LONGEST_FILE", 1_000_000)
    redirect = ">&2" if stream == "stderr" else ""
    with pytest.raises(WorkerProblem, match=f"it wrote 0 MiB to {stream}, and no more is taken"):
        run_word(shell(f"yes {redirect}"), "compile", environ)
    assert_gone_and_clean(tmp_path)


def test_a_word_dies_with_a_harness_that_is_killed(tmp_path: Path) -> None:
    then = "run_word(adapter, 'start', environ)"
    with subprocess.Popen(harness("silent", tmp_path, then)) as process:
        wait_until(lambda: any("silent start" in text for text in alive(str(tmp_path)).values()))
        process.kill()
    assert_gone_and_clean(tmp_path)


def assert_gone_and_clean(folder: Path) -> None:
    """Nobody is left after a moment; whoever is, is killed, so that a test that fails is clean."""
    give_up_at = time.monotonic() + DEATH
    while (left := alive(str(folder))) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}


# `prepare`.


def test_an_adapter_is_prepared(tmp_path: Path) -> None:
    prepare(Adapter("none", "none", ("run",)))
    prepare(Adapter("some", "none", ("run",), ("touch", str(tmp_path / "prepared"))))
    assert (tmp_path / "prepared").exists()


def test_an_adapter_that_cannot_be_prepared() -> None:
    with pytest.raises(AdapterError, match=r"worker some: cannot prepare it: .*No such file"):
        prepare(Adapter("some", "none", ("run",), ("/no/such",)))


def test_an_adapter_whose_preparation_fails() -> None:
    script = ("sh", "-c", "echo no network >&2; exit 4")
    with pytest.raises(AdapterError) as caught:
        prepare(Adapter("some", "none", ("run",), script))
    assert str(caught.value).startswith("worker some: sh -c ")
    assert str(caught.value).endswith("exited with 4:\nno network")
