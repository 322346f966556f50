"""Which core is wanted: a known version, or whatever a directory, a file of SQL or a .tgz holds.

The migrations are append-only, so files that are the first of the known ones, each with its pinned
checksum, are a known version wherever they lie. Anything else is a core that nobody has pinned: it
gets a label of its own, and the known version that it is most like.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from pgflow_ref.errors import InstallRefused, SourceError
from pgflow_ref.install import pins as pinned
from pgflow_ref.install import sources, statements
from pgflow_ref.install.archives import check_count, is_there, read_sized, read_tar
from pgflow_ref.install.sources import SqlFile, normal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgflow_ref.install.pins import Pins

_FOLDERS: Final = ("dist/supabase/migrations", "supabase/migrations")
_SUFFIXES: Final = (".sql", ".tgz", ".gz", ".tar")
_OF_PGFLOW: Final = re.compile(r"^(?:\d{14}_)?(\d{14}_pgflow_.+\.sql)$")
_TIMESTAMP: Final = 14  # characters at the beginning of a migration's name

# What tells the known versions apart in any SQL that makes them; each has what those before have.
_WORDS: Final = (
    ("0.5.3", "opt_start_delay"),
    ("0.6.1", "deprecated_at"),
    ("0.7.3", "initial_tasks"),
)
_MAKES_READ: Final = re.compile(
    r'CREATE\s[\w\s]*FUNCTION\s+"?pgflow"?\."?read_with_poll"?', re.IGNORECASE
)
_DROPS_READ: Final = re.compile(
    r'DROP\s+FUNCTION[\w\s]*\s"?pgflow"?\."?read_with_poll"?', re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A core that is wanted.

    Attributes:
        label: what it is called, in reports and in the names of databases: its version where that
            is known, else the name of its place with a part of its checksum, as `next-3f2a91c`.
        like: the known version that it is, or is most like: its profile is what it is judged by.
        version: the version that conditions such as `>=0.7` are about: the one that its package
            says, or `like`.
        release: the known version that it is, or None.
        source: the place that was given, or None for a version that was named.
        files: what is to be run, in order; empty for a version that was named.
        newer: files that came after all that is known, or the newer version that its package says.
        altered: what is not as it is pinned, a sentence each.
    """

    label: str
    like: str
    version: str
    release: str | None = None
    source: Path | None = None
    files: tuple[SqlFile, ...] = ()
    newer: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over the names and texts of its files, in hexadecimal."""
        return _digest(self.files)


def wanted(text: str | Path) -> Wanted:
    """Say which core is meant.

    Args:
        text: a known version, such as `0.8.1`; or the path of a directory of migrations, of a
            single file of SQL, or of a .tgz of @pgflow/core. Where a path is called like a version,
            `./0.8.1` is the path.

    Raises:
        InstallRefused: it is neither a version that is known nor a path.
        SourceError: the path does not lead to a core that can be read.

    Example:
        >>> wanted("0.8.1").label, wanted("0.8.1").source
        ('0.8.1', None)
        >>> wanted("./supabase/migrations").like  # doctest: +SKIP
        '0.8.1'
    """
    pins = pinned.load()
    release = pins.releases.get(str(text))
    if release is not None:
        version = release.version
        return Wanted(version, version, version, version)
    path = Path(text)
    if not str(text) or not (is_there(path) or is_path(str(text))):
        known = ", ".join(pins.releases)
        raise InstallRefused(
            f"pgflow core {str(text)!r} is not known; known are {known}, or give the path of a "
            "directory of migrations, a file of SQL or a .tgz of @pgflow/core; nothing was changed"
        )
    path = path.resolve()
    return judge(path, *_read(path), pins)


def core_files(version: str, say: Callable[[str], None] | None = None) -> tuple[SqlFile, ...]:
    """The migrations that make a known version, in order, each with its pinned checksum.

    Args:
        version: one of `known_cores()`.
        say: is told what takes long: the package is fetched once, and kept in the user's cache.

    Raises:
        InstallRefused: the version is not known.
        SourceError: the package cannot be fetched, or is not what its checksum says.

    Example:
        >>> core_files("0.5.0")[0].name  # doctest: +SKIP
        '20250429164909_pgflow_initial.sql'
    """
    release = pinned.load().releases.get(version)
    if release is None:
        known = ", ".join(pinned.known_cores())
        raise InstallRefused(f"pgflow core {version!r} is not known; known are {known}")
    return sources.core_files(release.files, say=say)


def is_path(text: str) -> bool:
    """Whether it can only be a path, whatever is there.

    Example:
        >>> is_path("./core"), is_path("core.tgz"), is_path("0.9.1")
        (True, True, False)
    """
    return "/" in text or text.endswith(_SUFFIXES)


def judge(path: Path, files: Mapping[str, bytes], version: str | None, pins: Pins) -> Wanted:
    """Say what these files are. Pure.

    Args:
        path: where they were found.
        files: what was found, by name.
        version: what the package says of itself, or None.
        pins: what is known.

    Raises:
        SourceError: there is no SQL among them, or less than the package says, or one of them ends
            the transaction that it is run in.
    """
    named = _migrations(files)
    if not named:
        raise SourceError(f"{path} holds no file of SQL, neither there nor in {_FOLDERS[0]}")
    texts = tuple(normal(SqlFile(name, _text(path, name, named[name]))) for name in sorted(named))
    known = pins.core.files
    there = [file for file in texts if file.name in known]
    for file in texts:
        statements.check_transaction(file.text, f"{file.name} in {path}")
    altered = tuple(_altered(file, path, pins) for file in there if _sum(file) != known[file.name])
    count = len(there)
    first = [file.name for file in there] == list(known)[:count]
    release = next((one for one in pins.releases.values() if len(one.files) == count), None)
    if first and release and not altered and count == len(texts):
        _check_whole(path, version, release.version, pins)
        exact = release.version
        return Wanted(exact, exact, exact, exact, path, texts)
    last = list(known)[-1][:_TIMESTAMP]
    newer = tuple(
        one.name for one in texts if one.name not in known and last < one.name[:_TIMESTAMP]
    )
    newer = newer if there else ()
    if (
        version is not None
        and version not in pins.releases
        and pinned.numbers(version) > _newest(pins)
    ):
        newer = (*newer, f"version {version}")
    like = _like(there, pins) if first and there else _like_by_words(texts)
    return Wanted(
        label=_label(path, texts, None if altered or version in pins.releases else version),
        like=like,
        version=version if version is not None and not altered else like,
        source=path,
        files=texts,
        newer=newer,
        altered=altered,
    )


def _like(there: Sequence[SqlFile], pins: Pins) -> str:
    """The newest version of which all files are there."""
    whole = [one for one in pins.releases.values() if len(one.files) <= len(there)]
    return (whole or list(pins.releases.values()))[-1 if whole else 0].version


def _like_by_words(texts: Sequence[SqlFile]) -> str:
    """The version whose marks the SQL bears."""
    text = "\n".join(file.text for file in texts)
    like = "0.5.0"
    for version, word in _WORDS:
        if word not in text:
            return like
        like = version
    made, dropped = _last(_MAKES_READ, text), _last(_DROPS_READ, text)
    return like if made > dropped else "0.8.1"


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Where it occurs for the last time, or -1."""
    return max((match.start() for match in pattern.finditer(text)), default=-1)


