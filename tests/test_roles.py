"""Roles: what they are given is enough, no part of it is too much, and what is missing is named."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from pgflow_ref import Flow, FlowNotFound, PrivilegeMissing, Worker
from pgflow_ref import operations as ops
from pgflow_ref.capabilities import probe
from pgflow_ref.connection import execute
from pgflow_ref.install import install, known_cores, roles
from pgflow_ref.task import Completed, Failed, Result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from pgflow_ref.operations import Grant
    from pgflow_ref.task import Outcome, Task
    from tests.command_line import Call
    from tests.conftest import Database, Server

    Connection = psycopg.Connection[tuple[object, ...]]

FLOW = "order_1"


@pytest.fixture
def names(databases: Server) -> Iterator[tuple[str, str]]:
    """Names of two roles, which are gone at the end, as they belong to the whole server."""
    made = tuple(f"{kind}_{secrets.token_hex(4)}" for kind in ("installer", "worker"))
    yield made[0], made[1]
    for name in made:
        databases.execute("DROP ROLE IF EXISTS {}", name)


@pytest.fixture
def unused(
    databases: Server,
    names: tuple[str, str],  # noqa: ARG001  # which are to go later
) -> Iterator[str]:
    """The URL of an empty database, which goes before the roles that own what is there."""
    name = databases.create("template0")
    yield databases.url(name)
    databases.drop(name)


@pytest.fixture(params=known_cores())
def altered(
    request: pytest.FixtureRequest,
    databases: Server,
    names: tuple[str, str],  # noqa: ARG001  # which are to go later
) -> Iterator[Database]:
    """A database with each core, which goes before the roles that have rights in it."""
    with databases.database(request.param) as database:
        database.is_altered = True
        yield database


def define(connection: Connection) -> None:
    """A flow in which much can happen, with notifications, and runs of it."""
    core = execute(connection, probe())
    for statement in (
        f"SELECT pgflow.create_flow('{FLOW}', max_attempts => 2, base_delay => 1, timeout => 3)",
        f"SELECT pgflow.add_step('{FLOW}', 'a')",
        f"SELECT pgflow.add_step('{FLOW}', 'b', ARRAY['a'])",
        f"SELECT pgmq.enable_notify_insert('{FLOW}', 0)",
    ):
        connection.execute(statement.encode())
    if core.map_steps:
        connection.execute(
            f"SELECT pgflow.add_step('{FLOW}', 'm', ARRAY['a'], step_type => 'map')".encode()
        )
    for _ in range(4):
        connection.execute(b"SELECT pgflow.start_flow('order_1', '[]')")


def lose(connection: Connection) -> int:
    """Delete a message, as only the owner of the queue can: its id."""
    connection.execute(b"DELETE FROM pgmq.q_order_1 WHERE msg_id = 4")
    return 4


def work(connection: Connection) -> None:
    """All that a worker may ever have to do: complete, fail, fail for good, recover."""
    core = execute(connection, probe())
    me = uuid4()
    execute(connection, ops.register_worker(me, FLOW, "me"))
    execute(connection, ops.heartbeat(me))
    if core.stopped_at:
        execute(connection, ops.mark_stopped(me))
    assert execute(connection, ops.stored_flow(FLOW)) is not None
    ids = [*execute(connection, ops.read_messages(FLOW, 30, 3)), 4]
    completed, failed, no_array, _ = claimed(connection, ids, me)
    record(connection, me, completed, Completed("[]"))
    record(connection, me, failed, Failed("no"))
    record(connection, me, no_array, Completed("1"))
    following = execute(connection, ops.read_messages(FLOW, 30, 1))
    (second,) = claimed(connection, following, me)
    record(connection, me, second, Completed("2"))
    (again,) = claimed(connection, [failed.message_id], me)
    record(connection, me, again, Failed("no"))
    recovered = execute(connection, ops.recover_stalled_tasks(FLOW, -3600, by_core=False))
    assert recovered.requeued == 1


def claimed(connection: Connection, ids: list[int], worker_id: UUID) -> list[Task]:
    """Claim these tasks; in the order of their messages."""
    inputs = execute(connection, ops.start_tasks(FLOW, ids, worker_id))
    keys = execute(connection, ops.claimed_tasks(FLOW, ids, worker_id))
    tasks = ops.claim(FLOW, inputs, keys)
    assert len(tasks) == len(ids)
    return sorted(tasks, key=lambda task: task.message_id)


def record(connection: Connection, worker_id: UUID, task: Task, outcome: Outcome) -> None:
    assert task.key in execute(connection, ops.record([Result(task, outcome)], worker_id))


@contextmanager
def acting_as(connection: Connection, role: str) -> Iterator[None]:
    """Be somebody else for a while; what was done then is undone."""
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        yield


def url_of(role: str, url: str) -> str:
    """Give a role a password; how it comes to this database."""
    password = secrets.token_hex(16)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), password)
        )
    parts = urlsplit(url)
    where = f"{role}:{password}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=where))


def single(grants: tuple[Grant, ...]) -> Iterator[str]:
    """Each grant for each of its columns alone, as a GRANT or REVOKE says it."""
    for grant in grants:
        for column in grant.columns:
            yield f"{grant.privilege} ({column}) ON {grant.on}"
        if not grant.columns:
            yield grant.words


# Enough, and not too much


def test_a_worker_may_do_all_that_it_has_to(altered: Database, names: tuple[str, str]) -> None:
    define(altered.connection)
    made = roles(altered.connection, installer=names[0], worker=names[1])
    assert (made.has_core, made.flows) == (True, (FLOW,))
    lose(altered.connection)
    with acting_as(altered.connection, names[1]):
        work(altered.connection)
        statuses = altered.rows("SELECT status FROM pgflow.runs ORDER BY status")
        map_steps = execute(altered.connection, probe()).map_steps
    failed = 2 if map_steps else 1
    assert [status for (status,) in statuses].count("failed") == failed
    assert ("completed",) in statuses


def test_without_any_part_of_it_something_goes_wrong(
    altered: Database, names: tuple[str, str]
) -> None:
    connection = altered.connection
    define(connection)
    needed = execute(connection, ops.missing_grants([FLOW], names[1], hears=True))
    roles(connection, installer=names[0], worker=names[1])
    lose(connection)
    in_vain = []
    for grant in single(needed):
        with connection.transaction(force_rollback=True):
            revoke = sql.SQL("REVOKE {} FROM {}")
            connection.execute(revoke.format(sql.SQL(grant), sql.Identifier(names[1])))
            left = execute(connection, ops.missing_grants([FLOW], names[1], hears=True))
            assert list(single(left)) == [grant]  # and it is found out which one it is
            try:
                with acting_as(connection, names[1]):
                    work(connection)
            except PrivilegeMissing:
                continue
            in_vain.append(grant)
    assert in_vain == []


# The one that installs


@pytest.mark.parametrize("core", known_cores())
def test_the_installer_installs_defines_and_grants(
    unused: str, names: tuple[str, str], core: str
) -> None:
    installer, worker = names
    assert not roles(unused, installer=installer, worker=worker).has_core
    url = url_of(installer, unused)
    assert install(url, core).changed
    assert not install(url, core).changed
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.info.parameter_status("is_superuser") == "off"
        define(connection)
        assert roles(connection, installer=installer, worker=worker).flows == (FLOW,)
        lose(connection)
    with psycopg.connect(url_of(worker, unused), autocommit=True) as connection:
        work(connection)


# Functions that run as their owner, or that not everybody may call

AS_OWNER = {
    "the core's": ("pgflow.start_tasks", "pgflow.complete_task", "pgflow.fail_task"),
    "pgmq's": ("pgmq.read", "pgmq.set_vt", "pgmq.send", "pgmq.send_batch", "pgmq.archive"),
    "all": ("pgflow.%", "pgmq.%"),
}


def alter_all(connection: Connection, names: tuple[str, ...], how: str) -> None:
    """Alter all functions that are called like one of these."""
    found = connection.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n"
        " ON n.oid = p.pronamespace WHERE p.prokind = 'f'"
        " AND n.nspname || '.' || p.proname LIKE ANY(%s)",
        [list(names)],
    ).fetchall()
    assert len(found) >= len(names)
    for (function,) in found:
        connection.execute(f"ALTER FUNCTION {function} {how}".encode())


@pytest.mark.parametrize("whose", AS_OWNER)
def test_what_a_function_does_as_its_owner_is_not_asked_for(
    altered: Database, names: tuple[str, str], whose: str
) -> None:
    connection = altered.connection
    define(connection)
    asked = ops.missing_grants([FLOW], names[1])
    usual = {*single(execute(connection, asked))}
    alter_all(connection, AS_OWNER[whose], "SECURITY DEFINER")
    needed = execute(connection, asked)
    assert {*single(needed)} < usual
    assert "pgmq.a_order_1" not in str(needed)
    roles(connection, installer=names[0], worker=names[1])
    lose(connection)
    with acting_as(connection, names[1]):
        work(connection)
    in_vain = []
    for grant in single(needed):
        with connection.transaction(force_rollback=True):
            revoke = sql.SQL("REVOKE {} FROM {}")
            connection.execute(revoke.format(sql.SQL(grant), sql.Identifier(names[1])))
            try:
                with acting_as(connection, names[1]):
                    work(connection)
            except PrivilegeMissing:
                continue
            in_vain.append(grant)
    assert in_vain == []


def test_any_column_that_may_be_changed_lets_a_worker_lock_a_row(
    altered: Database, names: tuple[str, str]
) -> None:
    alter_all(altered.connection, AS_OWNER["all"], "SECURITY DEFINER")
    roles(altered.connection, installer=names[0], worker=names[1], flows=[])
    asked = ops.missing_grants([], names[1])
    for grant in ("UPDATE (status)", "UPDATE (output)"):
        assert execute(altered.connection, asked) == ()
        before, after = grant, grant.replace("status", "output")
        for words in (f"GRANT {after} ON pgflow.runs TO", f"REVOKE {before} ON pgflow.runs FROM"):
            whom = sql.Identifier(names[1])
            altered.connection.execute(sql.SQL(words + " {}").format(whom))
    left = execute(altered.connection, asked)
    assert [grant.words for grant in left] == ["UPDATE (status) ON TABLE pgflow.runs"]


def test_what_not_everybody_may_do_is_asked_for(altered: Database, names: tuple[str, str]) -> None:
    connection = altered.connection
    database = connection.info.dbname
    define(connection)
    roles(connection, installer=names[0], worker=names[1])
    for what in ("ALL FUNCTIONS IN SCHEMA pgflow, pgmq, realtime", f"DATABASE {database}"):
        connection.execute(f"REVOKE ALL ON {what} FROM PUBLIC".encode())
    granted = roles(connection, installer=names[0], worker=names[1]).statements
    said = "\n".join(granted)
    assert f"GRANT CONNECT ON DATABASE {database} TO" in said
    assert "GRANT EXECUTE ON FUNCTION pgflow.start_tasks(text, bigint[], uuid) TO" in said
    assert "pgmq.format_table_name(text, text)" in said  # which others call
    assert "pgmq.purge_queue" not in said
    lose(connection)
    with acting_as(connection, names[1]):
        work(connection)
    connection.execute(
        sql.SQL("REVOKE EXECUTE ON FUNCTION pgmq.format_table_name FROM {}").format(
            sql.Identifier(names[1])
        )
    )
    (left,) = execute(connection, ops.missing_grants([FLOW], names[1]))
    assert left.words == "EXECUTE ON FUNCTION pgmq.format_table_name(text, text)"
    with pytest.raises(PrivilegeMissing), acting_as(connection, names[1]):
        work(connection)


def test_a_worker_that_may_too_little_says_which_grants_it_lacks(
    altered: Database, names: tuple[str, str]
) -> None:
    define(altered.connection)
    roles(altered.connection, installer=names[0], worker=names[1], flows=[])
    flow = Flow(FLOW)
    flow.step("a")(lambda order, _: order)
    with pytest.raises(PrivilegeMissing) as refused:
        Worker(flow, url_of(names[1], altered.url)).run(signals=False)
    said = str(refused.value)
    assert said.startswith(f"the user {names[1]!r} may not work on flow 'order_1': missing is ")
    assert "UPDATE (read_ct, last_read_at, vt) ON TABLE pgmq.q_order_1" in said
    assert "pgflow.runs" not in said  # it has those
    assert "pgflow-ref roles" in said


def test_printing_changes_nothing_and_a_second_time_there_is_nothing_to_do(
    altered: Database, names: tuple[str, str]
) -> None:
    define(altered.connection)
    printed = roles(altered.connection, installer=names[0], worker=names[1], dry_run=True)
    assert execute(altered.connection, ops.may_create(names[0])) is None
    done = roles(altered.connection, installer=names[0], worker=names[1])
    assert done == printed
    again = roles(altered.connection, installer=names[0], worker=names[1])
    assert again.statements == ()
    assert execute(altered.connection, ops.may_create(names[0])) is True
    with pytest.raises(FlowNotFound):
        roles(altered.connection, installer=names[0], worker=names[1], flows=["ordre"])


def test_the_command_prints_and_then_does_it(
    altered: Database, names: tuple[str, str], call: Call
) -> None:
    define(altered.connection)
    words = ("roles", "--url", altered.url, "--installer", names[0], "--worker", names[1])
    printed = call(*words, "--print").stdout.splitlines()
    assert f'CREATE ROLE "{names[1]}" LOGIN;' in printed
    assert f'GRANT SELECT ON TABLE pgmq.q_order_1 TO "{names[1]}";' in printed
    done, again = call(*words).stdout, call(*words).stdout
    assert done.startswith(f"{len(printed)} statements were run\n  {names[1]} may serve order_1")
    assert again.startswith("there already: nothing was run\n")
