"""Worker processes: starting them, hearing what they say, and being rid of them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from conformance.harness.contract import VERSION
from conformance.harness.kin import LONGEST_FILE, Kin
from pgflow_ref.errors import NotJson
from pgflow_ref.json_contract import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from conformance.harness.adapters import Adapter

READY_WITHIN: Final = 20.0  # seconds from the start of the process to its `ready`
STOP_WITHIN: Final = 15.0  # seconds from SIGTERM to the end, with nothing left to do
LINGER: Final = 1.0  # seconds for what a worker started to end after it
UNSUPPORTED: Final = 3  # the exit code of what it cannot do
_MOST_LINES: Final = 200_000  # of one worker
_LONGEST_LINE: Final = 32 * 2**20  # bytes
_MOST_BYTES: Final = 128 * 2**20  # of all lines of one worker
_MOST_READ: Final = 2**20  # bytes of what it said to people that are looked at
_MIB: Final = 2**20


class WorkerProblem(Exception):
    """A worker did not do what the contract says; the message is for the report."""


class NotSupported(Exception):
    """A worker said, by exit code 3, that it cannot do what the case asks for."""


def environment(database_url: str | None, fixture: Path, *, pooled: bool = False) -> dict[str, str]:
    """What the contract puts into a worker's environment.

    Args:
        database_url: where it finds the database, or None where it needs none.
        fixture: where it finds the fixture.
        pooled: whether it comes to the database through a pooler.
    """
    ours = ("PGFLOW_DATABASE", "PGFLOW_POOLING")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    given = {"PGFLOW_CONTRACT": str(VERSION), "PGFLOW_FIXTURE": str(fixture)}
    if database_url is not None:
        given["PGFLOW_DATABASE_URL"] = database_url
    if pooled:
        given["PGFLOW_POOLING"] = "transaction"
    return {**inherited, **given}


@dataclass
class WorkerProcess:
    """One worker at `work`.

    Its lines are read as they come. Whatever happens, `close` leaves nothing of it behind: it runs
    in a process group of its own, and dies with this process.

    Attributes:
        name: how it is called in reports; by default like its adapter.
        gone: whether it has ended, or was ended.
    """

    adapter: Adapter
    environ: Mapping[str, str]
    log: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    patience: float = 1.0
    name: str = ""
    gone: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _kin: Kin | None = None
    _flooded: bool = False
    _reader: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.name = self.name or self.adapter.name

    @property
    def worker_id(self) -> str | None:
        """The id that it said in `ready`."""
        said = next((line.get("worker_id") for line in self.of("ready")), None)
        return said if isinstance(said, str) else None

    @property
    def handler_input(self) -> str:
        """What it said in `hello` about its handlers' argument."""
        return next((str(line.get("handler_input")) for line in self.of("hello")), "split")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The lines of this type, in the order in which they came."""
        with self._changed:
            return [line for line in self.lines if line.get("type") == kind]

    def start(self) -> None:
        """Start the process.

        Raises:
            WorkerProblem: the command cannot be started.
        """
        with self.log.open("wb") as stderr:
            self._kin = spawn(
                self.adapter,
                "work",
                self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_ready(self) -> None:
        """Wait until it said `ready`.

        Raises:
            NotSupported: it exited with 3.
            WorkerProblem: it died, or did not say so in time.
        """
        within = READY_WITHIN * self.patience
        self.wait_for(lambda: self.worker_id is not None, within, "say ready")

    def wait_for_calls(self, count: int, seconds: float) -> None:
        """Wait until it has called so many handlers.

        Raises:
            WorkerProblem: it died, or did not do so in time.
        """
        self.wait_for(lambda: len(self.of("call")) >= count, seconds, f"call {count} handlers")

    def wait_for(self, what: Callable[[], bool], seconds: float, words: str) -> None:
        """Wait until something holds of its lines."""
        give_up_at = time.monotonic() + seconds
        while True:
            # Before the look, so that one comes after the time, however long this one is held up.
            is_last = time.monotonic() > give_up_at
            if what():
                return
            code = self.exit_code()
            if code is not None:
                # Its last lines may still be on their way.
                if self._reader is not None:
                    self._reader.join(5)
                if what():
                    return
                if code == UNSUPPORTED and self.worker_id is None:
                    raise NotSupported(self.stderr().strip())
                raise WorkerProblem(
                    f"{self.name}: it exited with {code} and did not {words}: "
                    + tail(self.stderr())
                )
            if is_last:
                raise WorkerProblem(
                    f"{self.name}: it did not {words} within {seconds:g} s: {tail(self.stderr())}"
                )
            with self._changed:
                self._changed.wait(0.1)

    def exit_code(self) -> int | None:
        """The exit code (a signal is negative), or None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._look_for_a_flood()
        return code

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._kin is not None
        return self._kin.process

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker's process."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self) -> None:
        """End its process at once, without a chance to do anything."""
        self.send(signal.SIGKILL)
        self.wait_gone(STOP_WITHIN)

    def wait_gone(self, seconds: float) -> None:
        """Wait until its process has ended.

        Raises:
            WorkerProblem: it has not in time.
        """
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise WorkerProblem(f"{self.name}: it still ran after {seconds:g} s") from None
        self.gone = True
        if self._reader is not None:
            self._reader.join(5)

    def stop(self, within: float = STOP_WITHIN) -> None:
        """Ask it to stop, wait for its end, and note what was not as the contract says."""
        self.ask_to_stop()
        self.wait_stopped(within, "after SIGTERM")

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and go on at once."""
        self.gone = True
        if self.exit_code() is not None:
            self.problems.append(f"{self.name}: it ended before it was asked to")
        self.send(signal.SIGTERM)

    def wait_stopped(self, within: float, since: str) -> None:
        """Wait for an end in good order, and note what was not as the contract says.

        Args:
            within: seconds for it.
            since: what made it end, in words.
        """
        self.gone = True
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{self.name}: it still ran {within:g} s {since}")
            return
        self._look_around()
        if code != 0:
            self.problems.append(
                f"{self.name}: it exited with {code} {since}: {tail(self.stderr())}"
            )
        elif not self.of("stopped"):
            self.problems.append(f"{self.name}: it ended without saying stopped")

    def close(self) -> None:
        """Kill what is left of it, children included."""
        if self._kin is None:
            return
        self._kin.end()
        if self._reader is not None:
            self._reader.join(1)
        # Should anybody have got away with the pipe, the reader is left behind as well: closing
        # what a thread reads from would wait for it.
        if self._process.stdout is not None and not (self._reader and self._reader.is_alive()):
            self._process.stdout.close()

    def stderr(self) -> str:
        """What it said to people so far; of very much, the end."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _MOST_READ))
            return log.read().decode(errors="replace")

    def _look_around(self) -> None:
        """After its end: nothing that it started may be left, and its last lines are read."""
        assert self._kin is not None
        if left := left_behind(self._kin):
            self._complain(left)
            self._kin.end()  # it may hold the pipe open, whose end is waited for
        self._look_for_a_flood()
        if self._reader is not None:
            self._reader.join(5)

    def _look_for_a_flood(self) -> None:
        if self._flooded or not self.log.exists():
            return
        if too_much := flood("stderr", self.log.stat().st_size):
            self._flooded = True
            self._complain(too_much)

    def _read(self) -> None:
        assert self._kin is not None
        assert self._process.stdout is not None
        number = read = 0
        while raw := self._process.stdout.readline(_LONGEST_LINE + 1):
            number, read = number + 1, read + len(raw)
            if too_much := _too_much(number, len(raw), read):
                self._complain(too_much)
                self._kin.kill()
                return
            try:
                line = decode(raw.decode())  # an input may be deeper than `json` can read
            except (ValueError, NotJson):
                line = None
            if not isinstance(line, dict) or "type" not in line:
                self._complain(
                    f"line {number} of its output is no line of the contract: {raw[:80]!r}"
                )
                continue
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def _complain(self, what: str) -> None:
        most = 5
        if len(self.problems) < most:
            self.problems.append(f"{self.name}: {what}")


