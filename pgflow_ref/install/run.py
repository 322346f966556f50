"""Do what was decided: one transaction, one installer at a time, checked before it is committed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.pq import TransactionStatus

from pgflow_ref import connection
from pgflow_ref.errors import DatabaseUnavailable, InstallRefused
from pgflow_ref.install import catalog, decide, finish, found, scripting, sources, stand_ins
from pgflow_ref.install import pins as pinned
from pgflow_ref.install.pins import DEFAULT_CORE
from pgflow_ref.install.wanted import Wanted, wanted
from pgflow_ref.install.wanted_pgmq import WantedPgmq, wanted_pgmq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pgflow_ref.install.decide import Step
    from pgflow_ref.install.found import Found
    from pgflow_ref.install.sources import SqlFile

_LOCK: Final = int.from_bytes(b"pgflow", "big")  # the advisory lock's key: ours, and constant


@dataclass(frozen=True, slots=True)
class Report:
    """What a database holds after `install`.

    Attributes:
        core: the version of pgflow's core, or what else it is called.
        pgmq: the version of pgmq, or what its file is called.
        changed: whether anything was written; False where the core was there.
        replaced: functions of the core that are ours, such as `pgflow.read_with_poll`.
        stand_ins: what is ours because the database had none, such as `realtime.send`, or one of
            the extensions that cores from 0.10 on want, such as `pg_cron`.
        notes: what else to know, one sentence each.
    """

    core: str
    pgmq: str
    changed: bool
    replaced: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def install(  # noqa: PLR0913  # each is a choice of its own, and nearly always left out
    target: str | psycopg.Connection[Any],
    core: str | Wanted = DEFAULT_CORE,
    *,
    source: Path | None = None,
    pgmq: str | WantedPgmq | None = None,
    force: bool = False,
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
        core: the version of the core, one of `known_cores()`; or the path of a directory of
            migrations, of a file of SQL or of a .tgz of @pgflow/core (`wanted`).
        source: a directory or .tgz to read a known version from; by default it is fetched from its
            npm package once, with deno or npm, and kept in the user's cache.
        pgmq: the version of pgmq, or the path of its `pgmq.sql` (`wanted_pgmq`); by default what is
            there, else the extension that the server offers, else the first of `known_pgmqs()`.
        force: install what is newer than all known versions, or is not what its checksum says,
            where the database holds nothing that could be lost.
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
    goal = _Goal.of(core, pgmq, source, force=force)
    with _connected(target) as conn:
        with _refusals("the catalogs", conn):
            before = inspect(conn)
        steps = _plan(before, goal)
        if not steps:
            return _report(before, goal, changed=False)
        files = _sql(steps, before, goal, say)  # before the lock: it may have to be fetched
        with _refusals("the installation", conn), _transaction(conn), catalog.settings(conn):
            _lock(conn, say)
            steps_now = _plan(inspect(conn), goal)
            if steps_now not in (steps, ()):
                raise InstallRefused("the database was changed by somebody else; try once more")
            if steps_now:
                for file in files:
                    with _refusals(file.name, conn):
                        _run(conn, file.text)
                finish.finish(conn, steps, goal.core, goal.pgmq)
            after = inspect(conn)
            _verify(after, goal)
        return _report(after, goal, changed=bool(steps_now))


def script(
    core: str | Wanted = DEFAULT_CORE,
    *,
    source: Path | None = None,
    pgmq: str | WantedPgmq | None = None,
    force: bool = False,
    say: Callable[[str], None] | None = None,
) -> str:
    """The whole installation as one script, `BEGIN` to `COMMIT`, for psql or any other client.

    It is for a database that holds neither pgflow nor pgmq, nor anything that it has a stand-in
    for, and refuses any other by itself. It always uses pgmq as plain SQL. `install` recognises
    what it leaves.

    Args:
        core: as for `install`.
        source: as for `install`.
        pgmq: as for `install`; a version that is only an extension has no script.
        force: as for `install`.
        say: is told what takes long.

    Raises:
        InstallRefused: the core or pgmq is not known.
        SourceError: the SQL cannot be had, or is not what its checksum says.

    Example:
        >>> script("0.5.0").splitlines()[0]  # doctest: +SKIP
        '-- pgflow core 0.5.0 and pgmq 1.11.1, for an empty database; written by pgflow-ref.'
    """
    goal = _Goal.of(core, pgmq, source, force=force)
    empty = found.Found(server=decide.LEAST_SERVER * 10_000)
    steps = _plan(empty, goal)
    files = _sql(steps, empty, goal, say)
    queue = (goal.pgmq.release if goal.pgmq else None) or pinned.load().queue
    label = goal.pgmq.label if goal.pgmq else queue.version
    package = pinned.load().core
    header = (
        f"-- pgflow core {goal.core.label} and pgmq {label}, for an empty database; "
        "written by pgflow-ref.\n"
    )
    if goal.core.release and (goal.pgmq is None or goal.pgmq.release):
        header += (
            f"-- Core: the npm package {package.name} {package.version} ({package.licence}). pgmq: "
            f"the PyPI package {queue.package.name} {queue.package.version} "
            f"({queue.package.licence}).\n"
        )
    body = [f"-- {file.name}\n{file.text.rstrip()}\n" for file in files]
    names = [name for step in steps if step.kind == "stand_in" for name in step.names]
    guard, ending = scripting.guard(_LOCK, names), scripting.ending(steps, goal.core, goal.pgmq)
    return "\n".join([header, "BEGIN;\n", guard, *body, *filter(None, [ending]), "COMMIT;\n"])


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


@dataclass(frozen=True, slots=True)
class _Goal:
    """What is to be there in the end, and where it comes from."""

    core: Wanted
    pgmq: WantedPgmq | None
    source: Path | None
    force: bool

    @classmethod
    def of(
        cls,
        core: str | Wanted,
        pgmq: str | WantedPgmq | None,
        source: Path | None,
        *,
        force: bool,
    ) -> _Goal:
        goal = cls(
            wanted(core) if isinstance(core, str) else core,
            wanted_pgmq(pgmq) if isinstance(pgmq, str) else pgmq,
            source,
            force,
        )
        if source is not None and goal.core.source is not None:
            raise InstallRefused(
                f"the core is to be read from {goal.core.source} and from {source}: give one of "
                "them; nothing was changed"
            )
        return goal


def _plan(state: Found, goal: _Goal) -> tuple[Step, ...]:
    steps = decide.plan(state, goal.core, goal.pgmq, force=goal.force)
    if isinstance(steps, decide.Refusal):
        raise InstallRefused(f"{steps.reason}; nothing was changed")
    return steps


def _sql(
    steps: Sequence[Step], state: Found, goal: _Goal, say: Callable[[str], None] | None
) -> list[SqlFile]:
    """The SQL of the steps, every file of it checked."""
    missing = {"pgmq", *state.stand_ins}
    files: list[SqlFile] = []
    for step in steps:
        if step.kind == "extension":
            files.append(sources.SqlFile("CREATE EXTENSION pgmq", "CREATE EXTENSION pgmq;"))
        elif step.kind == "pgmq":
            queue = goal.pgmq or wanted_pgmq(pinned.load().queue.version)
            files += queue.sql(say)
        elif step.kind == "stand_in":
            missing.update(step.names)
            files += map(_ours, step.names)
        elif step.kind == "core":
            core = goal.core.files or sources.core_files(step.names, goal.source, say)
            texts = [stand_ins.without(file.text, missing) for file in core]
            files += map(sources.SqlFile, (file.name for file in core), texts)
        elif step.kind == "realtime" or goal.core.release:
            files += map(_ours, step.names)
    return files


def _ours(name: str) -> SqlFile:
    """The file of what we make: `pgflow.f` is in f.sql, `realtime.f` in realtime_f.sql."""
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


def _verify(after: Found, goal: _Goal) -> None:
    """Refuse, and so roll back, what is not what was to be installed."""
    core = goal.core
    is_there = after.core.version == core.release if core.release else after.core.mark is not None
    if not is_there or after.pgmq.kind not in ("plain", "extension"):
        raise InstallRefused(
            f"what was installed is not pgflow core {core.label}; nearest {after.core.nearest} "
            f"({after.core.difference}), pgmq {after.pgmq.kind} ({after.pgmq.difference}); "
            "is there an event trigger that changes new objects? Nothing was changed"
        )


def _report(state: Found, goal: _Goal, *, changed: bool) -> Report:
    """Say what is there; the notes tell what would surprise."""
    kind = "the extension" if state.pgmq.kind == "extension" else "plain SQL"
    notes = [f"pgmq {state.pgmq.version} is {kind}"]
    label = state.core.label or goal.core.label
    if state.core.version is None:
        notes.append(
            f"pgflow core {label} is pinned nowhere; of the known versions it is most like "
            f"{goal.core.like}"
        )
    grown = decide.record_has_grown(state)
    ours = pinned.load().releases[goal.core.like].replaced if state.core.version else ()
    broken = [name for name in ours if grown and name not in state.core.replaced]
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
    made = (*(("realtime.send",) if state.realtime == "ours" else ()), *state.stand_ins)
    notes += [f"{name} is ours: {stand_ins.DOES[name]}" for name in made]
    if state.realtime == "none":
        notes.append("realtime.send is missing, and the core calls it: no run can be started")
    return Report(
        core=label,
        pgmq=state.pgmq.version or "",
        changed=changed,
        replaced=state.core.replaced,
        stand_ins=made,
        notes=tuple(notes),
    )
