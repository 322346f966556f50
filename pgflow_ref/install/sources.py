"""Where the SQL comes from: a directory, an archive, the user's cache, or the packages themselves.

Whatever the place, a file counts only when its SHA-256 is the pinned one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import SourceError
from pgflow_ref.install import fetch
from pgflow_ref.install import pins as pinned
from pgflow_ref.install.archives import read_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgflow_ref.install.pins import Package, Queue

# How migrations were published before 0.8: with a schema that must not be there yet, and one
# version of pgmq. Both are a matter of the place, and what comes out is the same.
_SCHEMA: Final = re.compile(r'^CREATE SCHEMA "(pgflow|pgmq)";$', re.MULTILINE)
_PGMQ: Final = re.compile(
    r'^CREATE EXTENSION (?:IF NOT EXISTS )?"pgmq" WITH SCHEMA "pgmq"(?: VERSION "[\d.]+")?;$',
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A file of SQL whose checksum was right.

    Attributes:
        name: the file's name, for messages.
        text: what it holds.
    """

    name: str
    text: str


def normal(file: SqlFile) -> SqlFile:
    """A migration in the form in which it is published since 0.8; one of another form as it is.

    Example:
        >>> normal(SqlFile("a.sql", 'CREATE SCHEMA "pgmq";')).text
        'CREATE SCHEMA IF NOT EXISTS "pgmq";'
    """
    text = _SCHEMA.sub(r'CREATE SCHEMA IF NOT EXISTS "\1";', file.text)
    return SqlFile(
        file.name, _PGMQ.sub('CREATE EXTENSION IF NOT EXISTS "pgmq" WITH SCHEMA "pgmq";', text)
    )


def core_files(
    names: Sequence[str], source: Path | None = None, say: Callable[[str], None] | None = None
) -> tuple[SqlFile, ...]:
    """The core's migrations.

    Args:
        names: the files, in the order in which they are wanted.
        source: a directory that holds them (directly, or below as `dist/supabase/migrations`), or
            a .tgz of the npm package; None for the user's cache, which is filled from the package
            by deno or npm when it lacks a file.
        say: is told what takes long.

    Raises:
        SourceError: a file is missing or is not the pinned one, or the package cannot be fetched.
    """
    package = pinned.load().core
    if source is not None:
        return check(package, names, read(source, package), str(source))
    folder = cache_folder() / f"pgflow-core-{package.version}"
    # A cache that is damaged is filled again, once: what comes then is checked without mercy.
    with suppress(SourceError):
        return check(package, names, read_folder(folder, names), str(folder))
    if say is not None:
        say(f"fetching {package.name} {package.version}, once; it is kept in {folder}")
    with tempfile.TemporaryDirectory(prefix="pgflow-ref-") as scratch:
        place, client = fetch.fetch(package, Path(scratch))
        files = read(place, package)
    fetched = check(package, list(package.files), files, f"what {client} fetched")
    _keep(folder, files, say)
    by_name = {file.name: file for file in fetched}
    return tuple(by_name[name] for name in names)


def pgmq_files(
    queue: Queue | None = None, say: Callable[[str], None] | None = None
) -> tuple[SqlFile, ...]:
    """The SQL of pgmq: from the installed package `pgmq`, which is not imported, or fetched.

    Args:
        queue: which release; by default the usual one, which is never fetched.
        say: is told what takes long.

    Raises:
        SourceError: the package is not installed or not the right version, and cannot be fetched.
    """
    pins = pinned.load()
    queue = queue or pins.queue
    package, names = queue.package, list(queue.package.files)
    spec = importlib.util.find_spec(package.name)
    failure = f"the Python package {package.name} is not installed"
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0], package.folder)
        try:
            return check(package, names, read_folder(folder, names), str(folder))
        except SourceError as error:
            failure = str(error)
    if queue.version == pins.queue.version:
        raise SourceError(
            f"{failure}; pip install '{package.name}=={package.version}' or 'pgflow-ref[embedded]'"
        )
    return _fetched_pgmq(package, names, say)


def _fetched_pgmq(
    package: Package, names: Sequence[str], say: Callable[[str], None] | None
) -> tuple[SqlFile, ...]:
    """From the user's cache, which is filled by pip when it lacks a file or holds another one."""
    folder = cache_folder() / f"{package.name}-{package.version}"
    with suppress(SourceError):
        return check(package, names, read_folder(folder, names), str(folder))
    if say is not None:
        say(f"fetching {package.name} {package.version}, once; it is kept in {folder}")
    with tempfile.TemporaryDirectory(prefix="pgflow-ref-") as scratch:
        files = fetch.fetch_wheel(package, Path(scratch), names)
    fetched = check(package, names, files, "what pip fetched")
    _keep(folder, files, say)
    return fetched


def check(
    package: Package, names: Sequence[str], files: Mapping[str, bytes], where: str
) -> tuple[SqlFile, ...]:
    """Compare files with their pinned checksums.

    Args:
        package: the pins.
        names: the files that must be there, in order.
        files: what is there, by name.
        where: the place, for the message.

    Raises:
        SourceError: a file is missing or is another one.
    """
    for name in names:
        if name not in files:
            raise SourceError(f"{name} is missing in {where}")
        found = hashlib.sha256(files[name]).hexdigest()
        if found != package.files[name]:
            raise SourceError(
                f"{name} in {where} is not the file of {package.name} {package.version}: "
                f"expected SHA-256 {package.files[name]}, found {found}"
            )
    return tuple(SqlFile(name, files[name].decode()) for name in names)


def read(source: Path, package: Package) -> dict[str, bytes]:
    """The package's files that a directory or a .tgz holds, unchecked, by name.

    Raises:
        SourceError: there is no such place, it cannot be read, or it holds none of the files.
    """
    if source.is_dir():
        places = [source, *sorted(source.rglob(package.folder))]
        found = [read_folder(place, list(package.files)) for place in places]
        files = max(found, key=len)  # the first of the fullest
    elif source.exists():
        files = _read_archive(source, package)
    else:
        raise SourceError(f"{source} does not exist")
    if not files:
        raise SourceError(
            f"{source} holds no migration of pgflow's core, neither there nor below as "
            f"{package.folder}; expected are files such as {next(iter(package.files))}"
        )
    return files


def read_folder(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Those of the files that a folder holds, by name."""
    try:
        return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    except OSError as error:
        raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error


def cache_folder() -> Path:
    """The user's cache for this program; nothing is created.

    Raises:
        SourceError: platformdirs is not installed.
    """
    try:
        from platformdirs import user_cache_path  # noqa: PLC0415  # not a run-time dependency
    except ImportError as error:
        raise SourceError(
            "fetching the core needs the package platformdirs (pip install 'pgflow-ref[embedded]')"
            "; without it, give an unpacked @pgflow/core or its .tgz with --from"
        ) from error
    return user_cache_path("pgflow-ref")


def _read_archive(path: Path, package: Package) -> dict[str, bytes]:
    members = read_tar(
        path, lambda place: place.name in package.files and place.parent.match(package.folder)
    )
    return {place.name: content for place, content in members.items()}


def _keep(folder: Path, files: Mapping[str, bytes], say: Callable[[str], None] | None) -> None:
    """Write the files so that another process sees each of them whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as part:
                part.write(content)
            Path(part.name).replace(folder / name)
    except OSError as error:  # a cache is a convenience
        if say is not None:
            say(f"{folder} cannot be written ({error.strerror}); the files are not kept")
