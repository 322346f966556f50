"""The installer on a real PostgreSQL."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from pgflow_ref.embedded import EmbeddedPostgres
from pgflow_ref.errors import DatabaseUnavailable, InstallRefused, SourceError
from pgflow_ref.install import Report, inspect, install, known_cores, pins, script, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import LiteralString

    Database = Callable[..., str]

CORES = known_cores()
BEFORE_0_8 = CORES[:-1]
BOTH = ("pgflow.read_with_poll", "pgflow.set_vt_batch")
CREATE_EXTENSION = 'CREATE EXTENSION IF NOT EXISTS "pgmq" WITH SCHEMA "pgmq";'
FILES = list(pins.load().core.files)
CATALOGS = {
    "pg_namespace": "t.*",
    "pg_proc": "t.*",
    "pg_type": "t.*",
    "pg_attribute": "t.*",
    "pg_attrdef": "t.*",
    "pg_constraint": "t.*",
    "pg_depend": "t.*",
    "pg_description": "t.*",
    "pg_extension": "t.*",
    "pg_default_acl": "t.*",
    # not what VACUUM and ANALYZE keep there
    "pg_class": "oid, relname, relnamespace, relkind, relowner, relfilenode, relnatts, relacl",
}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as running:
        yield running


@pytest.fixture(scope="module")
def pool() -> list[str]:
    """Names of empty databases: to empty one again takes a tenth of the time of making one."""
    return []


@pytest.fixture
def database(server: EmbeddedPostgres, pool: list[str]) -> Iterator[Database]:
    """Make databases, empty or holding a core, and answer their URLs.

    One whose test changes more than the three schemas must be `own`, and goes with the test.
    """
    used: list[tuple[str, bool]] = []

    def make(core: str | None = None, *, own: bool = False) -> str:
        if pool and not own:
            name = pool.pop()
        else:
            name = f"d_{secrets.token_hex(6)}"
            query = sql.SQL("CREATE DATABASE {} TEMPLATE template0")
            rows(server.url(), query.format(sql.Identifier(name)))
        used.append((name, own))
        if core is not None:
            install(server.url(name), core)
        return server.url(name)

    yield make
    for name, own in used:
        if own:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            rows(server.url(), drop)
        else:
            clear = "DROP SCHEMA IF EXISTS pgflow, pgmq, realtime CASCADE"
            rows(server.url(name), f"SET lock_timeout = '10s'; {clear}".encode())
            pool.append(name)


@pytest.fixture(scope="module")
def standing(server: EmbeddedPostgres) -> Callable[[str | None], str]:
    """The URL of a database that is empty or holds a core, for tests that leave it as it is."""

    @functools.cache
    def make(core: str | None) -> str:
        name = f"standing_{core}"
        rows(server.url(), sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        if core is not None:
            install(server.url(name), core)
        return server.url(name)

    return make


@contextlib.contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


def rows(url: str, query: LiteralString | bytes | sql.Composed, *values: object) -> list[Any]:
    with connected(url) as conn:
        cursor = conn.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []


def snapshot(where: str | psycopg.Connection[Any]) -> str:
    """A hash over the catalogs with the transaction that wrote each row: one write changes it."""
    if isinstance(where, str):
        with connected(where) as conn:
            return snapshot(conn)
    seen = hashlib.sha256()
    for name, columns in CATALOGS.items():
        query = f"SELECT xmin::text, ctid::text, row({columns})::text FROM {name} t ORDER BY 2"
        seen.update(repr(where.execute(query.encode()).fetchall()).encode())
    return seen.hexdigest()


# What it installs


@pytest.mark.parametrize("core", CORES)
def test_every_release_installs_is_recognised_and_stays(core: str, database: Database) -> None:
    url = database()
    report = install(url, core)
    replaced = BOTH if core in BEFORE_0_8 else ()
    assert (report.core, report.pgmq, report.changed) == (core, "1.11.1", True)
    assert (report.replaced, report.stand_ins) == (replaced, ("realtime.send",))
    with connected(url) as conn:
        found = inspect(conn)
    assert (found.core.version, found.core.replaced) == (core, replaced)
    assert (found.pgmq.kind, found.realtime) == ("plain", "ours")

    before = snapshot(url)
    assert install(url, core) == dataclasses.replace(report, changed=False)
    assert snapshot(url) == before


def test_an_empty_database_holds_nothing(database: Database) -> None:
    with connected(database()) as conn:
        found = inspect(conn)
        assert (found.core.nearest, found.pgmq.kind, found.realtime) == (None, "none", "none")
        assert found.server == conn.info.server_version


def test_empty_schemas_count_as_nothing(database: Database) -> None:
    url = database()
    rows(url, "CREATE SCHEMA pgflow; CREATE SCHEMA pgmq; CREATE SCHEMA realtime")
    assert install(url).changed


def test_a_core_in_use_is_recognised(database: Database) -> None:
    url = database("0.5.0")
    rows(url, "SELECT pgflow.create_flow('f')")
    rows(
        url, "CREATE INDEX ON pgflow.runs (started_at); ALTER TABLE pgflow.runs SET (fillfactor=90)"
    )
    rows(url, "GRANT SELECT ON ALL TABLES IN SCHEMA pgflow TO pg_monitor")
    assert not install(url).changed


def test_settings_of_the_database_do_not_matter(database: Database) -> None:
    """Neither a search path with traps in it nor an isolation level of its own."""
    url = database(own=True)
    rows(
        url,
        "CREATE FUNCTION public.now() RETURNS date LANGUAGE sql AS 'SELECT NULL::date'",
    )
    name = rows(url, "SELECT current_database()")[0][0]
    for setting in (
        "search_path = public, pg_catalog",
        "default_transaction_isolation = serializable",
    ):
        rows(url, f"ALTER DATABASE {name} SET {setting}".encode())
    assert install(url).changed
    assert not install(url).changed


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_the_encoding_of_the_database_does_not_matter(
    encoding: str, server: EmbeddedPostgres
) -> None:
    name = encoding.lower()
    query = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
    rows(server.url(), query.encode())
    with psycopg.connect(server.url(name)) as conn:
        assert install(conn).changed
        conn.execute("SELECT 1")
        assert not install(conn).changed
        for setting, value in (("client_encoding", encoding), ("search_path", '"$user", public')):
            query = "SELECT convert_to(current_setting(%s), 'UTF8')"
            assert conn.execute(query, [setting]).fetchone() == (value.encode(),)
    rows(server.url(), f"DROP DATABASE {name}".encode())


def test_the_script_does_the_same_in_one_go(database: Database) -> None:
    for core in ("0.5.0", "0.8.1"):
        url = database()
        text = script(core)
        rows(url, text.encode())
        report = install(url, core)
        assert (report.core, report.changed) == (core, False)
        with pytest.raises(psycopg.errors.RaiseException, match="pgflow-ref install"):
            rows(url, text.encode())


def test_the_script_and_the_installer_leave_the_same_catalogs(database: Database) -> None:
    by_script = database()
    rows(by_script, script("0.5.0").encode())
    seen = []
    for url in (by_script, database("0.5.0")):
        query = (
            "SELECT oid::regprocedure::text, pg_get_functiondef(oid), obj_description(oid) "
            "FROM pg_proc WHERE pronamespace::regnamespace::text ~ '^(pgflow|pgmq|realtime)$' "
            "ORDER BY 1"
        )
        seen.append(rows(url, query))
    assert seen[0] == seen[1]


def test_from_a_directory_and_from_an_archive(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in sources.core_files(FILES[:7]):
        (tmp_path / file.name).write_text(file.text)
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "no cache is touched")
    url = database()
    assert install(url, "0.5.0", source=tmp_path).changed
    with pytest.raises(SourceError, match=f"{FILES[7]} is missing"):
        install(database(), "0.5.3", source=tmp_path)
    assert not install(url, "0.5.0", source=tmp_path / "nowhere").changed  # nothing to read


# A connection instead of a URL


def test_on_a_connection_it_is_part_of_the_callers_transaction(database: Database) -> None:
    url = database()
    before = snapshot(url)
    with psycopg.connect(url, row_factory=dict_row) as conn:
        conn.execute("SET search_path = public, pg_catalog")
        assert install(conn).changed
        row = conn.execute("SELECT current_setting('search_path') AS path").fetchone()
        assert row == {"path": "public, pg_catalog"}
        conn.rollback()
    assert snapshot(url) == before


def test_on_an_idle_connection_it_commits_and_leaves_nothing_open(database: Database) -> None:
    url = database()
    with psycopg.connect(url) as conn:
        assert install(conn).changed
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        inspect(conn)
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert not install(url).changed


# What it refuses


REFUSALS = [
    pytest.param("0.5.3", "", ["holds pgflow core 0.5.3, not 0.5.0"], id="other version"),
    pytest.param(
        "0.8.1",
        "",
        ["holds pgflow core 0.8.1, not 0.5.0", "nothing was changed"],
        id="newer version",
    ),
    pytest.param(
        "0.5.0",
        "DROP FUNCTION pgflow.start_flow_with_states",
        ["nearest is 0.5.0", "missing: function pgflow.start_flow_with_states(text, jsonb, uuid)"],
        id="a function is missing",
    ),
    pytest.param(
        "0.5.0",
        "CREATE OR REPLACE FUNCTION pgflow.is_valid_slug(slug text) RETURNS boolean "
        "LANGUAGE sql IMMUTABLE SET search_path = '' AS 'SELECT true'",
        ["different: function pgflow.is_valid_slug(text)"],
        id="a function is altered",
    ),
    pytest.param(
        "0.5.0",
        "ALTER FUNCTION pgflow.read_with_poll RESET ALL",
        ["different: function pgflow.read_with_poll("],
        id="a setting of a function is altered",
    ),
    pytest.param(
        "0.5.0",
        "CREATE FUNCTION pgflow.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ["extra: function pgflow.mine()"],
        id="a function is extra",
    ),
    pytest.param(
        "0.5.0",
        "CREATE TABLE pgflow.mine (a int)",
        ["extra: table pgflow.mine"],
        id="a table is extra",
    ),
    pytest.param(
        "0.5.0",
        "ALTER TABLE pgflow.runs ADD COLUMN mine text",
        ["different: table pgflow.runs (with mine text)"],
        id="a column is extra",
    ),
    pytest.param(
        "0.5.0",
        "ALTER TABLE pgflow.workers DROP COLUMN stopped_at",
        ["different: table pgflow.workers (without stopped_at timestamp with time zone)"],
        id="a column is missing",
    ),
    pytest.param(
        "0.5.0",
        "ALTER TABLE pgflow.runs DROP CONSTRAINT status_is_valid",
        ["different: table pgflow.runs (without constraint status_is_valid (c))"],
        id="a constraint is missing",
    ),
    pytest.param(
        "0.5.0",
        "ALTER TABLE pgflow.flows ALTER opt_timeout SET DEFAULT 61",
        ["different: table pgflow.flows (a default or what a constraint says)"],
        id="a default is altered",
    ),
    pytest.param(
        None,
        "CREATE SCHEMA pgflow; CREATE TYPE pgflow.mood AS ENUM ('ok')",
        ["no known version of the core", "extra: type pgflow.mood"],
        id="some pgflow of another kind",
    ),
    pytest.param(
        None,
        "CREATE SCHEMA pgmq; CREATE TABLE pgmq.meta (queue_name text)",
        ["pgmq is neither", "different: table pgmq.meta"],
        id="a foreign pgmq",
    ),
    pytest.param(
        None,
        "CREATE SCHEMA pgmq; CREATE TABLE pgmq.q_work (msg_id bigint)",
        ["pgmq is neither", "missing: function pgmq."],
        id="queues without pgmq",
    ),
    pytest.param(
        "0.5.0",
        "DROP FUNCTION pgmq.pop(text, integer)",
        ["missing: function pgmq.pop(text, integer)"],
        id="half a pgmq",
    ),
    pytest.param(
        "0.8.1",
        "DROP SCHEMA pgmq CASCADE",
        ["holds pgflow core 0.8.1, not 0.5.0"],
        id="a core without pgmq",
    ),
]


@pytest.mark.parametrize(("core", "change", "words"), REFUSALS)
def test_what_is_refused_is_left_alone(
    core: str | None, change: str, words: list[str], standing: Callable[[str | None], str]
) -> None:
    with psycopg.connect(standing(core)) as conn:
        conn.execute(change.encode())
        before = snapshot(conn)
        with pytest.raises(InstallRefused) as caught:
            install(conn, "0.5.0")
        for word in words:
            assert word in str(caught.value)
        assert snapshot(conn) == before
        conn.rollback()  # others want the database as it was


def test_half_an_installation_is_refused(database: Database) -> None:
    url = database()
    (pgmq,) = sources.pgmq_files()
    with connected(url) as conn:
        conn.execute(pgmq.text.encode())
        for file in sources.core_files(FILES[:3]):
            conn.execute(file.text.replace(CREATE_EXTENSION, "").encode())
    before = snapshot(url)
    with pytest.raises(InstallRefused, match=r"nearest is 0\.5\.0 \(missing: .*set_vt_batch"):
        install(url)
    assert snapshot(url) == before


@pytest.mark.parametrize("core", ["0.9.1", "latest", ""])
def test_an_unknown_core_is_refused_with_the_known_ones(core: str, database: Database) -> None:
    for act in (lambda: install(database(), core), lambda: script(core)):
        with pytest.raises(InstallRefused, match=r"known are 0\.5\.0, 0\.5\.3, 0\.6\.1, 0\.7\.3, "):
            act()


def test_a_failure_in_the_middle_leaves_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in sources.core_files(FILES[:7]):
        (tmp_path / file.name).write_text(file.text)
    broken = b"CREATE TABLE pgflow.last (a int); SELECT 1/0;"
    (tmp_path / FILES[6]).write_bytes(broken)
    known = pins.load()
    sums = {**known.core.files, FILES[6]: hashlib.sha256(broken).hexdigest()}
    changed = dataclasses.replace(known, core=dataclasses.replace(known.core, files=sums))
    monkeypatch.setattr(pins, "load", lambda: changed)
    url = database()
    before = snapshot(url)
    with pytest.raises(
        InstallRefused, match=f"{FILES[6]}: .*division by zero .*nothing was changed"
    ):
        install(url, source=tmp_path)
    assert snapshot(url) == before


def test_what_does_not_come_out_as_pinned_is_taken_back(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in sources.core_files(FILES[:7]):
        (tmp_path / file.name).write_text(file.text)
    longer = (tmp_path / FILES[6]).read_bytes() + b"CREATE TABLE pgflow.mine (a int);"
    (tmp_path / FILES[6]).write_bytes(longer)
    known = pins.load()
    sums = {**known.core.files, FILES[6]: hashlib.sha256(longer).hexdigest()}
    changed = dataclasses.replace(known, core=dataclasses.replace(known.core, files=sums))
    monkeypatch.setattr(pins, "load", lambda: changed)
    url = database()
    before = snapshot(url)
    with pytest.raises(
        InstallRefused, match=r"is not pgflow core 0\.5\.0.*extra: table pgflow\.mine"
    ):
        install(url, source=tmp_path)
    assert snapshot(url) == before


def test_a_user_without_rights_is_told_so(database: Database) -> None:
    url = database()
    rows(url, "DROP ROLE IF EXISTS visitor; CREATE ROLE visitor LOGIN PASSWORD 'open sesame'")
    before = snapshot(url)
    with pytest.raises(InstallRefused) as caught:
        install(make_conninfo(url, user="visitor", password="open sesame"))
    assert "the user 'visitor' must be allowed to create schemas" in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert snapshot(url) == before


def test_an_owner_who_is_no_superuser_may_install(database: Database) -> None:
    url = database(own=True)
    name = rows(url, "SELECT current_database()")[0][0]
    rows(url, "DROP ROLE IF EXISTS builder; CREATE ROLE builder LOGIN PASSWORD 'b'")
    rows(url, f"ALTER DATABASE {name} OWNER TO builder".encode())
    report = install(make_conninfo(url, user="builder", password="b"))
    assert report.changed
    rows(url, "REASSIGN OWNED BY builder TO postgres; DROP OWNED BY builder")


@pytest.mark.parametrize("where", ["nobody listens", "wrong password", "no database", "no URL"])
def test_no_connection_is_one_clear_line(where: str, server: EmbeddedPostgres) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    url, words = {
        "nobody listens": (
            f"postgresql://u:sesame@127.0.0.1:{closed}/app",
            [str(closed), "app"],
        ),
        "wrong password": (f"postgresql://postgres:sesame@127.0.0.1:{server.port}/app", ["failed"]),
        "no database": (server.url("nowhere"), ["nowhere", "does not exist"]),
        "no URL": ("postgresql:/u:sesame@host", []),
    }[where]
    with pytest.raises(DatabaseUnavailable) as caught:
        install(url)
    said = str(caught.value)
    assert "sesame" not in said
    assert "\n" not in said
    assert all(word in said for word in words)


def test_a_connection_that_breaks_is_no_refusal(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database()
    before = snapshot(url)
    with psycopg.connect(url, autocommit=True) as conn:
        (pid,) = conn.execute("SELECT pg_backend_pid()").fetchone() or (0,)

        def fetch_and_break(*_: object) -> tuple[sources.SqlFile, ...]:
            rows(url, "SELECT pg_terminate_backend(%s, 5000)", pid)
            return ()

        monkeypatch.setattr(sources, "core_files", fetch_and_break)
        with pytest.raises(DatabaseUnavailable, match="the connection broke"):
            install(conn)
    assert snapshot(url) == before


# Two at once


def test_two_at_once_agree(database: Database) -> None:
    url = database()
    reports: list[Report] = []
    threads = [threading.Thread(target=lambda: reports.append(install(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.changed for report in reports) == [False, False, False, True]
    assert len({dataclasses.replace(report, changed=True) for report in reports}) == 1


def test_the_second_waits_for_the_first_and_says_so(database: Database) -> None:
    url = database()
    said: list[str] = []
    second: list[Report] = []
    with psycopg.connect(url) as first:
        install(first)
        first.execute("SELECT 1")
    with psycopg.connect(database()) as first:
        url = first.info.dsn
        url = make_conninfo(url, password=first.info.password)
        first.execute("SELECT 1")  # a transaction of its own, so that it is held open
        assert install(first).changed
        thread = threading.Thread(target=lambda: second.append(install(url, say=said.append)))
        thread.start()
        wait_for(lambda: bool(said))
        assert said == ["waiting for another installer in this database"]
        assert not second
        first.commit()
        thread.join()
    assert [report.changed for report in second] == [False]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# pgmq as an extension


def pretend_extension(url: str, version: str) -> None:
    """Plain pgmq that the catalogs call an extension; no wheel of PostgreSQL ships the real one."""
    (pgmq,) = sources.pgmq_files()
    with connected(url) as conn:
        conn.execute(pgmq.text.encode())
        conn.execute("SET allow_system_table_mods = on")
        conn.execute(
            "INSERT INTO pg_extension SELECT 99999, 'pgmq', 10, oid, false, %s, NULL, NULL "
            "FROM pg_namespace WHERE nspname = 'pgmq'",
            [version],
        )


def test_an_extension_is_used_as_it_is(database: Database) -> None:
    url = database(own=True)
    pretend_extension(url, "1.5.1")
    rows(url, "CREATE FUNCTION pgmq.grown() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    report = install(url, "0.5.0")
    assert (report.pgmq, report.replaced) == ("1.5.1", BOTH)
    assert "pgmq 1.5.1 is the extension" in report.notes
    assert not install(url, "0.5.0").changed


def test_on_an_old_extension_the_core_keeps_its_functions(database: Database) -> None:
    url = database(own=True)
    pretend_extension(url, "1.4.4")
    rows(
        url,
        "ALTER TYPE pgmq.message_record DROP ATTRIBUTE headers, DROP ATTRIBUTE last_read_at",
    )
    report = install(url, "0.5.0")
    assert (report.pgmq, report.replaced) == ("1.4.4", ())
    with pytest.raises(InstallRefused, match=r"holds pgflow core 0\.5\.0"):
        install(url, "0.5.3")
    before = snapshot(url)
    rows(url, "ALTER TYPE pgmq.message_record ADD ATTRIBUTE headers jsonb")
    report = install(url, "0.5.0")
    assert not report.changed
    assert any("are the core's own and cannot return rows" in note for note in report.notes)
    assert snapshot(url) != before


def test_an_extension_that_is_too_old_for_the_core(database: Database) -> None:
    url = database(own=True)
    pretend_extension(url, "1.4.4")
    rows(url, "ALTER TYPE pgmq.message_record DROP ATTRIBUTE headers, DROP ATTRIBUTE last_read_at")
    with pytest.raises(InstallRefused, match=r"0\.8\.1 needs pgmq 1\.5 .* extension pgmq 1\.4\.4"):
        install(url, "0.8.1")


# The stand-in


def test_a_realtime_send_that_is_there_is_used(database: Database) -> None:
    url = database()
    rows(
        url,
        "CREATE SCHEMA realtime; CREATE FUNCTION realtime.send(payload jsonb, event text, "
        "topic text, private boolean DEFAULT true) RETURNS void LANGUAGE sql AS 'SELECT'",
    )
    report = install(url)
    assert report.stand_ins == ()
    assert rows(url, "SELECT to_regclass('realtime.messages_sent')") == [(None,)]


def test_a_lost_stand_in_is_told(database: Database) -> None:
    url = database("0.5.0")
    rows(url, "DROP FUNCTION realtime.send")
    report = install(url)
    assert not report.changed
    assert any("realtime.send is missing" in note for note in report.notes)


def test_the_objects_that_are_ours_say_so(database: Database) -> None:
    url = database("0.5.0")
    comments = rows(
        url,
        "SELECT obj_description(o::regprocedure) FROM unnest(ARRAY["
        "'realtime.send(jsonb,text,text,boolean)', 'pgflow.set_vt_batch(text,bigint[],integer[])',"
        "'pgflow.read_with_poll(text,integer,integer,integer,integer,jsonb)']) o",
    )
    assert all("pgflow-ref" in comment for (comment,) in comments)
