"""`pgflow-conformance attach`: the worker for which a case of the suite waits, in this terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import sys
import termios
import tty
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from conformance.harness.attaching import SOCKET, WORKER, send

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_TYPES: Final = frozenset({"hello", "ready", "call", "stopped"})
_LOOK_EVERY: Final = 0.1  # seconds between two looks at whether the case has paused its worker
_BLOCK: Final = 65_536


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def attach(folder: Path, command: tuple[str, ...]) -> None:
    """Run the worker that a case waits for, here.

    FOLDER is the one that `./scripts/conformance --attach` has printed, COMMAND what to run: the
    adapter's own command, where there is none. It gets the environment of the contract, and a
    terminal: a debugger works as it always does. Lines of the contract go to the suite as well.
    """
    try:
        worker = json.loads((folder / WORKER).read_text(encoding="utf-8"))
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(folder / SOCKET))
    except OSError as error:
        raise click.ClickException(f"nobody waits in {folder} any more: {error}") from None
    with connection:
        code = Attached(connection).run(command or worker["command"], worker["environment"])
    sys.exit(code if code >= 0 else 128 - code)


class Attached:
    """A command in a terminal of its own, shown in this one and heard by the suite."""

    def __init__(self, suite: socket.socket) -> None:
        self._suite = suite
        # The id of the process that stands in for the command; it is paused in its place.
        credentials = suite.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        self._stand_in: int = struct.unpack("3i", credentials)[0]
        self._pid = 0
        self._paused = False
        self._rest = b""

    def run(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        """Run it to its end; its exit code, which is negative for a signal."""
        self._pid, terminal = pty.fork()
        if self._pid == 0:
            _become(command, environ)
        _copy_size(terminal)
        signal.signal(signal.SIGWINCH, lambda *_: _copy_size(terminal))
        with _raw(sys.stdin.fileno()):
            self._serve(terminal)
        self._hear(b"\n" if self._rest else b"")
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        with suppress(OSError):
            send(self._suite, {"exit": code})
        return code

    def _serve(self, terminal: int) -> None:
        """Pass on what comes from each side, until the command's terminal closes."""
        keyboard = sys.stdin.fileno()
        watched: list[int] = [terminal, keyboard, self._suite.fileno()]
        while True:
            ready, _, _ = select.select(watched, [], [], _LOOK_EVERY)
            self._pause_as_the_stand_in()
            if terminal in ready:
                block = _read(terminal)
                if not block:
                    return
                os.write(sys.stdout.fileno(), block)
                self._hear(block)
            if keyboard in ready:
                block = _read(keyboard)
                if block:
                    os.write(terminal, block)
                else:
                    watched.remove(keyboard)
            if self._suite.fileno() in ready and not self._obey():
                watched.remove(self._suite.fileno())

    def _obey(self) -> bool:
        """Send the signals that the case sends; whether there may be more."""
        block = self._suite.recv(_BLOCK)
        if not block:
            self._signal(signal.SIGKILL)
            return False
        for line in block.splitlines():
            self._signal(signal.Signals(json.loads(line)["signal"]))
        return True

    def _pause_as_the_stand_in(self) -> None:
        paused = _is_stopped(self._stand_in)
        if paused != self._paused:
            self._paused = paused
            self._signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)

    def _hear(self, block: bytes) -> None:
        """Tell the suite the lines of the contract, and what else was said."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        for raw in lines:
            text = raw.decode(errors="replace").strip("\r")
            line = contract_line(text)
            with suppress(OSError):
                send(self._suite, {"said": text} if line is None else {"line": line})


def contract_line(text: str) -> str | None:
    """The line of the contract in a line of a terminal, if there is one.

    Example:
        >>> contract_line('(Pdb) {"type": "stopped"}')
        '{"type": "stopped"}'
        >>> contract_line("{'type': 'stopped'}") is None
        True
    """
    line = text[text.find("{") :] if "{" in text else ""
    try:
        given = json.loads(line)
    except RecursionError:  # an input may be deeper than this reads
        return line if '"type"' in line else None
    except ValueError:
        return None
    return line if isinstance(given, dict) and given.get("type") in _TYPES else None


def _become(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Be this command, in the child of a fork."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PGFLOW_DATABASE")}
    try:
        os.execvpe(command[0], list(command), {**inherited, **environ})  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\r\n".encode())
        os._exit(127)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _BLOCK)
    except OSError:  # a terminal without anybody in it
        return b""


def _copy_size(terminal: int) -> None:
    with suppress(OSError):
        size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


@contextmanager
def _raw(keyboard: int) -> Iterator[None]:
    """Let every key, Ctrl-C too, go to the command."""
    if not os.isatty(keyboard):
        yield
        return
    before = termios.tcgetattr(keyboard)
    tty.setraw(keyboard)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    except OSError:
        return False
