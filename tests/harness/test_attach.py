"""A worker that a person starts by hand, in another terminal, while a case waits for it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.commands.attach import contract_line
from tests.harness.leftovers import PATIENCE
from tests.harness.test_suite import WORKERS, Outcome, Place, place

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["place"]  # a fixture

DEEP = '{"type": "call", "input": ' + "[" * 100_000 + "]" * 100_000 + "}"
MAIN = "import sys; from conformance.cli import main; sys.exit(main())"


def attach(folder: Path, *command: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        MAIN,
        "attach",
        str(folder),
        *(["--", *command] if command else []),
    ]


def waiting(place: Place, process: subprocess.Popen[str]) -> Path:
    """The folder in which a case waits for its worker."""
    give_up_at = time.monotonic() + PATIENCE
    while not (found := list(place.path.glob("pgflow-attach-*/socket"))):
        assert process.poll() is None
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    return found[0].parent


@contextmanager
def case_that_waits(place: Place, case: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    asked = ["conformance/worker", f"--case={case}", "--worker=python", "--attach=first", *more]
    with place.start(*asked) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(place: Place, process: subprocess.Popen[str]) -> Outcome:
    output, _ = process.communicate(timeout=PATIENCE)
    return Outcome(process.returncode, output, place.results)


def test_a_case_waits_for_a_worker_that_a_person_starts(place: Place) -> None:
    # With a thousandth of the usual patience: nothing may have to be in time.
    with case_that_waits(place, "worker.success", "--patience=0.001", "-n2") as process:
        folder = waiting(place, process)
        done = subprocess.run(
            attach(folder), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        outcome = ended(place, process)
    assert done.returncode == 0, done.stderr
    assert '{"type":"stopped"}' in done.stdout.replace(" ", ""), "the person sees it as well"
    assert outcome.code == 0, outcome.output
    assert {case.outcome for case in outcome.cases("python").values()} == {"passed"}
    for words in (f"pgflow-conformance attach {folder}", "PGFLOW_DATABASE_URL=", "adapter.py work"):
        assert words in outcome.output
    assert not folder.exists()
    place.assert_clean()


def test_a_debugger_has_its_terminal(place: Place) -> None:
    worker = WORKERS.parents[2] / "conformance/workers/python/adapter.py"
    with case_that_waits(place, "worker.success") as process:
        folder = waiting(place, process)
        pid, terminal = pty.fork()
        if pid == 0:
            command = attach(folder, sys.executable, "-m", "pdb", str(worker), "work")
            os.execv(command[0], command)
        seen = Screen(terminal)
        seen.wait_for(r"\(Pdb\) $")
        os.write(terminal, b"p 6 * 7\n")
        seen.wait_for(r"\b42\r\n\(Pdb\) $")
        os.write(terminal, b"continue\n")
        seen.wait_for(r'"stopped"[^$]*\(Pdb\) $')  # pdb would begin again
        os.write(terminal, b"quit\n")
        outcome = ended(place, process)
        os.close(terminal)
        os.waitpid(pid, 0)
    (case,) = outcome.cases("python").values()
    assert case.tasks == {"python": 1}
    assert "(Pdb) p 6 * 7" in case.log["python"]
    place.assert_clean()


class Screen:
    """What a terminal has shown."""

    def __init__(self, terminal: int) -> None:
        self.terminal = terminal
        self.text = ""

    def wait_for(self, pattern: str) -> None:
        give_up_at = time.monotonic() + PATIENCE
        while not re.search(pattern, self.text):
            left = give_up_at - time.monotonic()
            assert left > 0, self.text
            if select.select([self.terminal], [], [], left)[0]:
                self.text += os.read(self.terminal, 4096).decode()


def test_a_worker_that_is_paused_and_killed_is_the_one_in_the_terminal(place: Place) -> None:
    folder = place.path / "pgflow-attach-x"
    folder.mkdir()
    (folder / "worker.json").write_text('{"command": ["sleep", "1000"], "environment": {}}')
    stand_in = subprocess.Popen(
        [sys.executable, "-I", "conformance/harness/attaching.py", str(folder), "work"],
        stdout=subprocess.PIPE,
    )
    with stand_in:
        while not (folder / "socket").exists():
            time.sleep(0.01)
        terminal = subprocess.Popen(attach(folder), stdin=subprocess.DEVNULL)
        with terminal:
            sleeper = child_of(terminal.pid)
            stand_in.send_signal(signal.SIGSTOP)
            wait_for_state(sleeper, "T")
            stand_in.send_signal(signal.SIGCONT)
            wait_for_state(sleeper, "S")
            stand_in.kill()
            assert terminal.wait(PATIENCE) == 128 + 9


def child_of(pid: int) -> int:
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        if children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError


def wait_for_state(pid: int, state: str) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while True:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == state:
            return
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_command_that_is_not_there_and_a_folder_where_nobody_waits(place: Place) -> None:
    with case_that_waits(place, "worker.success") as process:
        folder = waiting(place, process)
        done = subprocess.run(
            attach(folder, "/no/such/command"), stdin=subprocess.DEVNULL, check=False
        )
        outcome = ended(place, process)
    assert done.returncode == 127
    assert outcome.code == 1
    assert "it exited with 127 and did not say ready" in outcome.output
    empty = subprocess.run(
        attach(place.path), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert empty.returncode == 1
    assert "nobody waits in" in empty.stderr
    place.assert_clean()


def test_who_cannot_be_attached_is_said(place: Place) -> None:
    done = place.run("conformance/worker", "--worker=python", "--attach=ruby")
    assert done.code == 2
    assert "--attach ruby: it is a role, as first or second, or one of" in done.output


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"type": "ready", "worker_id": "1"}', '{"type": "ready", "worker_id": "1"}'),
        ('> {"type": "call"}', '{"type": "call"}'),
        ('{"type": "log"}', None),
        ("{", None),
        ("nothing", None),
        ('["type"]', None),
        (DEEP, DEEP),
    ],
    ids=range(7),
)
def test_which_lines_are_of_the_contract(text: str, line: str | None) -> None:
    assert contract_line(text) == line
