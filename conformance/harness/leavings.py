"""What a run has made outside its own processes, and a process that takes it away, however it ends.

A container or a database on somebody's server does not die with the process that made it, and a
process that is killed cannot clean up. So a *keeper* does: it hears of what was made before it is
made, waits for the end of its input, which comes with the end of this process, and removes it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from pgflow_ref.install.catalog import STAND_IN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

OURS: Final = "pgflow_conformance_"
"""How the names of databases and roles begin that the suite makes on somebody's server."""

BUSY: Final = int.from_bytes(b"suite", "big")
"""The advisory lock of who is at work in a database that is given in place."""

_ROOT: Final = Path(__file__).parent.parent.parent
_CONNECT_WITHIN: Final = 10  # seconds
_LOOK_EVERY: Final = 0.1
_FREE_WITHIN: Final = 10.0  # seconds after a run's end, which the server may learn of later


class Leavings:
    """What is to be taken away at the end of this process at the latest.

    Args:
        order: what the keeper removes: `{"databases": prefix, "url": …}`,
            `{"schemas": [name, …], "url": …}` or `{"container": name}`; the first two also with
            `"role": name`. It is handed over on a pipe, so that no command line shows a password.

    Example:
        >>> with Leavings({"container": "no-such-container"}):  # doctest: +SKIP
        ...     pass
    """

    def __init__(self, order: Mapping[str, object]) -> None:
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "conformance.harness.leavings"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            text=True,
            start_new_session=True,  # the terminal's Ctrl-C does not reach it
        )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write(json.dumps(order) + "\n")
        self._keeper.stdin.flush()
        self._keeper.stdout.readline()  # it has understood, and ignores signals

    def remove(self) -> str:
        """Take it away now; what could not be, in words, or nothing. A second time does nothing."""
        if self._keeper.stdin is None or self._keeper.stdin.closed:
            return ""
        said, _ = self._keeper.communicate()
        return str(said).strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def remove_databases(url: str, prefix: str) -> None:
    """Drop all databases whose names begin so, with all who are connected to them."""
    if not prefix.startswith(OURS):
        raise ValueError(f"{prefix!r} is not how databases of the suite are called")
    with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_WITHIN) as connection:
        found = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix]
        ).fetchall()
        for (name,) in found:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


def remove_schemas(url: str, names: Sequence[str]) -> None:
    """Drop these schemas with all that is in them, the extension pgmq, and our stand-ins.

    A stand-in for an extension has a schema of its own, which its comment tells from the
    extension's.
    """
    with psycopg.connect(url, connect_timeout=_CONNECT_WITHIN) as connection:  # one transaction
        connection.execute("SET LOCAL client_min_messages = warning")
        if "pgmq" in names:
            connection.execute("DROP EXTENSION IF EXISTS pgmq CASCADE")
        stand_ins = connection.execute(
            "SELECT nspname FROM pg_namespace"
            " WHERE starts_with(obj_description(oid, 'pg_namespace'), %s)",
            [STAND_IN],
        ).fetchall()
        for name in (*names, *(name for (name,) in stand_ins)):
            connection.execute(
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
            )


def remove_place(url: str, names: Sequence[str], *, within: float = _FREE_WITHIN) -> None:
    """As `remove_schemas`, at the end of a run; not while another run is at work there.

    That run has begun after the end of this one, and found nothing of it: what there is now, it has
    made itself.

    Args:
        url: the database.
        names: the schemas.
        within: seconds to wait for the end of the run's own connection, or of a run that is
            refused.

    Raises:
        TimeoutError: another run is at work.
    """
    give_up_at = time.monotonic() + within
    with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_WITHIN) as connection:
        while connection.execute("SELECT pg_try_advisory_lock(%s)", [BUSY]).fetchone() != (True,):
            if time.monotonic() > give_up_at:
                raise TimeoutError("another run of the suite is at work there")
            time.sleep(_LOOK_EVERY)
        remove_schemas(url, names)
        # Now, and not when the server has noticed the end of this connection: a run that begins at
        # once is not to be refused.
        connection.execute("SELECT pg_advisory_unlock(%s)", [BUSY])


def remove_role(url: str, name: str) -> None:
    """Drop a role of the suite's own, of which nothing else is left."""
    if not name.startswith(OURS):
        raise ValueError(f"{name!r} is not how roles of the suite are called")
    with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_WITHIN) as connection:
        there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount
        if there:  # who may make no roles may not drop any either, not even one that is not there
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def remove_container(name: str) -> None:
    """End a container, if it is there."""
    docker: Any = import_module("docker")  # of an extra; to a type checker this is our folder
    with suppress(docker.errors.NotFound):
        docker.from_env().containers.get(name).remove(force=True, v=True)


def keep() -> None:
    """Be the keeper: hear what is to be removed, wait for the end, remove it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    sys.stdout.write("\n")
    sys.stdout.flush()
    sys.stdin.read()
    try:
        if "container" in order:
            remove_container(order["container"])
        elif "databases" in order:
            remove_databases(order["url"], order["databases"])
        else:
            remove_place(order["url"], order["schemas"])
        if "role" in order:
            remove_role(order["url"], order["role"])
    except Exception as error:  # noqa: BLE001  # whoever still listens is to hear of it
        with suppress(BrokenPipeError):
            sys.stdout.write(" ".join(str(error).split()))


if __name__ == "__main__":
    keep()
