"""Two roles: one that installs and defines flows, and one that a worker uses, with what it needs.

The one that installs may create schemas in this database, and owns what it has made there; it need
not be a superuser. The worker's owns nothing. Both may log in, and neither has a password: whoever
is in charge of the server sets one, and no password passes through here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from pgflow_ref import operations as ops
from pgflow_ref.capabilities import probe
from pgflow_ref.connection import connect, execute
from pgflow_ref.errors import CoreMissing, FlowNotFound, InstallRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTALLER: Final = "pgflow_installer"
"""The usual name of the role that installs."""
WORKER: Final = "pgflow_worker"
"""The usual name of the role that a worker uses."""

_LONGEST: Final = 63  # bytes of a name in PostgreSQL, which cuts off the rest


@dataclass(frozen=True, slots=True)
class Roles:
    """What was done, or is to be done, for the two roles.

    Attributes:
        installer: the role that installs.
        worker: the role that a worker uses.
        flows: the flows whose queues the worker's role may serve.
        statements: the SQL, one statement each; none: all was there.
        has_core: whether there is a core. Without one there is nothing to grant to a worker yet.
    """

    installer: str
    worker: str
    flows: tuple[str, ...]
    statements: tuple[str, ...]
    has_core: bool


def roles(  # noqa: PLR0913  # all but one by name
    target: str | psycopg.Connection[Any],
    *,
    installer: str = INSTALLER,
    worker: str = WORKER,
    flows: Sequence[str] | None = None,
    starts_runs: bool = False,
    dry_run: bool = False,
) -> Roles:
    """Make two roles where they are missing, and grant them what they need and do not have.

    All of it or nothing. To be called again after an installation, and after each new flow: a
    queue is a table of its own, which nobody may use before. Nothing is ever revoked.

    Args:
        target: a URL, or a connection that commits by itself. Roles that are missing take a user
            who may create some; grants take the owner of the core, or a superuser.
        installer: the name of the role that installs.
        worker: the name of the role that a worker uses.
        flows: whose queues it is to serve; None for all flows that are there.
        starts_runs: whether workers start runs as well, as handlers may.
        dry_run: whether only to say which statements it takes.

    Raises:
        FlowNotFound: there is no such flow.
        InstallRefused: a name cannot be one, or the server refuses; nothing was changed.
        DatabaseUnavailable: there is no connection, or it broke.

    Example:
        >>> from pgflow_ref.install import roles
        >>> for statement in roles("postgresql://localhost/app").statements:  # doctest: +SKIP
        ...     print(statement)
        CREATE ROLE "pgflow_installer" LOGIN
        CREATE ROLE "pgflow_worker" LOGIN
        GRANT CREATE ON DATABASE app TO "pgflow_installer"
    """
    for name in (installer, worker):
        if not 0 < len(name.encode()) <= _LONGEST or "\0" in name:
            raise InstallRefused(f"{name!r} is no name for a role: it has 1 to {_LONGEST} bytes")
    if isinstance(target, str):
        with connect(target, prepare=False) as connection:
            return _roles(connection, installer, worker, flows, starts_runs, dry_run)
    return _roles(target, installer, worker, flows, starts_runs, dry_run)


def _roles(  # noqa: PLR0913, PLR0917  # those of `roles`
    connection: psycopg.Connection[Any],
    installer: str,
    worker: str,
    flows: Sequence[str] | None,
    starts_runs: bool,
    dry_run: bool,
) -> Roles:
    with connection.transaction():
        slugs = _slugs(connection, flows)
        lacking = ops.missing_grants(
            slugs or (), worker, starts_runs=starts_runs, hears=True, waits=True
        )
        statements = _make(connection, installer, worker)
        if slugs is not None:
            to = sql.Identifier(worker)
            statements += [
                sql.SQL("GRANT {} TO {}").format(sql.SQL(grant.words), to)
                for grant in execute(connection, lacking)
            ]
        if not dry_run:
            _run(connection, statements)
            left = execute(connection, lacking) if slugs is not None else ()
            if left:
                raise InstallRefused(
                    f"the user {connection.info.user!r} may not grant {left[0].words}; let the "
                    "owner of the core do it, or a superuser; nothing was changed"
                )
        texts = tuple(statement.as_string(connection) for statement in statements)
    return Roles(installer, worker, tuple(slugs or ()), texts, has_core=slugs is not None)


def _slugs(
    connection: psycopg.Connection[Any], flows: Sequence[str] | None
) -> Sequence[str] | None:
    """The flows that are meant; None where there is no core."""
    try:
        execute(connection, probe())
    except CoreMissing:
        if flows:
            raise
        return None
    there = execute(connection, ops.flow_slugs())
    for slug in flows or ():
        if slug not in there:
            raise FlowNotFound(slug)
    return there if flows is None else tuple(flows)


def _make(connection: psycopg.Connection[Any], installer: str, worker: str) -> list[sql.Composed]:
    """The statements that make what is missing of the roles themselves."""
    can = {role: execute(connection, ops.may_create(role)) for role in (installer, worker)}
    made = [
        sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role))
        for role, known in can.items()
        if known is None
    ]
    if not can[installer]:
        database = sql.SQL(execute(connection, ops.database_name()))
        to = sql.Identifier(installer)
        made.append(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, to))
    return made


def _run(connection: psycopg.Connection[Any], statements: Sequence[sql.Composed]) -> None:
    doing = ""
    try:
        for statement in statements:
            doing = statement.as_string(connection)
            connection.execute(statement)
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        raise InstallRefused(
            f"{doing}: the server refused: {said}; making a role takes a user who may do that "
            "(CREATEROLE), and a grant the owner of what is granted; nothing was changed"
        ) from error
