"""A worker that a person starts by hand, under a debugger, say: `--attach`.

In its place the harness starts a stand-in (this module as a program), which waits in a folder. What
`pgflow-conformance attach FOLDER` runs in the person's terminal then speaks through it, and gets
its signals: so to the harness it is a process like any other.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conformance.harness.adapters import Adapter

SOCKET: Final = "socket"
WORKER: Final = "worker.json"
LOST: Final = 1
"""The exit code of a worker whose terminal went away."""

_SAID: Final = "PGFLOW_"


def waiting(adapter: Adapter, environ: Mapping[str, str], name: str) -> tuple[Adapter, Path]:
    """The stand-in for a worker that a person starts, and the folder where it waits.

    It also tells the person what to do, on the terminal.
    """
    folder = Path(tempfile.mkdtemp(prefix="pgflow-attach-"))
    command = [*adapter.command, "work"]
    given = {key: value for key, value in environ.items() if key.startswith(_SAID)}
    worker = {"name": name, "command": command, "environment": given}
    (folder / WORKER).write_text(json.dumps(worker), encoding="utf-8")
    variables = "".join(f"    {key}={shlex.quote(value)}\n" for key, value in given.items())
    sys.stdout.write(
        f"\n{name} is yours. In another terminal, in this folder:\n"
        f"    pgflow-conformance attach {folder}\n"
        f"or with a command of your own, with a debugger in it, say:\n"
        f"    pgflow-conformance attach {folder} -- {shlex.join(command)}\n"
        f"It gets this environment:\n{variables}"
        f"The case waits for as long as it takes; Ctrl-C here ends it.\n"
    )
    sys.stdout.flush()
    return replace(adapter, command=(sys.executable, "-I", __file__, str(folder))), folder


def check_attached(wanted: Sequence[str], roles: Sequence[str], workers: Sequence[str]) -> None:
    """Whether these are roles or names that there can be.

    Raises:
        ValueError: one is not.
    """
    for one in wanted:
        name = re.sub(r"-[1-9][0-9]*$", "", one)
        if one not in roles and not {one, name} & set(workers):
            raise ValueError(
                f"--attach {one}: it is a role, as {roles[0]} or {roles[1]}, or one of the workers"
                f" that take part: {', '.join(workers)}"
            )


class StandIn:
    """Speaks and hears for the worker in the person's terminal."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._terminal: socket.socket | None = None

    def run(self) -> NoReturn:
        """Wait for the terminal, pass on what comes from it, and end as the worker there does."""
        signal.signal(signal.SIGTERM, self._pass_on)
        with socket.socket(socket.AF_UNIX) as listener:
            # It gets its name when somebody listens, so whoever sees it can connect.
            beside = self._folder / f".{SOCKET}"
            listener.bind(str(beside))
            listener.listen(1)
            beside.rename(self._folder / SOCKET)
            self._terminal, _ = listener.accept()
        for message in messages(self._terminal):
            if "line" in message:
                sys.stdout.write(message["line"] + "\n")
                sys.stdout.flush()
            elif "said" in message:
                sys.stderr.write(message["said"] + "\n")
                sys.stderr.flush()
            else:
                _end_like(message["exit"])
        sys.stderr.write("the terminal in which it ran is gone\n")
        sys.exit(LOST)

    def _pass_on(self, number: int, _: object) -> None:
        if self._terminal is None:
            sys.exit(128 + number)
        with suppress(OSError):
            send(self._terminal, {"signal": number})


def messages(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """What comes, one JSON object a line, until the other side closes."""
    with suppress(ConnectionError), connection.makefile(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def send(connection: socket.socket, message: Mapping[str, object]) -> None:
    """Send one message."""
    connection.sendall(json.dumps(message).encode() + b"\n")


def _end_like(code: int) -> NoReturn:
    """Exit with the code of the worker, or by the signal that has ended it."""
    if code >= 0:
        sys.exit(code)
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    signal.pause()
    raise AssertionError


if __name__ == "__main__":
    StandIn(Path(sys.argv[1])).run()
