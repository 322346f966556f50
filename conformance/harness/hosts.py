"""Where the databases of a run are: a server of the suite's own, a container, or somebody's server.

Every kind is a `Host`, which `start` makes from what `--database` says. What a host has made is
gone when it is stopped, and also when the harness is killed (`leavings.py`).
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote, urlsplit

import psycopg

from conformance.harness import ways
from conformance.harness.databases import Cluster
from conformance.harness.leavings import BUSY, OURS, Leavings
from conformance.harness.memory import in_memory
from conformance.harness.places import OURS_IN_PLACE, InPlace
from conformance.harness.pooler import program
from conformance.harness.ways import DIRECT
from pgflow_ref import EmbeddedPostgres
from pgflow_ref.connection import connect, parameters
from pgflow_ref.errors import PgflowError
from pgflow_ref.install.catalog import STAND_IN
from pgflow_ref.install.decide import LEAST_SERVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.harness.databases import Connection
    from conformance.harness.ways import Way

EMBEDDED: Final = "embedded"
DOCKER: Final = "docker"
PGBOUNCER: Final = "pgbouncer"
KINDS: Final = (
    "embedded, pgbouncer, docker, docker=IMAGE, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
)
"""What `--database` may say."""

_CONNECTIONS: Final = 150  # that eight processes of the suite may need


class HostError(PgflowError):
    """The database that was asked for cannot be had; the message says why and what to do."""


class Host(Protocol):
    """Where the databases of a run are.

    Attributes:
        prefix: how the names of all databases begin that the suite makes there.
        in_place: whether there is one database alone, in which cases come one after the other.
        way: how workers come to the server.
    """

    prefix: str
    in_place: bool
    way: Way

    @property
    def version(self) -> str:
        """PostgreSQL's version, such as `17.10`, and what is between workers and it."""

    def url(self) -> str:
        """A database of the server, for the harness: TCP, with a password."""

    def stop(self) -> None:
        """Take away what the host made."""


def start(
    wanted: str, *, in_place: bool, say: Callable[[str], None], role: str = ways.OWNER
) -> Host:
    """The host that `--database` asks for, ready.

    Args:
        wanted: one of `KINDS`.
        in_place: whether to work within the very database of a URL.
        say: is told what takes long.
        role: as whom workers connect; one of `ways.ROLES`.

    Raises:
        HostError, PgflowError: it cannot be had.
    """
    check(wanted, in_place=in_place)
    if wanted == PGBOUNCER:
        program()  # who has none is not to wait for the server
    user = "" if role == ways.OWNER else ways.a_role()
    host = _start(wanted, user, in_place=in_place, say=say)
    if not user and wanted != PGBOUNCER:
        return host
    try:
        return Entered(host, user, pooled=wanted == PGBOUNCER)
    except BaseException:
        host.stop()
        raise


def _start(wanted: str, user: str, *, in_place: bool, say: Callable[[str], None]) -> Host:
    if wanted in {EMBEDDED, PGBOUNCER}:
        say("starting PostgreSQL")
        return Embedded()
    if _is_docker(wanted):
        from conformance.harness.container import Container  # noqa: PLC0415  # an extra of its own

        return Container(wanted.partition("=")[2], say)
    return Server(wanted, in_place=in_place, say=say, role=user)


def check(wanted: str, *, in_place: bool) -> None:
    """Refuse what is no database at all, before anything is started.

    Raises:
        HostError: it is none.
    """
    is_url = wanted.startswith(("postgresql://", "postgres://"))
    if wanted not in {EMBEDDED, PGBOUNCER} and not _is_docker(wanted) and not is_url:
        raise HostError(f"--database {_shown(wanted)!r}: it is {KINDS}")
    if in_place and not is_url:
        raise HostError("--in-place is about the database of a URL; give one with --database")


def _shown(wanted: str) -> str:
    """How it begins; the rest may be a password.

    Example:
        >>> _shown("mysql://somebody:secret@host/database"), _shown("embeded")
        ('mysql://…', 'embeded')
    """
    begin = re.match(r"[\w+.-]*(?:://|=)?", wanted)
    assert begin is not None  # it may be empty
    return wanted if begin[0] == wanted else f"{begin[0]}…"


def _is_docker(wanted: str) -> bool:
    kind, equals, image = wanted.partition("=")
    return kind == DOCKER and bool(image) == bool(equals)


def cluster(  # noqa: PLR0913  # all that a run's processes need to find them
    url: str,
    prefix: str,
    patch: str | None,
    pgmq: str | None = None,
    way: Way = DIRECT,
    *,
    in_place: bool,
) -> Cluster:
    """The databases of a host, in any process of a run."""
    return InPlace(url, patch, pgmq, way) if in_place else Cluster(url, prefix, way)


class Entered:
    """A host that workers come to in another way than the harness.

    Args:
        host: the host, which is stopped with this.
        user: the role that workers are to have, or empty.
        pooled: whether PgBouncer is to stand before the server.

    Raises:
        WayError, PoolerError: the role or PgBouncer cannot be had.
    """

    def __init__(self, host: Host, user: str, *, pooled: bool) -> None:
        self._host = host
        self._stack = ExitStack()
        self.prefix = host.prefix
        self.in_place = host.in_place
        password = secrets.token_urlsafe(24) if user else ""
        self.way = self._stack.enter_context(ways.opened(host.url(), user, password, pooled=pooled))

    @property
    def version(self) -> str:
        """As `Host` says."""
        return f"{self._host.version}{self.way.words}"

    def url(self) -> str:
        """As `Host` says."""
        return self._host.url()

    def stop(self) -> None:
        """As `Host` says."""
        self._stack.close()
        self._host.stop()


