"""Reads what others packed or wrote, and no more of it than a core can be large."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import SourceError
from pgflow_ref.install.fetch import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST: Final = 1000
"""Files that are read of a place; the newest core that is known of has some thirty."""


def read_tar(path: Path, wants: Callable[[PurePosixPath], bool]) -> dict[PurePosixPath, bytes]:
    """Read members by name; nothing is unpacked, so no member can reach out of a folder.

    Args:
        path: a .tgz, or a .tar of any other compression.
        wants: whether a regular file of this name is wanted.

    Raises:
        SourceError: it cannot be read, a file in it is too large to be a migration, or there are
            too many.
    """
    files: dict[PurePosixPath, bytes] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if not (member.isfile() and wants(place)):
                    continue
                if member.size > LARGEST:
                    raise SourceError(f"{member.name} in {path} is too large to be a migration")
                opened = archive.extractfile(member)
                assert opened is not None  # it is a regular file
                files[place] = opened.read()
                check_count(path, len(files))
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise SourceError(f"{path} cannot be read as a .tgz: {error}") from error
    return files


def check_count(path: Path, count: int) -> None:
    """Whether so many files may be those of a core.

    Raises:
        SourceError: they are too many; to run some of them would leave half a core.
    """
    if count > MOST:
        raise SourceError(f"{path} holds more than {MOST} files of SQL: that is no core")


def is_there(path: Path) -> bool:
    """Whether there is a file or a directory.

    Raises:
        SourceError: nobody can tell: the way to it is closed, say, or its name too long.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    return True


def read_sized(path: Path, what: str = "a migration") -> bytes:
    """Read a file.

    Args:
        path: where it is.
        what: what it ought to be, for the message.

    Raises:
        SourceError: it cannot be read, or is too large to be that.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise SourceError(f"{path} is too large to be {what}")
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
