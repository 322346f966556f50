"""Where databases come from: servers of others are left as they were, and refusals say why."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from conformance.harness import hosts
from conformance.harness.databases import Cluster
from conformance.harness.hosts import HostError, Server
from conformance.harness.leavings import BUSY, remove_place
from conformance.harness.places import OURS_IN_PLACE, InPlace
from conformance.harness.plugin import Conductor
from conformance.harness.progress import Lines
from pgflow_ref.embedded import EmbeddedPostgres
from pgflow_ref.errors import DatabaseUnavailable
from pgflow_ref.install import inspect, install, pins, sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE: Final = 30.0  # seconds for a keeper to do its work

# A run that makes a database (or, in place, the schemas) and is killed.
KILLED: Final = """
import sys, time
from conformance.harness import hosts
host = hosts.start(sys.argv[1], in_place=sys.argv[2] == "in place", say=print)
cluster = hosts.cluster(host.url(), host.prefix, None, in_place=host.in_place)
if host.in_place:
    held = cluster.database("0.5.0")
    held.__enter__()
else:
    cluster.create("made")
print("made", flush=True)
time.sleep(600)
"""

ASKS: Final = """
CREATE FUNCTION pgflow.ask() RETURNS bigint LANGUAGE sql
    AS $$ SELECT net.http_post(url => 'http://localhost/') $$;
SELECT cron.schedule('ask', '1 second', 'SELECT pgflow.ask()');
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as running:
        yield running


@pytest.fixture
def place(server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database that belongs to somebody who may do nothing else."""
    name = f"shop_{secrets.token_hex(4)}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for statement in (
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p@ss/word'").format(sql.Identifier(name)),
            sql.SQL("CREATE DATABASE {} OWNER {}").format(*[sql.Identifier(name)] * 2),
        ):
            connection.execute(statement)
    url = urlsplit(server.url(name))
    where = f"{name}:p%40ss%2Fword@{url.hostname}:{url.port}"
    made = urlunsplit(url._replace(netloc=where))
    with psycopg.connect(made) as connection:
        connection.execute("CREATE SCHEMA shop")
        connection.execute("CREATE TABLE shop.orders AS SELECT 1 AS id")
    yield made
    with psycopg.connect(made) as connection:
        assert connection.execute("SELECT id FROM shop.orders").fetchall() == [(1,)]


def schemas(url: str) -> set[str]:
    """Those that PostgreSQL itself does not bring."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|public)'"
        ).fetchall()
    return {str(name) for (name,) in rows}


