"""The suite as a user runs it, with workers that are wrong, and ended in all sorts of ways.

Each test is a whole run of the suite. None of them may leave anything behind.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

import pytest

from conformance.harness.adapters import WORKERS as ADAPTERS
from conformance.harness.cases import FIXTURES, load
from conformance.harness.records import Case, End, Record, Suite, read_records
from tests.harness.leftovers import PATIENCE, alive, assert_nobody_left

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
WORKERS = Path(__file__).parent / "workers"
KNOWN = ", ".join(sorted(path.parent.name for path in ADAPTERS.glob("*/adapter.toml")))
LONG = 200  # seconds that no run of the suite takes


class Place:
    """A directory that any user may enter, as TMPDIR of a run; it marks the run's processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results"

    def start(
        self, *arguments: str, module: str = "pytest", stdout: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Start the suite, in a session of its own as a terminal would have it."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COVERAGE"))}
        command = [sys.executable, "-m", module, "-p", "no:cacheprovider", *arguments]
        return subprocess.Popen(
            [*command, "--results", str(self.results)],
            cwd=REPOSITORY,
            env={**environ, "TMPDIR": str(self.path)},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run_script(self, *arguments: str) -> Outcome:
        """Run the suite to its end as `scripts/conformance` does."""
        return self.run(*arguments, module="conformance")

    def run(self, *arguments: str, module: str = "pytest") -> Outcome:
        """Run the suite to its end."""
        with self.start(*arguments, module=module) as process:
            try:
                output, _ = process.communicate(timeout=LONG)
            finally:
                process.kill()
        return Outcome(process.returncode, output, self.results)

    def wait_for(self, command: str, process: subprocess.Popen[str]) -> None:
        """Wait until the run has a process with a command line like this."""
        give_up_at = time.monotonic() + PATIENCE
        while not any(re.search(command, text) for text in alive(str(self.path)).values()):
            assert process.poll() is None
            assert time.monotonic() < give_up_at
            time.sleep(0.05)

    def assert_clean(self) -> None:
        """No process is left, and no server's directory."""
        assert_nobody_left(str(self.path))
        assert list(self.path.glob("pgflow-ref-*")) == []


class Outcome(NamedTuple):
    """How a run ended."""

    code: int
    output: str
    folder: Path

    @property
    def records(self) -> list[Record]:
        return read_records(self.folder / "results.jsonl")

    def cases(self, *workers: str) -> dict[str, Case]:
        """The records of these workers' cases, by id."""
        cases = [record for record in self.records if isinstance(record, Case)]
        return {case.id: case for case in cases if case.workers == workers}


@pytest.fixture
def place() -> Iterator[Place]:
    path = Path(tempfile.mkdtemp(prefix="suite-", dir="/tmp"))
    path.chmod(0o755)
    yield Place(path)
    for pid in (left := alive(str(path))):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)
    assert left == {}


def wrong(way: str, name: str = "") -> str:
    command = [sys.executable, "-I", "-S", str(WORKERS / "wrong.py"), way]
    return f"--worker={name or way}={shlex.join(command)}"


IDLE = f"--worker=idle={shlex.join([sys.executable, '-I', '-S', str(WORKERS / 'idle.py')])}"
START_WRONG_WORK = "case $1 in start) exec {python} {idle} start;; *) exec {wrong} $1;; esac"


def wrong_at_work(way: str) -> str:
    """A worker that starts runs as it should, and is wrong at `work`."""
    script = START_WRONG_WORK.format(
        python=shlex.quote(sys.executable),
        idle=shlex.quote(str(WORKERS / "idle.py")),
        wrong=wrong(way).partition("=")[2].partition("=")[2],
    )
    return f"--worker={way}={shlex.join(['sh', '-c', script, 'sh'])}"


def trespassing(way: str) -> str:
    """A worker that writes what it may not, and is right otherwise."""
    return f"--worker={way}={shlex.join([sys.executable, str(WORKERS / 'trespasser.py'), way])}"


