"""Do what was decided: one transaction, one installer at a time, checked before it is committed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.pq import TransactionStatus

from pgflow_ref import connection
from pgflow_ref.errors import DatabaseUnavailable, InstallRefused, SourceError
from pgflow_ref.install import catalog, decide, found, sources
from pgflow_ref.install import pins as pinned
from pgflow_ref.install.pins import DEFAULT_CORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pgflow_ref.install.decide import Step
    from pgflow_ref.install.found import Found
    from pgflow_ref.install.sources import SqlFile

_LOCK: Final = int.from_bytes(b"pgflow", "big")  # the advisory lock's key: ours, and constant

# The one statement of the core that cannot run where pgmq is plain SQL; the extension, where it is
# used, is there by then.
_CREATE_EXTENSION: Final = 'CREATE EXTENSION IF NOT EXISTS "pgmq" WITH SCHEMA "pgmq";'

_SCRIPT_GUARD: Final = f"""\
DO $pgflow_ref$
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock({_LOCK});
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname IN ('pgflow', 'pgmq'))
       OR pg_catalog.to_regprocedure('realtime.send(jsonb,text,text,boolean)') IS NOT NULL THEN
        RAISE EXCEPTION 'this script is for a database without the schemas pgflow and pgmq and '
            'without realtime.send; for any other there is: pgflow-ref install';
    END IF;
END;
$pgflow_ref$;
SET LOCAL search_path = '';
SET LOCAL client_min_messages = warning;
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What a database holds after `install`.

    Attributes:
        core: the version of pgflow's core.
        pgmq: the version of pgmq.
        changed: whether anything was written; False where the core was there.
        replaced: functions of the core that are ours, such as `pgflow.read_with_poll`.
        stand_ins: what is ours because the database had none, such as `realtime.send`.
        notes: what else to know, one sentence each.
    """

    core: str
    pgmq: str
    changed: bool
    replaced: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def install(
    target: str | psycopg.Connection[Any],
    core: str = DEFAULT_CORE,
    *,
    source: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Report:
    """Put pgmq, pgflow's core and, where it is missing, a recording `realtime.send` in a database.

    All of it or nothing: it happens in one transaction, and what was installed is compared with
    what is pinned before it is committed. Several installers at once are fine. Where the wanted
    core is there already, nothing is written.

    Args:
        target: a URL, or a connection. On a connection with an open transaction everything
            becomes part of that transaction, which ought to be READ COMMITTED: a snapshot that is
            older than another installer's work cannot see it.
        core: the version of the core, one of `known_cores()`.
        source: a directory or .tgz to read the core from; by default it is fetched from its npm
            package once, with deno or npm, and kept in the user's cache.
        say: is told what takes long.

    Returns:
        What the database holds now.

    Raises:
        InstallRefused: the database holds something that must not be touched, or the server
            refused; nothing was changed.
        SourceError: the SQL cannot be had, or is not what its checksum says.
        DatabaseUnavailable: there is no connection, or it broke.

    Example:
        >>> report = install("postgresql://localhost/app")  # doctest: +SKIP
        >>> report.core, report.pgmq, report.replaced  # doctest: +SKIP
        ('0.5.0', '1.11.1', ('pgflow.read_with_poll', 'pgflow.set_vt_batch'))
    """
    with _connected(target) as conn:
        with _refusals("the catalogs", conn):
            before = inspect(conn)
        steps = _plan(before, core)
        if not steps:
            return _report(before, core, changed=False)
        files = _sql(steps, source, say)  # before the lock: it may have to be fetched
        with _refusals("the installation", conn), _transaction(conn), catalog.settings(conn):
            _lock(conn, say)
            steps_now = _plan(inspect(conn), core)
            if steps_now not in (steps, ()):
                raise InstallRefused("the database was changed by somebody else; try once more")
            for file in files if steps_now else ():
                with _refusals(file.name, conn):
                    _run(conn, file.text)
            after = inspect(conn)
            _verify(after, core)
        return _report(after, core, changed=bool(steps_now))


def script(
    core: str = DEFAULT_CORE,
    *,
    source: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> str:
    """The whole installation as one script, `BEGIN` to `COMMIT`, for psql or any other client.

    It is for a database that holds neither pgflow nor pgmq, and refuses any other by itself. It
    always uses pgmq as plain SQL.

    Args:
        core: the version of the core, one of `known_cores()`.
        source: as for `install`.
        say: is told what takes long.

    Raises:
        InstallRefused: the core is not known.
        SourceError: the SQL cannot be had, or is not what its checksum says.

    Example:
        >>> script("0.5.0").splitlines()[0]  # doctest: +SKIP
        '-- pgflow core 0.5.0 and pgmq 1.11.1, for an empty database; written by pgflow-ref.'
    """
    pins = pinned.load()
    steps = _plan(found.Found(server=decide.LEAST_SERVER * 10_000), core)
    header = (
        f"-- pgflow core {core} and pgmq {pins.pgmq_version}, for an empty database; "
        "written by pgflow-ref.\n"
        f"-- Core: the npm package {pins.core.name} {pins.core.version} ({pins.core.licence}). "
        f"pgmq: the PyPI package {pins.pgmq.name} {pins.pgmq.version} ({pins.pgmq.licence}).\n"
    )
    body = [f"-- {file.name}\n{file.text.rstrip()}\n" for file in _sql(steps, source, say)]
    return "\n".join([header, "BEGIN;\n", _SCRIPT_GUARD, *body, "COMMIT;\n"])


def inspect(conn: psycopg.Connection[Any]) -> Found:
    """What a database holds; nothing is changed, and no transaction is left open.

    Args:
        conn: a connection to it. An open transaction on it stays as it is.

    Example:
        >>> with psycopg.connect("postgresql://localhost/app") as conn:  # doctest: +SKIP
        ...     inspect(conn).core.version
        '0.5.0'
    """
    return found.recognise(catalog.read(conn))


def _plan(state: Found, core: str) -> tuple[Step, ...]:
    steps = decide.plan(state, core)
    if isinstance(steps, decide.Refusal):
        raise InstallRefused(f"{steps.reason}; nothing was changed")
    return steps


def _sql(
    steps: Sequence[Step], source: Path | None, say: Callable[[str], None] | None
) -> list[SqlFile]:
    """The SQL of the steps, every file of it checked."""
    files: list[SqlFile] = []
    for step in steps:
        if step.kind == "extension":
            files.append(sources.SqlFile("CREATE EXTENSION pgmq", "CREATE EXTENSION pgmq;"))
        elif step.kind == "pgmq":
            files += sources.pgmq_files(step.names)
        elif step.kind == "core":
            files += map(_without_extension, sources.core_files(step.names, source, say))
        else:
            files += map(_ours, step.names)
    return files


def _without_extension(file: SqlFile) -> SqlFile:
    text = file.text.replace(_CREATE_EXTENSION, "-- CREATE EXTENSION is left out: pgmq is there.")
    if "CREATE EXTENSION IF" in text:
        raise SourceError(f"{file.name} creates the extension pgmq in a way that is not known")
    return sources.SqlFile(file.name, text)


def _ours(name: str) -> SqlFile:
    """The file of a function that we make: `pgflow.f` is in f.sql, `realtime.f` in realtime_f."""
    file = name.removeprefix("pgflow.").replace(".", "_")
    return sources.SqlFile(f"{file}.sql of pgflow-ref", pinned.our_sql(file))


@contextlib.contextmanager
def _connected(target: str | psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    if isinstance(target, psycopg.Connection):
        yield target
        return
    with connection.connect(target, prepare=False) as conn:
        yield conn


@contextlib.contextmanager
def _transaction(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """A transaction that sees what others have just committed, or a part of the caller's own."""
    own = conn.info.transaction_status == TransactionStatus.IDLE
    with conn.transaction():
        if own:
            conn.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield


def _lock(conn: psycopg.Connection[Any], say: Callable[[str], None] | None) -> None:
    """Be the only installer in this database until the transaction ends."""
    with conn.cursor(row_factory=psycopg.rows.scalar_row) as cursor:
        if cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK]).fetchone():
            return
        if say is not None:
            say("waiting for another installer in this database")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _run(conn: psycopg.Connection[Any], text: str) -> None:
    """Run a script of several statements, none of it built from values; see `settings`: UTF-8."""
    conn.execute(text.encode(), prepare=False)


@contextlib.contextmanager
def _refusals(doing: str, conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Turn what the server says into one of our errors, naming what was being done."""
    try:
        yield
    except psycopg.Error as error:
        said = " ".join((error.diag.message_primary or str(error)).split())
        if conn.closed:
            raise DatabaseUnavailable(f"{doing}: the connection broke: {said}") from error
        advice = ""
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            advice = (
                f"; the user {conn.info.user!r} must be allowed to create schemas and objects in "
                f"database {conn.info.dbname!r} (an extension may take a superuser)"
            )
        raise InstallRefused(
            f"{doing}: the server refused: {said} (SQLSTATE {error.sqlstate}){advice}; "
            "nothing was changed"
        ) from error


def _verify(after: Found, core: str) -> None:
    """Refuse, and so roll back, what is not what was to be installed."""
    if after.core.version != core or after.pgmq.kind not in ("plain", "extension"):
        raise InstallRefused(
            f"what was installed is not pgflow core {core}; nearest {after.core.nearest} "
            f"({after.core.difference}), pgmq {after.pgmq.kind} ({after.pgmq.difference}); "
            "is there an event trigger that changes new objects? Nothing was changed"
        )


def _report(state: Found, core: str, *, changed: bool) -> Report:
    """Say what is there; the notes tell what would surprise."""
    kind = "the extension" if state.pgmq.kind == "extension" else "plain SQL"
    notes = [f"pgmq {state.pgmq.version} is {kind}"]
    grown = decide.record_has_grown(state)
    wanted = pinned.load().releases[core].replaced
    broken = [name for name in wanted if grown and name not in state.core.replaced]
    if state.core.replaced:
        notes.append(
            f"{' and '.join(state.core.replaced)} are ours: the core's own cannot return rows on "
            "this version of pgmq"
        )
    if broken:
        notes.append(
            f"{' and '.join(broken)} are the core's own and cannot return rows on this version of "
            "pgmq; use pgmq's functions"
        )
    if state.realtime == "ours":
        notes.append(
            "realtime.send is ours: it records events in realtime.messages_sent and sends nothing"
        )
    if state.realtime == "none":
        notes.append("realtime.send is missing, and the core calls it: no run can be started")
    return Report(
        core=core,
        pgmq=state.pgmq.version or "",
        changed=changed,
        replaced=state.core.replaced,
        stand_ins=("realtime.send",) if state.realtime == "ours" else (),
        notes=tuple(notes),
    )