def tail(text: str, lines: int = 5) -> str:
    """The last lines of what it said to people, in one."""
    last = text.strip().splitlines()[-lines:]
    return " | ".join(last) if last else "(nothing on stderr)"


def _too_much(number: int, length: int, read: int) -> str | None:
    """What is too much about the output of a worker, after so many lines and bytes of it."""
    if number > _MOST_LINES:
        return f"it printed more than {_MOST_LINES} lines"
    if length > _LONGEST_LINE:
        return f"line {number} of its output is longer than {_LONGEST_LINE // _MIB} MiB"
    if read > _MOST_BYTES:
        return f"it printed more than {_MOST_BYTES // _MIB} MiB"
    return None


def flood(stream: str, size: int) -> str:
    """What is wrong with so many bytes in a file of what it said; empty, if nothing is."""
    if size < LONGEST_FILE:
        return ""
    return f"it wrote {LONGEST_FILE // _MIB} MiB to {stream}, and no more is taken"


def left_behind(kin: Kin) -> str:
    """What is wrong where something that it started outlasts it; empty, if nothing does."""
    most = 3
    commands = kin.left(LINGER)
    if not commands:
        return ""
    more = f" and {len(commands) - most} more" if len(commands) > most else ""
    return f"it ended and left processes behind: {', '.join(commands[:most])}{more}"


def spawn(adapter: Adapter, word: str, environ: Mapping[str, str], **files: int | IO[bytes]) -> Kin:
    """Start its command with a word.

    Raises:
        WorkerProblem: the command cannot be started.
    """
    command = [*adapter.command, word]
    try:
        return Kin(command, environ, **files)
    except OSError as error:
        raise WorkerProblem(
            f"{adapter.name}: cannot start {shlex.join(command)}: {error}"
        ) from None