def _label(path: Path, files: Sequence[SqlFile], version: str | None) -> str:
    if version is not None:
        return re.sub(r"[^\w.+-]", "-", version)
    stem = path.name.removesuffix(".sql").removesuffix(".tgz").removesuffix(".tar.gz")
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', stem)[:32] or 'core'}-{_digest(files)[:7]}"


def _check_whole(path: Path, says: str | None, exact: str, pins: Pins) -> None:
    """A package that says to be a known version has all of its files."""
    claimed, there = pins.releases.get(says or exact), len(pins.releases[exact].files)
    if claimed is not None and len(claimed.files) > there:
        lacking = claimed.files[there]
        raise SourceError(f"{path} says to be {pins.core.name} {says}, and lacks {lacking}")


def _altered(file: SqlFile, path: Path, pins: Pins) -> str:
    return (
        f"{file.name} in {path} is not the file of {pins.core.name} {pins.core.version}: "
        f"expected SHA-256 {pins.core.files[file.name]}, found {_sum(file)}"
    )


def _migrations(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of the files that are the core's, by the names that they have in its package.

    A project that has installed pgflow has them under names with another time stamp in front, among
    migrations of its own.
    """
    sql = {name: content for name, content in files.items() if name.endswith(".sql")}
    found = {match[1]: sql[name] for name in sorted(sql) if (match := _OF_PGFLOW.match(name))}
    return found or sql


def _read(path: Path) -> tuple[dict[str, bytes], str | None]:
    """The SQL at a place by name, and the version that its package says."""
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist")
    if path.suffix == ".sql":
        return {path.name: read_sized(path)}, None
    return _read_archive(path)


def _read_folder(path: Path) -> tuple[dict[str, bytes], str | None]:
    places = [path, *(path / folder for folder in _FOLDERS), *sorted(path.rglob(_FOLDERS[0]))]
    for place in places:
        there = sorted(place.glob("*.sql"))
        check_count(place, len(there))
        files = {one.name: read_sized(one) for one in there}
        if files:
            roots = (place, *place.parents[:3])
            about = next((one / "package.json" for one in roots if _is_file(one)), None)
            return files, _version(read_sized(about)) if about else None
    return {}, None


def _is_file(root: Path) -> bool:
    return (root / "package.json").is_file()


def _read_archive(path: Path) -> tuple[dict[str, bytes], str | None]:
    members = read_tar(path, lambda place: _is_migration(place) or _is_about(place))
    files = {place.name: members[place] for place in members if _is_migration(place)}
    versions = [_version(members[place]) for place in members if _is_about(place)]
    return files, versions[-1] if versions else None


def _is_migration(place: PurePosixPath) -> bool:
    return place.suffix == ".sql" and any(map(place.parent.match, _FOLDERS))


def _is_about(place: PurePosixPath) -> bool:
    return place.name == "package.json" and len(place.parts) <= 2  # noqa: PLR2004 (its root)


def _version(about: bytes) -> str | None:
    """The version in a package.json of the core; None of any other."""
    try:
        given: Any = json.loads(about)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict) or given.get("name") != pinned.load().core.name:
        return None
    version = str(given.get("version", ""))
    return version if re.match(r"\d+\.\d+\.\d+", version) else None


def _text(path: Path, name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"{name} in {path} is not UTF-8: {error.reason}") from None


def _sum(file: SqlFile) -> str:
    return hashlib.sha256(file.text.encode()).hexdigest()


def _digest(files: Sequence[SqlFile]) -> str:
    lines = [f"{file.name} {_sum(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _newest(pins: Pins) -> tuple[int, ...]:
    return pinned.numbers(list(pins.releases)[-1])