def test_wrong_workers_fail_and_the_right_one_passes(place: Place) -> None:
    done = place.run(
        *("conformance/worker", "-k", "worker.success", "-n", "3", "--patience=0.4"),
        *("--worker=none=/no/such/command", wrong("dead", "dead-at-start")),
        *map(wrong_at_work, ["dead", "shot", "garbage", "unsupported", "silent"]),
        "--worker=python",
    )
    assert done.code == 1
    place.assert_clean()

    expected = {
        "none": "none: cannot start /no/such/command work: [Errno 2] No such file",
        "dead-at-start": "dead-at-start: it exited with 7 and did not say ready: it hurts",
        "dead": "dead: it exited with 7 and did not say ready: it hurts | very much",
        "shot": "shot: it exited with -9 during work",
        "silent": "silent: it did not say ready within 8 s: (nothing on stderr)",
        "garbage": "garbage: line 1 of its output is no line of the contract: b'Hello!\\n'",
    }
    for name, words in expected.items():
        (case,) = done.cases(name).values()
        assert case.outcome == "failed"
        assert any(problem.startswith(words) for problem in case.problems), case.problems
        assert words[:60] in done.output
    (unsupported,) = done.cases("unsupported").values()
    assert (unsupported.outcome, unsupported.problems) == ("unsupported", ("no such thing here",))
    assert "it hurts\nvery much" in done.output, "what the worker said to people, as it said it"

    (right,) = done.cases("python").values()
    assert (right.outcome, right.problems) == ("passed", ())
    assert (right.tasks, right.runs, right.calls) == ({"python": 1}, 1, 1)
    assert_reports_are_sound(done, 8)


def test_hostile_workers_fail_and_leave_nothing_behind(place: Place) -> None:
    ways = ["garbage", "endless", "noisy", "parent_of_escaped", "stubborn"]
    trespasses = ["definitions", "drop", "lock"]
    done = place.run(
        *("conformance/worker", "-k", "worker.success", "-n", "3", "--patience=0.4"),
        *map(wrong_at_work, ways),
        *map(trespassing, trespasses),
        "--worker=plain",
    )
    assert done.code == 1
    place.assert_clean()

    expected = {
        "garbage": "garbage: line 1 of its output is no line of the contract: b'Hello!\\n'",
        "endless": "endless: line 3 of its output is longer than 32 MiB",
        "noisy": "noisy: it wrote 64 MiB to stderr, and no more is taken",
        "stubborn": "all 1 runs are over",
        "definitions": "a row of the definition of a flow was changed by UPDATE pgflow.steps SET",
        "drop": "what the suite judges by is not there any more: relation",
        "lock": "somebody keeps a lock on what the suite has to read",
    }
    for name in [*ways, *trespasses]:
        (case,) = done.cases(name).values()
        assert case.outcome == "failed"
        assert any(expected.get(name, "") in problem for problem in case.problems), case.problems
    (right,) = done.cases("plain").values()
    assert (right.outcome, right.problems) == ("passed", ())


def assert_reports_are_sound(done: Outcome, cases: int) -> None:
    first, *between, last = done.records
    assert isinstance(first, Suite)
    assert isinstance(last, End)
    assert last.exit == done.code
    assert len(between) == cases
    assert all(isinstance(record, Case) for record in between)
    junit = ET.parse(done.folder / "junit.xml").getroot()
    assert int(junit.attrib["tests"]) == cases == len(list(junit.iter("testcase")))
    failed = sum(isinstance(record, Case) and record.outcome == "failed" for record in between)
    assert int(junit.attrib["failures"]) == failed
    assert f"of {cases}" in (done.folder / "badge.svg").read_text(encoding="utf-8")
    assert "worker" in (done.folder / "summary.md").read_text(encoding="utf-8")
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "worker.success" in page
    Balance().check(page)


