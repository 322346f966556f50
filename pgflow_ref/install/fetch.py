"""Fetch the npm package of the core by the client at hand: deno, or npm.

Each client knows its registry from its own configuration; no address is known here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pgflow_ref.install.pins import Package

TIME_LIMIT: Final = 120.0
"""Seconds that one client may take."""

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


def _deno() -> str | None:
    """The deno of the PyPI package `deno` in this environment, or the one on the PATH."""
    return shutil.which("deno", path=sysconfig.get_path("scripts")) or shutil.which("deno")


def _run(client: str, program: str, package: Package, folder: Path) -> str | None:
    """Run one client; None when it succeeded, else what went wrong."""
    spec = f"{package.name}@{package.version}"
    environment: Mapping[str, str] = {**os.environ, "NO_COLOR": "1"}
    if client == "deno":
        command = [program, "cache", "--no-config", "--no-lock", f"npm:{spec}"]
        environment = {**environment, "DENO_DIR": str(folder), "DENO_NO_UPDATE_CHECK": "1"}
    else:
        command = [program, "pack", "--ignore-scripts", "--silent", spec]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT,
            check=False,
        )
    except OSError as error:
        return f"{program} cannot be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"not done after {TIME_LIMIT:g} s"
    if done.returncode == 0:
        return None
    tail = " / ".join(done.stderr.strip().splitlines()[-_TAIL:])
    return f"exit code {done.returncode}: {tail or 'it said nothing'}"
