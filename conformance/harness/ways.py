"""How workers come to the databases: as whom, and through what.

The harness itself is the user that the host gives it, and goes to the server directly. Workers may
be a role that has no more than a worker needs, and may have PgBouncer before them.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from conformance.harness.leavings import OURS
from conformance.harness.pooler import Pooler, backends, resting
from pgflow_ref import operations as ops
from pgflow_ref.connection import execute
from pgflow_ref.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Connection = psycopg.Connection[tuple[object, ...]]

OWNER: Final = "owner"
WORKER: Final = "worker"
ROLES: Final = (OWNER, WORKER)
"""What `--role` may say: workers are who the harness is, or have a role of their own."""


class WayError(PgflowError):
    """Workers cannot come in as they were to; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Way:
    """How workers come to the databases of one server.

    Attributes:
        user: the role that they have, or empty: the user of the harness.
        password: of that role.
        port: of 127.0.0.1, where PgBouncer is, or 0: they come to the server directly.
        console: the URL of PgBouncer's console, or empty.
        pooler: the version of PgBouncer, or empty.

    Example:
        >>> way = Way("worker", "secret", port=6432)
        >>> way.through("postgresql://postgres:p@127.0.0.1:5432/case_1")
        'postgresql://worker:secret@127.0.0.1:6432/case_1'
        >>> Way().through("postgresql://postgres:p@127.0.0.1:5432/case_1")
        'postgresql://postgres:p@127.0.0.1:5432/case_1'
    """

    user: str = ""
    password: str = field(default="", repr=False)  # no traceback is to show it
    port: int = 0
    console: str = field(default="", repr=False)
    pooler: str = ""

    @property
    def is_pooled(self) -> bool:
        """Whether a session of a worker is none of the server's."""
        return bool(self.port)

    def through(self, url: str) -> str:
        """Where workers find a database, of which this is the URL for the harness."""
        parts = urlsplit(url)
        who, _, where = parts.netloc.rpartition("@")
        if self.user:
            who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        if self.port:
            where = f"127.0.0.1:{self.port}"
        return urlunsplit(parts._replace(netloc=f"{who}@{where}" if who else where))

    @property
    def words(self) -> str:
        """What a report says of it, after the server's version."""
        pooled = f" behind PgBouncer {self.pooler}" if self.port else ""
        return f"{pooled}, workers as a role of their own" if self.user else pooled

    def backends(self, ports: Collection[int]) -> list[int]:
        """The server's processes that work for who has come to PgBouncer from these ports."""
        return backends(self.console, ports)

    def resting(self, database: str) -> list[int]:
        """The server's processes for a database that PgBouncer keeps for whoever comes next."""
        return resting(self.console, database) if self.is_pooled else []

    def let_in(self, connection: Connection, flow: str) -> None:
        """Grant the role what it needs to serve a flow, and to start its runs; all that it has.

        Args:
            connection: the harness's.
            flow: the flow, which is there with its queue.
        """
        if not self.user:
            return
        lacking = execute(connection, ops.missing_grants([flow], self.user, starts_runs=True))
        to = sql.Identifier(self.user)
        for grant in lacking:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(grant.words), to))


DIRECT: Final = Way()
"""Workers do as the harness does."""


def a_role() -> str:
    """A name for the workers' role of a run, which nobody else on the server has."""
    return f"{OURS}worker_{secrets.token_hex(4)}"


@contextlib.contextmanager
def opened(url: str, user: str, password: str, *, pooled: bool) -> Iterator[Way]:
    """Make the role, and start PgBouncer, where they are asked for.

    PgBouncer is gone at the end. A role stays as long as the server, or until whoever has given it
    its name removes it: databases have to go before.

    Args:
        url: the server, for a user who may make roles.
        user: the role to make, or empty for none.
        password: for that.
        pooled: whether PgBouncer is to stand before the server.

    Raises:
        WayError: the server refuses the role.
        PoolerError: there is no PgBouncer, or it does not start.
    """
    if user:
        _make(url, user, password)
    if not pooled:
        yield Way(user, password)
        return
    pooler = Pooler(url, {user: password} if user else {})
    try:
        yield Way(user, password, pooler.port, pooler.console, pooler.version)
    finally:
        pooler.stop()


def _make(url: str, user: str, password: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        # Not the password itself: the server may write down what it is told to do.
        secret = connection.pgconn.encrypt_password(
            password.encode(), user.encode(), b"scram-sha-256"
        )
        made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(user), sql.Literal(secret.decode())
        )
        try:
            connection.execute(made)
        except psycopg.Error as error:
            raise WayError(
                f"--role worker: the user {connection.info.user!r} may not make a role "
                f"({error.diag.message_primary}): grant it (ALTER ROLE … CREATEROLE), or say "
                "--role owner"
            ) from None
        # Whoever is no superuser may drop a database only if it may end those who are connected.
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(user)))
