"""A command and all processes that come of it: how they are found, limited, and ended.

They belong to it by their session, by descent, or by a mark in their environment, which a process
keeps that has left both.
"""

from __future__ import annotations

import ctypes
import os
import resource
import secrets
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MARK: Final = "PGFLOW_CONFORMANCE_MARK"
LONGEST_FILE: Final = 64 * 2**20  # bytes
"""How long any file may become that a command writes; what it says to people is such a file."""

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1
_DEATH: Final = 5.0  # seconds for those who are killed to be gone
_LOOK_EVERY: Final = 0.005


class Kin:
    """A command that runs, in a session of its own; it dies with this process.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], **files: int | IO[bytes]
    ) -> None:
        self._mark = f"{MARK}={secrets.token_hex(8)}"
        name, _, value = self._mark.partition("=")
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            env={**environ, name: value},
            start_new_session=True,
            preexec_fn=_limit,  # noqa: PLW1509  # three calls of the system
            **files,  # type: ignore[call-overload]
        )

    def left(self, patience: float = 0.0) -> list[str]:
        """The command lines of those who are there beside the command itself.

        Args:
            patience: seconds for them to go by themselves.
        """
        give_up_at = time.monotonic() + patience
        while (there := self._members()) and time.monotonic() < give_up_at:
            time.sleep(_LOOK_EVERY)
        return sorted(_command_line(pid) or f"process {pid}" for pid in there)

    def end(self) -> None:
        """Kill them all, however fast they multiply, and wait until they are gone."""
        self.kill()
        self.process.wait()
        give_up_at = time.monotonic() + _DEATH
        while (there := self._members()) and time.monotonic() < give_up_at:
            for pid in there:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_EVERY)

    def kill(self) -> None:
        """Kill the command and those who are still in its process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _members(self) -> set[int]:
        """All who belong to it and have not ended, without the command itself."""
        found = {self.process.pid}
        parents: dict[int, int] = {}
        for pid, parent, session in _processes():
            parents[pid] = parent
            if session == self.process.pid or self._is_marked(pid):
                found.add(pid)
        before = 0
        while len(found) > before:
            before = len(found)
            found.update(pid for pid, parent in parents.items() if parent in found)
        return (found & parents.keys()) - {self.process.pid}

    def _is_marked(self, pid: int) -> bool:
        try:
            # Split: another command may have been started by one of these with a mark of its own.
            return self._mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or belongs to somebody else
            return False


def _processes() -> Iterator[tuple[int, int, int]]:
    """All that run: their ids, their parents and their sessions."""
    for name in os.listdir("/proc"):  # noqa: PTH208  # a few hundred names, again and again
        if not name.isdigit():
            continue
        with suppress(OSError):
            # The name of the program stands in brackets, and may hold anything.
            words = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            state, parent, session = words[0], int(words[1]), int(words[3])
            if state not in {b"Z", b"X"}:
                yield int(name), parent, session


def _command_line(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
    return shlex.join(words.rstrip("\0").split("\0"))[:200]


def _limit() -> None:
    """Between fork and exec: die with the harness, however it dies, and fill no disk."""
    die_with_parent()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    least = LONGEST_FILE if most == resource.RLIM_INFINITY else min(most, LONGEST_FILE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (least, least))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Make the kernel send this process a signal when the one that started it dies, however."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
