"""Which pgmq is wanted: a known version, one that the server has as an extension, or a file."""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import InstallRefused, SourceError
from pgflow_ref.install import pins as pinned
from pgflow_ref.install import sources, statements
from pgflow_ref.install.archives import is_there, read_sized
from pgflow_ref.install.fetch import read_wheel
from pgflow_ref.install.sources import SqlFile
from pgflow_ref.install.wanted import is_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_ref.install.pins import Queue

FILE: Final = "pgmq.sql"
_VERSION: Final = re.compile(r"\d+(?:\.\d+)+")
_SAYS: Final = "pgmq.sql.version"  # beside the SQL, in the packages of it
_FOLDERS: Final = ("", "sql", "pgmq/sql")
_COLUMNS: Final = re.compile(
    r"CREATE\s+TYPE\s+pgmq\.message_record\s+AS\s*\((.*?)\)\s*;", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class WantedPgmq:
    """A pgmq that is wanted.

    Attributes:
        label: its version, or the name of its file with a part of its checksum.
        release: the known release that it is, or None.
        file: what is to be run, or None for a version that was named.
    """

    label: str
    release: Queue | None = None
    file: SqlFile | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it can be had as plain SQL; else only as an extension of the server."""
        return self.release is not None or self.file is not None

    @property
    def digest(self) -> str:
        """SHA-256 of its file, in hexadecimal; empty without one."""
        return hashlib.sha256(self.file.text.encode()).hexdigest() if self.file else ""

    @property
    def columns(self) -> int | None:
        """How many columns a message has, where the file says so."""
        found = _COLUMNS.search(self.file.text) if self.file else None
        if found is None:
            return None
        lines = [line.partition("--")[0] for line in found[1].splitlines()]
        return sum(bool(part.strip()) for part in "".join(lines).split(","))

    def sql(self, say: Callable[[str], None] | None = None) -> tuple[SqlFile, ...]:
        """What is to be run for it as plain SQL.

        Raises:
            SourceError: it cannot be had.
        """
        if self.file is not None:
            return (self.file,)
        return sources.pgmq_files(self.release, say)


def wanted_pgmq(text: str | Path) -> WantedPgmq:
    """Say which pgmq is meant.

    Args:
        text: a version: a known one, such as `1.11.1`, or any other for a server that has the
            extension in this version; or the path of a `pgmq.sql`, of a directory that holds one,
            or of a wheel of the package pgmq.

    Raises:
        InstallRefused: it is neither a version nor a path.
        SourceError: the path does not lead to SQL of pgmq.

    Example:
        >>> wanted_pgmq("1.13.0").is_plain, wanted_pgmq("1.4.4").is_plain
        (True, False)
    """
    queues = pinned.load().queues
    release = queues.get(str(text))
    if release is not None:
        return WantedPgmq(release.version, release)
    path = Path(text)
    if text and (is_there(path) or is_path(str(text)) or path.suffix == ".whl"):
        return _at(path.resolve())
    if _VERSION.fullmatch(str(text)):
        return WantedPgmq(str(text))
    raise InstallRefused(
        f"pgmq {str(text)!r} is neither a version, such as {next(iter(queues))}, nor the path of "
        f"a {FILE}; nothing was changed"
    )


def _at(path: Path) -> WantedPgmq:
    content, says = _read(path)
    try:
        file = SqlFile(FILE, content.decode())
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8: {error.reason}") from None
    statements.check_transaction(file.text, str(path))
    checksum = hashlib.sha256(content).hexdigest()
    for queue in pinned.load().queues.values():
        if queue.package.files[FILE] == checksum:
            return WantedPgmq(queue.version, queue, file)
        if says == queue.version:
            raise SourceError(
                f"{path} says to be pgmq {says} and is not: expected SHA-256 "
                f"{queue.package.files[FILE]}, found {checksum}"
            )
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", path.name.removesuffix(".sql").removesuffix(".whl"))
    return WantedPgmq(says or f"{stem}-{checksum[:7]}", None, file)


def _read(path: Path) -> tuple[bytes, str | None]:
    """The SQL at a place, and the version that is written beside it."""
    if not path.exists():
        raise SourceError(f"{path} does not exist")
    if path.is_dir():
        for folder in _FOLDERS:
            if (path / folder / FILE).is_file():
                return _read(path / folder / FILE)[0], _says(
                    sources.read_folder(path / folder, [_SAYS])
                )
        raise SourceError(f"{path} holds no {FILE}")
    if zipfile.is_zipfile(path):
        files = read_wheel(path, _FOLDERS[-1], [FILE, _SAYS])
        if FILE not in files:
            raise SourceError(f"{path} holds no {_FOLDERS[-1]}/{FILE}")
        return files[FILE], _says(files)
    return read_sized(path, FILE), None


def _says(files: dict[str, bytes]) -> str | None:
    said = files.get(_SAYS, b"").decode(errors="replace").strip()
    return said if _VERSION.fullmatch(said) else None