class Balance(HTMLParser):
    """Checks that every element is closed, in order."""

    ALONE = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})

    def check(self, page: str) -> None:
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002  # the parser's
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """`<path/>` is closed at once."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


def test_a_worker_that_does_nothing_passes_nothing(place: Place) -> None:
    done = place.run("conformance/worker", "conformance/compile", "-n", "3", "--patience=0.1", IDLE)
    assert done.code == 1
    place.assert_clean()
    cases = done.cases("idle")
    assert len(cases) >= 17 + 14
    # It starts runs as it should, so it passes what asks for no worker; and what it says that it
    # does not have is not tried.
    files = (FIXTURES / "cases" / "worker").glob("*.yaml")
    asked = {case.id: case for path in files for case in load(path)}
    for name, case in cases.items():
        acts = asked[name].acts if name in asked else ()
        idle = acts and not any("work" in act for act in acts)
        lacks = name in asked and asked[name].needs
        assert case.outcome == ("unsupported" if lacks else "passed" if idle else "failed"), name
    assert "all 1 runs are over, not within 2 s" in cases["worker.success"].problems
    assert cases["worker.stop_finishes"].problems[0].startswith("idle: it did not call 3 handlers")
    assert cases["compile.one_step"].problems == ("there are 0 statements, not 2",)


def test_a_run_in_which_nothing_passed_proves_nothing(place: Place) -> None:
    # It supports nothing, and is alone where there should be two.
    chosen = ["conformance/worker", "conformance/mixed", "-k", "worker.success or mixed"]
    done = place.run(*chosen, wrong("unsupported"))
    assert done.cases("unsupported")["worker.success"].problems == ("no such thing here",)
    assert done.code not in (0, 2)


def test_the_command_that_repeats_a_case_names_its_worker(place: Place) -> None:
    done = place.run("conformance/compile", "-k", "one_step", IDLE)
    (case,) = done.cases("idle").values()
    assert case.repeat in done.output
    words = shlex.split(case.repeat)
    assert words[0] == "./scripts/conformance"
    again = place.run(*words[1:])
    assert again.code == 1
    assert again.cases("idle").keys() == {"compile.one_step"}


@pytest.mark.parametrize(
    ("worker", "parallel", "words"),
    [
        ("ruby", (), f"--worker 'ruby': no such adapter; known are {KNOWN};"),
        ("ruby", ("-n", "2"), f"--worker 'ruby': no such adapter; known are {KNOWN};"),
        ("mine=", (), "--worker 'mine=': it is NAME, or NAME=COMMAND"),
        ("mine='run", (), "--worker "),
    ],
    ids=["unknown", "unknown, in parallel", "no command", "no end of a quotation"],
)
def test_a_worker_that_is_not_known_is_said_in_a_line(
    worker: str, parallel: tuple[str, ...], words: str, place: Place
) -> None:
    done = place.run("conformance/worker", "-q", f"--worker={worker}", *parallel)
    assert done.code == 2
    assert f"Exit: the suite cannot run: {words}" in done.output
    assert len(done.output.splitlines()) <= 3


def test_one_worker_under_one_name_once(place: Place) -> None:
    twice = ["--worker=python", "--worker=python=sh run"]
    done = place.run("conformance/compile", "-k", "one_step", *twice)
    assert done.code == 2
    assert "python" in done.output


@pytest.mark.parametrize(
    ("number", "parallel"),
    [
        (signal.SIGINT, ()),
        (signal.SIGTERM, ()),
        (signal.SIGINT, ("-n", "2")),
        (signal.SIGKILL, ("-n", "2")),
    ],
    ids=["SIGINT", "SIGTERM", "SIGINT in parallel", "SIGKILL in parallel"],
)
def test_nothing_is_left_of_a_run_that_is_ended(
    number: signal.Signals, parallel: tuple[str, ...], place: Place
) -> None:
    with place.start("conformance/worker", "-k", "worker.success", IDLE, *parallel) as process:
        place.wait_for(r"idle\.py work$", process)
        assert len(list(place.path.glob("pgflow-ref-*"))) == 1
        if number == signal.SIGINT:  # from the terminal, to all who belong to it
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
    place.assert_clean()
    if number == signal.SIGINT:
        done = Outcome(process.returncode, output, place.results)
        assert done.code == 2
        assert "KeyboardInterrupt" in output
        assert isinstance(done.records[-1], End)
        made = {"results.jsonl", "report.html", "junit.xml", "summary.md", "badge.svg"}
        assert {path.name for path in done.folder.iterdir()} == made
        assert "exit code 2" in (done.folder / "summary.md").read_text(encoding="utf-8")
    else:
        assert process.returncode == -number


@pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["alone", "in parallel"])
def test_nothing_is_left_after_impatient_ctrl_c(parallel: tuple[str, ...], place: Place) -> None:
    with place.start("conformance/worker", "-k", "worker.success", IDLE, *parallel) as process:
        place.wait_for(r"idle\.py work$", process)
        # Again and again, wherever it may be in its tidying up, until it has gone.
        while process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        process.communicate(timeout=PATIENCE)
    assert process.returncode not in {0, 1}
    place.assert_clean()


def test_nothing_is_left_of_a_run_that_is_ended_while_runs_are_started(place: Place) -> None:
    with place.start("conformance/worker", "-k", "worker.success", wrong("parent")) as process:
        place.wait_for("^sleep 1000$", process)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    place.assert_clean()