def databases(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    return {str(name) for (name,) in rows}


def silent(_: str) -> None:
    pass


@pytest.mark.parametrize(
    ("wanted", "in_place", "says"),
    [
        ("mysql://x", False, "it is embedded, pgbouncer, docker"),
        ("mysql://somebody:secret@x/y", False, "^--database 'mysql://…': it is embedded"),
        ("host=x password=secret", False, "^--database 'host=…': it is embedded"),
        ("somebody:secret@x/y", False, "^--database 'somebody…': it is embedded"),
        ("docker=", False, "it is embedded, pgbouncer, docker"),
        ("embedded", True, "about the database of a URL"),
        ("docker", True, "about the database of a URL"),
    ],
)
def test_what_is_no_database_is_refused_before_anything_starts(
    wanted: str, in_place: bool, says: str
) -> None:
    with pytest.raises(HostError, match=says):
        hosts.check(wanted, in_place=in_place)


def test_a_server_gets_databases_of_the_suite_and_loses_them(server: EmbeddedPostgres) -> None:
    before = databases(server.url())
    host = Server(server.url(), in_place=False, say=silent)
    try:
        cluster = Cluster(host.url(), host.prefix)
        cluster.create("template")
        install(cluster.url_of("template"), "0.5.0")
        cluster.create("copy", "template")
        with psycopg.connect(cluster.url_of("copy")) as connection:
            assert inspect(connection).core.version == "0.5.0"
        made = databases(server.url()) - before
        assert made == {f"{host.prefix}template", f"{host.prefix}copy"}
        assert host.prefix.startswith("pgflow_conformance_")
        cluster.drop("copy")
        assert databases(server.url()) - before == {f"{host.prefix}template"}
    finally:
        host.stop()
    assert databases(server.url()) == before


def test_two_runs_on_one_server_are_strangers(server: EmbeddedPostgres) -> None:
    first = Server(server.url(), in_place=False, say=silent)
    second = Server(server.url(), in_place=False, say=silent)
    try:
        Cluster(first.url(), first.prefix).create("same")
        Cluster(second.url(), second.prefix).create("same")
        second.stop()
        assert f"{first.prefix}same" in databases(server.url())
    finally:
        second.stop()
        first.stop()


def test_who_may_make_no_databases_is_told_of_both_ways(place: str) -> None:
    with pytest.raises(HostError, match=r"CREATEDB.*--in-place"):
        Server(place, in_place=False, say=silent)
    assert schemas(place) == {"shop"}


def test_in_place_a_case_finds_pgflow_and_leaves_nothing(place: str) -> None:
    host = Server(place, in_place=True, say=silent)
    try:
        cluster = InPlace(host.url())
        for core in "0.8.1", "0.5.0":
            with cluster.database(core) as database:
                assert inspect(database.connection).core.version == core
                assert schemas(place) == {"shop", *OURS_IN_PLACE}
            assert schemas(place) == {"shop"}
    finally:
        host.stop()


def test_in_place_the_pgmq_that_was_asked_for_is_there(place: str) -> None:
    said: list[str] = []
    cluster = InPlace(place, pgmq="1.13.0")
    assert cluster.attempt("0.8.1", said.append).pgmq == "1.13.0"
    assert schemas(place) == {"shop"}
    with cluster.database("0.5.0") as database:
        assert inspect(database.connection).pgmq.version == "1.13.0"


def test_in_place_stand_ins_are_taken_away_and_nobody_elses_schema(
    place: str, tmp_path: Path
) -> None:
    migrations = sources.core_files(pins.load().releases["0.8.1"].files)
    core = tmp_path / "core.sql"
    core.write_text("\n".join([*(one.text for one in migrations), ASKS]))
    with psycopg.connect(place) as connection:
        connection.execute("CREATE SCHEMA vault")
    before = schemas(place)
    with InPlace(place).database(str(core)) as database:
        assert inspect(database.connection).stand_ins == ("pg_net", "pg_cron")
        assert schemas(place) == {*before, *OURS_IN_PLACE, "net", "cron"}
    assert schemas(place) == before == {"shop", "vault"}


def test_in_place_a_stand_in_of_an_installation_is_data_of_others(place: str) -> None:
    with psycopg.connect(place) as connection:
        connection.execute(pins.our_sql("pg_net").encode())
    with pytest.raises(HostError, match=r"holds data.*schemas: net"):
        Server(place, in_place=True, say=silent)
    assert schemas(place) == {"shop", "net"}


def test_in_place_data_of_others_is_left_alone(place: str) -> None:
    install(place, "0.5.0")
    with pytest.raises(HostError, match=r"holds data.*pgflow, pgmq, realtime"):
        Server(place, in_place=True, say=silent)
    assert {"pgflow", "pgmq"} <= schemas(place)


def test_in_place_there_is_one_run_at_a_time(place: str) -> None:
    host = Server(place, in_place=True, say=silent)
    try:
        with pytest.raises(HostError, match="another run of the suite"):
            Server(place, in_place=True, say=silent)
    finally:
        host.stop()
    Server(place, in_place=True, say=silent).stop()


def test_in_place_what_another_run_has_begun_is_left_alone(place: str) -> None:
    with psycopg.connect(place, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [BUSY])
        other.execute("CREATE SCHEMA pgflow")
        with pytest.raises(TimeoutError, match="another run"):
            remove_place(place, OURS_IN_PLACE, within=0)
        assert schemas(place) == {"shop", "pgflow"}
    remove_place(place, OURS_IN_PLACE)  # the server may learn of the other's end a little later
    assert schemas(place) == {"shop"}


def test_in_place_a_run_may_begin_as_soon_as_another_is_over(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[psycopg.Connection] = []

    def close(connection: psycopg.Connection) -> None:
        left.append(connection)

    with monkeypatch.context() as patched:
        # As it is for a server that has not noticed yet that somebody has gone.
        patched.setattr(psycopg.Connection, "close", close)
        remove_place(place, OURS_IN_PLACE)
    assert left
    Server(place, in_place=True, say=silent).stop()
    for connection in left:
        connection.close()


@pytest.mark.parametrize("place", ["/postgres?host=/run/postgresql", "/postgres"])
def test_a_socket_is_no_way_for_workers(place: str) -> None:
    with pytest.raises(HostError, match="over TCP"):
        Server(f"postgresql://somebody@{place}", in_place=False, say=silent)


def test_nobody_at_home_is_said_without_the_password() -> None:
    url = "postgresql://u:secret@127.0.0.1:1/x"
    with pytest.raises(DatabaseUnavailable) as refused:
        Server(url, in_place=False, say=silent)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("way", ["databases", "in place"])
def test_what_a_killed_run_has_made_is_removed(
    server: EmbeddedPostgres, place: str, way: str
) -> None:
    before = databases(server.url())
    url = place if way == "in place" else server.url()
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, url, way], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    with run.stdout:
        assert run.stdout.readline() == "made\n"
        if way == "in place":
            assert "pgflow" in schemas(place)
        else:
            assert len(databases(server.url()) - before) == 1
        run.send_signal(signal.SIGKILL)
        run.wait()
    give_up_at = time.monotonic() + PATIENCE
    while databases(server.url()) != before or schemas(place) != {"shop"}:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


class Stuck(Server):
    """A host from which nothing can be taken away."""

    def __init__(self) -> None:
        pass

    def stop(self) -> None:
        raise HostError("what the suite made may be there still")


def test_what_could_not_be_taken_away_is_said_and_the_run_fails() -> None:
    conductor = object.__new__(Conductor)
    conductor.progress = Lines(silent, quiet=True)
    conductor._server = Stuck()
    # pytest prints such an error as a line, and has an exit code for it.
    with pytest.raises(pytest.UsageError, match="may be there still"):
        conductor.pytest_unconfigure()


def test_a_missing_engine_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(HostError, match=r"no Docker engine answers at unix:///nowhere/docker.sock"):
        hosts.start("docker", in_place=False, say=silent)
