"""Where servers keep their files: in memory, if this machine has some to spare.

A database is copied for every case, some 370 files; on a disk that takes ten times as long.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY: Final = Path("/dev/shm")  # noqa: S108  # the system's own file system in memory
NEEDED: Final = 4 * 2**30  # bytes free: far more than a run's databases and their logs take


@contextmanager
def in_memory() -> Iterator[None]:
    """Servers that are started here have their files in memory.

    Not where TMPDIR says where temporary files belong, and not where there is too little of it.
    """
    before = tempfile.tempdir
    if "TMPDIR" not in os.environ and has_room():
        tempfile.tempdir = str(MEMORY)
    try:
        yield
    finally:
        tempfile.tempdir = before


def has_room() -> bool:
    """Whether there is enough memory to keep files in."""
    folder = MEMORY
    try:
        return os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free >= NEEDED
    except OSError:
        return False
