"""PgBouncer in front of a server, in transaction mode: `--database pgbouncer`.

It listens on a free port of 127.0.0.1 and dies with the process that started it. Its configuration
and the passwords are in memory alone, so that nothing of them is left, however that process ends.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import psycopg

from conformance.harness.kin import die_with_parent
from pgflow_ref.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_CONSOLE_USER: Final = "pgflow_console"
_PLACES: Final = "/usr/sbin:/usr/local/sbin"  # where Debian puts it, which is on root's path alone
_WITHIN: Final = 20.0  # seconds to take connections
_LOOK_EVERY: Final = 0.02
_TRIES: Final = 5  # of ports: another process may take the one that was free a moment ago
_SETTINGS: Final = """\
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = {console}
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 50
server_login_retry = 0.2
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
"""


class PoolerError(PgflowError):
    """There is no PgBouncer, or it does not start; the message says why and what to do."""


def program() -> str:
    """Where PgBouncer is.

    Raises:
        PoolerError: nowhere.
    """
    path = f"{os.environ.get('PATH', os.defpath)}:{_PLACES}"
    found = shutil.which("pgbouncer", path=path)
    if found is None:
        raise PoolerError(
            "--database pgbouncer needs PgBouncer, and there is none; on Debian: "
            "apt-get install pgbouncer"
        )
    return found


class Pooler:
    """A PgBouncer of one's own.

    Args:
        url: the server behind it, with the user and the password of the harness.
        others: the passwords of other users who may come in, by name.

    Raises:
        PoolerError: there is none, or it does not start.

    Attributes:
        port: of 127.0.0.1.
        console: the URL of its console, on which it says who is connected to whom.
        version: such as `1.18.0`.
    """

    def __init__(self, url: str, others: Mapping[str, str] | None = None) -> None:
        self._command = program()
        self._server = urlsplit(url)
        self._password = secrets.token_urlsafe(24)
        self._users = {
            unquote(self._server.username or ""): unquote(self._server.password or ""),
            **(others or {}),
            _CONSOLE_USER: self._password,
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # `stop` closes it
        try:
            self._start()
        except BaseException:
            self._log.close()
            raise

    @property
    def pid(self) -> int:
        """Its process's id."""
        return self._process.pid

    def stop(self) -> None:
        """End it; a second time does nothing."""
        # Nothing of it is to be kept, and what a softer signal means differs by its version.
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _start(self) -> None:
        for _ in range(_TRIES):
            self.port = _free_port()
            self.console = (
                f"postgresql://{_CONSOLE_USER}:{self._password}@127.0.0.1:{self.port}/pgbouncer"
            )
            self._process = self._run()
            try:
                version = self._wait()
            except BaseException:
                self._process.kill()
                self._process.wait()
                raise
            if version is not None:
                self.version = version
                return
        raise PoolerError(f"PgBouncer does not start; it said: {self._said()}")

    def _run(self) -> subprocess.Popen[bytes]:
        users = "".join(f'"{name}" "{secret}"\n' for name, secret in self._users.items())
        # It refuses to run as root.
        nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        with _memory("users", users) as known:
            settings = _SETTINGS.format(
                host=self._server.hostname,
                port=self._server.port or 5432,
                listen=self.port,
                users=f"/proc/self/fd/{known}",
                console=_CONSOLE_USER,
            )
            with _memory("settings", settings) as config:
                return subprocess.Popen(
                    [self._command, f"/proc/self/fd/{config}"],
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                    cwd="/",
                    env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                    pass_fds=(known, config),
                    user=nobody.pw_uid if nobody else None,
                    group=nobody.pw_gid if nobody else None,
                    extra_groups=[] if nobody else None,
                    start_new_session=True,  # the terminal's Ctrl-C does not reach it
                    preexec_fn=die_with_parent,  # noqa: PLW1509  # one call into libc
                )

    def _wait(self) -> str | None:
        """Wait until it answers; its version, or None if it has ended."""
        give_up_at = time.monotonic() + _WITHIN
        while True:
            is_last = time.monotonic() > give_up_at
            if self._process.poll() is not None:
                return None
            try:
                return str(ask(self.console, "SHOW VERSION")[0]["version"]).split()[-1]
            except psycopg.OperationalError as error:
                if is_last:
                    said = f"{' '.join(str(error).split())}; it said: {self._said()}"
                    raise PoolerError(f"PgBouncer does not answer: {said}") from None
            time.sleep(_LOOK_EVERY)

    def _said(self) -> str:
        self._log.seek(0)
        return " | ".join(self._log.read().decode(errors="replace").splitlines()[-5:])


def ask(console: str, command: str) -> list[dict[str, object]]:
    """What PgBouncer shows: rows by the names of their columns."""
    # The console knows no transactions, and no other than simple queries.
    with psycopg.connect(console, autocommit=True) as connection:
        cursor = connection.execute(command.encode())
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def backends(console: str, ports: Collection[int]) -> list[int]:
    """The server's processes that work for these clients at this moment, by id.

    Args:
        console: the URL of PgBouncer's console.
        ports: of 127.0.0.1, from which the clients have come.
    """
    clients = ask(console, "SHOW CLIENTS")
    pointers = {one["ptr"] for one in clients if int(str(one["port"])) in ports}
    return [
        int(str(one["remote_pid"]))
        for one in ask(console, "SHOW SERVERS")
        if one["link"] in pointers
    ]


def resting(console: str, database: str) -> list[int]:
    """The server's processes of a database that work for nobody at this moment, by id."""
    return [
        int(str(one["remote_pid"]))
        for one in ask(console, "SHOW SERVERS")
        if one["database"] == database and not one["link"]
    ]


@contextlib.contextmanager
def _memory(name: str, text: str) -> Iterator[int]:
    """A file that has no name in any folder, for a child to inherit."""
    file = os.memfd_create(name)
    try:
        os.write(file, text.encode())
        yield file
    finally:
        os.close(file)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