class Embedded:
    """A PostgreSQL of the suite's own."""

    prefix = ""
    in_place = False
    way = DIRECT

    def __init__(self) -> None:
        with in_memory():
            self._server = EmbeddedPostgres().start()

    @property
    def version(self) -> str:
        """As `Host` says."""
        return self._server.version

    def url(self) -> str:
        """As `Host` says."""
        return self._server.url()

    def stop(self) -> None:
        """As `Host` says."""
        self._server.stop()


class Server:
    """Somebody's server, where the suite keeps to what it made itself.

    It makes databases of its own, with names that nobody else uses. In place it makes schemas
    instead, in a database that has none of these names.

    Args:
        url: a database of the server.
        in_place: whether to work in that very database.
        say: is told what to know.
        role: how a role is called that will be made there, or empty.

    Raises:
        HostError: the server is too old, the user may not do what the suite needs, or what it would
            make is there already.
        DatabaseUnavailable: there is no connection.
    """

    way = DIRECT

    def __init__(
        self, url: str, *, in_place: bool, say: Callable[[str], None], role: str = ""
    ) -> None:
        self.in_place = in_place
        self.prefix = "" if in_place else f"{OURS}{secrets.token_hex(4)}_"
        _check_way(url)
        self._connection: Connection = connect(url, prepare=False)
        try:
            self._url = _for_workers(url, self._connection)
            self._check(say)
        except BaseException:
            self._connection.close()
            raise
        order: dict[str, object] = {"url": self._url}
        order |= {"schemas": OURS_IN_PLACE} if in_place else {"databases": self.prefix}
        self._leavings = Leavings(order | ({"role": role} if role else {}))

    @property
    def version(self) -> str:
        """As `Host` says."""
        number = self._connection.info.server_version
        return f"{number // 10_000}.{number % 10_000}"

    def url(self) -> str:
        """As `Host` says."""
        return self._url

    def stop(self) -> None:
        """As `Host` says."""
        self._connection.close()  # and with it the lock, which the keeper takes
        said = self._leavings.remove()
        if said:
            what = " and ".join(OURS_IN_PLACE) if self.in_place else f"{self.prefix}*"
            raise HostError(
                f"what the suite made on the server ({what}) may be there still: {said}"
            )

    def _check(self, say: Callable[[str], None]) -> None:
        major = self._connection.info.server_version // 10_000
        if major < LEAST_SERVER:
            raise HostError(
                f"the server is PostgreSQL {major}; pgflow needs {LEAST_SERVER} or newer"
            )
        if self.in_place:
            self._check_place()
        else:
            self._check_rights()
        most = int(str(self._ask("SELECT current_setting('max_connections')")))
        if most < _CONNECTIONS:
            say(f"the server takes {most} connections; fewer processes (-n 2) need less")

    def _check_rights(self) -> None:
        user, name = self._connection.info.user, self._connection.info.dbname
        may = self._ask("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
        if not may:
            raise HostError(
                f"the user {user!r} may not create databases on this server, and the suite touches "
                f"none that it did not create: grant it (ALTER ROLE … CREATEDB), or say --in-place "
                f"to have it work in schemas of its own in the database {name!r}"
            )

    def _check_place(self) -> None:
        user, name = self._connection.info.user, self._connection.info.dbname
        if not self._ask("SELECT pg_try_advisory_lock(%s)", BUSY):
            raise HostError(f"another run of the suite is at work in the database {name!r}")
        if not self._ask("SELECT has_database_privilege(current_database(), 'CREATE')"):
            raise HostError(f"the user {user!r} may not create schemas in the database {name!r}")
        there = self._ask(
            "SELECT string_agg(nspname, ', ' ORDER BY nspname) FROM pg_namespace"
            " WHERE nspname = ANY(%s) OR starts_with(obj_description(oid, 'pg_namespace'), %s)",
            list(OURS_IN_PLACE),
            STAND_IN,
        )
        if there is not None:
            raise HostError(
                f"the database {name!r} holds data that the suite did not make (schemas: {there}), "
                "and would be in its way: give a database without them, or leave --in-place out, "
                "and the suite makes databases of its own on that server"
            )

    def _ask(self, statement: str, *values: object) -> object:
        with self._connection.cursor() as cursor:
            row = cursor.execute(statement.encode(), values or None).fetchone()
        self._connection.rollback()  # an advisory lock of the session stays
        return None if row is None else row[0]


def _check_way(url: str) -> None:
    """Refuse a socket.

    Raises:
        HostError: the server is not reached over TCP.
    """
    host = parameters(url).get("host", "")
    if not host or host.startswith(("/", "@")):
        raise HostError("--database: workers come over TCP; give the host and port of the server")


def _for_workers(url: str, connection: Connection) -> str:
    """The URL as the contract gives it to workers: an address, user and password in full."""
    info = connection.info
    host = info.host
    if host == "localhost":
        host = "127.0.0.1"  # what workers may be limited to
    if ":" in host and ipaddress.ip_address(host).version == 6:  # noqa: PLR2004  # an IPv6 address
        host = f"[{host}]"
    # A server that asks for no password takes any.
    user, password = quote(info.user, safe=""), quote(info.password or "none", safe="")
    query = urlsplit(url).query
    where = f"postgresql://{user}:{password}@{host}:{info.port}/{quote(info.dbname, safe='')}"
    return f"{where}?{query}" if query else where


def is_superuser(url: str) -> bool:
    """Whether this user may do all: what the model is compared in takes it."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting('is_superuser')").fetchone()
    return row == ("on",)


def engine_address() -> str:
    """Where the Docker engine is looked for."""
    return os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
