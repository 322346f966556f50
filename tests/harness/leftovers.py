"""What a test leaves behind, found by a text that nothing else has: a directory of its own."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 60.0  # seconds for what comes in a moment; only a test that fails waits so long
DEATH = 20.0  # seconds for those who are killed to be gone


def alive(mark: str) -> dict[int, str]:
    """The processes that have the mark in environment or command line, with their command lines."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):  # it has ended meanwhile
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if mark in command or mark.encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = command.strip()
    return found


def assert_nobody_left(mark: str) -> None:
    """Nobody is there, or will be soon: who is killed needs a moment to die."""
    give_up_at = time.monotonic() + DEATH
    while (left := alive(mark)) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert left == {}
