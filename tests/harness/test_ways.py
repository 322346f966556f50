"""How workers come in: PgBouncer and a role of their own are there for a run, and do what they say.

`scripts/test` installs PgBouncer where it can. Without one its tests are skipped, or fail where
CONFORMANCE_PGBOUNCER=required.
"""

from __future__ import annotations

import doctest
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psycopg
import pytest

from conformance.harness import hosts, pooler, ways
from conformance.harness.adapters import find
from conformance.harness.cases import FIXTURES, load_all
from conformance.harness.cores import put
from conformance.harness.databases import CORE, Cluster, template_of
from conformance.harness.hosts import HostError
from conformance.harness.places import InPlace
from conformance.harness.pooler import Pooler, PoolerError
from conformance.harness.processes import environment
from conformance.harness.session import Choice, Session
from conformance.harness.trial import Trial
from conformance.harness.ways import DIRECT, Way, WayError
from pgflow_ref.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE: Final = 30.0  # seconds for who is to go to be gone
ROLE: Final = "pgflow_conformance_worker_test"
SECRET: Final = "not/so:secret"

# A run that has a way in, and is killed.
KILLED: Final = """
import sys, time
from conformance.harness import hosts
host = hosts.start(sys.argv[1], in_place=False, say=lambda _: None, role=sys.argv[2])
print(host.way.port, host.way.user, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def _pgbouncer() -> None:
    """Not where there is no PgBouncer."""
    try:
        pooler.program()
    except PoolerError as missing:
        if os.environ.get("CONFORMANCE_PGBOUNCER") == "required":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as running:
        yield running


@pytest.fixture(scope="module")
def alone(server: EmbeddedPostgres) -> Iterator[Cluster]:
    """Databases to which workers come as a role of their own."""
    with ways.opened(server.url(), ROLE, SECRET, pooled=False) as way:
        cluster = Cluster(server.url(), way=way)
        cluster.create(template_of(CORE))
        put(cluster.url_of(template_of(CORE)), CORE)
        yield cluster


@pytest.fixture(scope="module")
def both(alone: Cluster, _pgbouncer: None) -> Iterator[Cluster]:
    """The same, with PgBouncer between."""
    made = Pooler(alone.url, {ROLE: SECRET})
    yield Cluster(alone.url, way=Way(ROLE, SECRET, made.port, made.console, made.version))
    made.stop()


@pytest.fixture
def pooled(server: EmbeddedPostgres, _pgbouncer: None) -> Iterator[Pooler]:
    made = Pooler(server.url())
    yield made
    made.stop()


def through(made: Pooler, server: EmbeddedPostgres) -> psycopg.Connection[tuple[object, ...]]:
    url = Way(port=made.port).through(server.url())
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)


def pid(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return row[0]


def port_of(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    link = Path(f"/proc/self/fd/{connection.fileno()}").readlink().name
    inode = link.removeprefix("socket:[").removesuffix("]")
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return next(
        int(words[1].rpartition(":")[2], 16) for words in map(str.split, lines) if words[9] == inode
    )


def roles_of(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^pgflow'")
        return {str(name) for (name,) in rows}


def silent(_: str) -> None:
    pass


# Ways


def test_the_examples_are_right() -> None:
    assert doctest.testmod(ways).failed == 0


def test_a_way_is_the_same_in_every_process_of_a_run() -> None:
    way = Way("me", "p", 1, "postgresql://console", "1.18.0")
    session = Session("postgresql://u:p@h/d", 1.0, (), (), "17.10", None, way=way)
    assert Session.load(session.dump()) == session


def test_a_worker_hears_of_a_pooler_and_of_no_other_run_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PGFLOW_POOLING", "session")
    assert "PGFLOW_POOLING" not in environment("postgresql://x", tmp_path)
    given = environment("postgresql://x", tmp_path, pooled=True)
    assert given["PGFLOW_POOLING"] == "transaction"


# A role of their own


def test_workers_have_a_role_that_may_work_and_no_more(alone: Cluster) -> None:
    with alone.database(CORE) as database:
        database.connection.execute(b"SELECT pgflow.create_flow('f')")
        database.connection.execute(b"SELECT pgflow.add_step('f', 'a')")
        with psycopg.connect(database.worker_url, autocommit=True) as worker:
            assert worker.info.user == ROLE
            start = b"SELECT pgflow.start_flow('f', '1')"
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(start)
            database.let_in("f")
            worker.execute(start)
            for statement in (
                b"SELECT pgflow.create_flow('g')",
                b"DELETE FROM pgflow.runs",
                b"SELECT FROM conformance.events",
                b"TRUNCATE pgmq.q_f",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    worker.execute(statement)
        noted = database.connection.execute(
            "SELECT source, origin FROM conformance.events WHERE source = 'run'"
        ).fetchall()
        assert noted == [("run", "function")]


def test_no_password_is_in_what_a_traceback_shows() -> None:
    way = Way("worker", "secret", 6432, "postgresql://console:secret@127.0.0.1/pgbouncer", "1.18")
    url = "postgresql://somebody:secret@127.0.0.1/x"
    session = Session(url, 1.0, (), (), "17.10", None, way=way)
    for shown in (way, session, Choice((), database=url)):
        assert "secret" not in repr(shown)
    assert Session.load(session.dump()) == session


def test_the_harness_is_who_it_was(alone: Cluster) -> None:
    with alone.database(CORE) as database:
        assert urlsplit(database.url).username == "postgres"
        assert urlsplit(database.worker_url).username == ROLE


@pytest.mark.parametrize("in_place", [False, True])
def test_a_role_goes_with_its_run(server: EmbeddedPostgres, in_place: bool) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE place")
    before = roles_of(server.url())
    try:
        host = hosts.start(server.url("place"), in_place=in_place, say=silent, role=ways.WORKER)
        try:
            assert roles_of(server.url()) - before == {host.way.user}
            assert host.version.endswith(", workers as a role of their own")
            if in_place:
                cluster = InPlace(host.url(), way=host.way)
                with cluster.database(CORE) as database:
                    database.connection.execute(b"SELECT pgflow.create_flow('f')")
                    database.let_in("f")
        finally:
            host.stop()
        assert roles_of(server.url()) == before
    finally:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("DROP DATABASE place")


def test_who_may_make_no_roles_is_told(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE maker LOGIN CREATEDB PASSWORD 'p'")
        try:
            url = Way("maker", "p").through(server.url())
            with pytest.raises(WayError, match=r"'maker' may not make a role.*--role owner"):
                hosts.start(url, in_place=False, say=silent, role=ways.WORKER)
        finally:
            connection.execute("DROP ROLE maker")


def test_who_is_no_superuser_gets_rid_of_workers_that_are_connected(
    server: EmbeddedPostgres,
) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE maker LOGIN CREATEDB CREATEROLE PASSWORD 'p'")
        try:
            url = Way("maker", "p").through(server.url())
            host = hosts.start(url, in_place=False, say=silent, role=ways.WORKER)
            try:
                cluster = Cluster(host.url(), host.prefix, host.way)
                for name in "first", "second":
                    cluster.create(name)
                workers = [
                    psycopg.connect(host.way.through(cluster.url_of(name)))
                    for name in ("first", "second")
                ]
                cluster.drop("first")
            finally:
                host.stop()  # and with it the second
            for worker in workers:
                worker.close()
        finally:
            connection.execute("DROP ROLE maker")


def test_a_role_goes_also_when_its_run_is_killed(server: EmbeddedPostgres) -> None:
    before = roles_of(server.url())
    with killed(server.url(), ways.WORKER) as (_, role):
        assert roles_of(server.url()) - before == {role}
    give_up_at = time.monotonic() + PATIENCE
    while roles_of(server.url()) != before:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


@contextmanager
def killed(*words: str) -> Iterator[tuple[int, str]]:
    """A run that is killed at the end: the port of its PgBouncer, and the role of its workers."""
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, *words], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    with run.stdout:
        port, _, role = run.stdout.readline().rstrip("\n").partition(" ")
        try:
            yield int(port), role
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()


# PgBouncer


def test_without_pgbouncer_the_refusal_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(pooler, "_PLACES", str(tmp_path))
    with pytest.raises(PoolerError, match="apt-get install pgbouncer"):
        hosts.start("pgbouncer", in_place=False, say=silent)


def test_in_place_is_about_a_url() -> None:
    with pytest.raises(HostError, match="about the database of a URL"):
        hosts.check("pgbouncer", in_place=True)


def test_a_session_of_the_server_is_handed_on(server: EmbeddedPostgres, pooled: Pooler) -> None:
    with through(pooled, server) as one, through(pooled, server) as two:
        first = pid(one)
        assert pid(two) == first
        assert pooler.resting(pooled.console, "postgres") == [first]
        with one.transaction():
            assert pid(one) == first
            assert pid(two) != first
            assert pooler.backends(pooled.console, [port_of(one)]) == [first]
            assert pooler.backends(pooled.console, [port_of(two)]) == []
        assert pooler.backends(pooled.console, [port_of(one)]) == []


def test_who_does_not_know_the_password_does_not_come_in(
    server: EmbeddedPostgres, pooled: Pooler
) -> None:
    for user in ("postgres", "pgflow_console", "nobody"):
        url = Way(user, "wrong", pooled.port).through(server.url())
        with pytest.raises(psycopg.OperationalError, match=r"password|no such user|auth"):
            psycopg.connect(url)


def test_it_listens_to_this_machine_alone_and_is_not_root(pooled: Pooler) -> None:
    status = Path(f"/proc/{pooled.pid}/status").read_text(encoding="utf-8")
    assert all(int(word) != 0 for word in status.partition("Uid:")[2].splitlines()[0].split())
    assert [line.split()[1] for line in listening() if f":{pooled.port:04X} " in line] == [
        f"0100007F:{pooled.port:04X}"
    ]


def listening() -> list[str]:
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()
    return [line for line in lines if " 0A " in line]


def test_a_port_that_is_taken_meanwhile_is_not_the_end(
    server: EmbeddedPostgres, pooled: Pooler, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = pooler._free_port
    ports = iter([pooled.port, free()])
    monkeypatch.setattr(pooler, "_free_port", lambda: next(ports))
    other = Pooler(server.url())
    try:
        assert other.port != pooled.port
    finally:
        other.stop()


@pytest.mark.usefixtures("_pgbouncer")
def test_one_that_does_not_start_says_why(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooler, "_SETTINGS", "[pgbouncer]\nno_such_setting = 1\n")
    with pytest.raises(PoolerError, match="no_such_setting"):
        Pooler(server.url())


@pytest.mark.usefixtures("_pgbouncer")
def test_it_goes_with_its_run() -> None:
    host = hosts.start("pgbouncer", in_place=False, say=silent)
    url = host.way.through(host.url())
    with psycopg.connect(url) as connection:
        assert pid(connection)
    assert f" behind PgBouncer {host.way.pooler}" in host.version
    host.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


@pytest.mark.usefixtures("_pgbouncer")
def test_it_goes_also_when_its_run_is_killed() -> None:
    with killed("pgbouncer", ways.OWNER) as (port, _):
        assert answers(port)
    give_up_at = time.monotonic() + PATIENCE
    while answers(port):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def answers(port: int) -> bool:
    return any(f"0100007F:{port:04X}" in line for line in listening())


# Workers


@pytest.mark.parametrize("name", ["python", "plain"])
@pytest.mark.parametrize("case", ["retry.backoff", "terminate.claim"])
def test_a_worker_keeps_its_promises_behind_both(
    both: Cluster, tmp_path: Path, name: str, case: str
) -> None:
    folders = [FIXTURES / "cases" / "worker", FIXTURES / "cases" / "faults"]
    found = next(one for folder in folders for one in load_all(folder) if one.id == case)
    trial = Trial(found, [find(name)], tmp_path, 2.0)
    trial.run(both)
    assert (trial.outcome, trial.problems) == ("passed", [])


def test_direct_is_the_way_of_the_harness() -> None:
    assert DIRECT.through("postgresql://u:p@h:1/d") == "postgresql://u:p@h:1/d"
    assert DIRECT.resting("d") == []
    assert DIRECT.words == ""
