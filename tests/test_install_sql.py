"""What the installed SQL does on a real PostgreSQL: the functions that are ours, and whole runs."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from pgflow_ref.embedded import EmbeddedPostgres
from pgflow_ref.install import install, known_cores, pins, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Database = Callable[[str], str]

CORES = known_cores()
FILES = list(pins.load().core.files)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """Make databases that hold a core, and answer their URLs."""
    with EmbeddedPostgres() as server:

        def make(core: str) -> str:
            name = f"d_{secrets.token_hex(6)}"
            with connected(server.url()) as admin:
                admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            install(server.url(name), core)
            return server.url(name)

        yield make


@contextlib.contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


@pytest.fixture(scope="module")
def old_core(database: Database) -> str:
    return database("0.5.0")


@pytest.fixture
def queue(old_core: str) -> Iterator[psycopg.Connection[Any]]:
    """A core 0.5.0 with an empty queue `Work`."""
    with connected(old_core) as conn:
        conn.execute("SELECT pgmq.create('Work')")
        yield conn
        conn.execute("SELECT pgmq.drop_queue('Work')")


def send(conn: psycopg.Connection[Any], *messages: object) -> list[int]:
    query = "SELECT pgmq.send('Work', %s::jsonb)"
    return [(conn.execute(query, [json.dumps(m)]).fetchone() or (0,))[0] for m in messages]


def poll(conn: psycopg.Connection[Any], *values: object) -> list[dict[str, Any]]:
    marks = ", ".join(["%s"] * len(values))
    query = f"SELECT * FROM pgflow.read_with_poll('Work', {marks})"
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), values).fetchall()


def test_polling_returns_hides_and_counts(queue: psycopg.Connection[Any]) -> None:
    ids = send(queue, {"n": 1}, {"n": 2}, {"n": 3})
    (now,) = queue.execute("SELECT clock_timestamp()").fetchone() or (None,)
    read = poll(queue, 30, 2)
    assert sorted(message["msg_id"] for message in read) == ids[:2]
    assert {message["read_ct"] for message in read} == {1}
    assert [message["message"] for message in read] == [{"n": 1}, {"n": 2}]
    assert all(29 < (message["vt"] - now).total_seconds() < 32 for message in read)
    assert [message["msg_id"] for message in poll(queue, 0, 10)] == ids[2:]
    assert [(m["msg_id"], m["read_ct"]) for m in poll(queue, 0, 10)] == [(ids[2], 2)]


def test_polling_takes_what_contains_the_condition(queue: psycopg.Connection[Any]) -> None:
    ids = send(queue, {"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 1, "c": 3}})
    read = poll(queue, 30, 10, 1, 10, '{"a": {"b": 1}}')
    assert sorted(message["msg_id"] for message in read) == [ids[0], ids[2]]
    assert [message["msg_id"] for message in poll(queue, 30, 10, 1, 10, "{}")] == [ids[1]]


def test_polling_passes_over_what_another_holds(queue: psycopg.Connection[Any]) -> None:
    ids = send(queue, 1, 2)
    with psycopg.connect(make_conninfo(queue.info.dsn, password=queue.info.password)) as other:
        other.execute("SELECT * FROM pgmq.q_work WHERE msg_id = %s FOR UPDATE", [ids[0]])
        assert [message["msg_id"] for message in poll(queue, 30, 10)] == ids[1:]


def test_polling_waits_for_what_comes(queue: psycopg.Connection[Any]) -> None:
    url = make_conninfo(queue.info.dsn, password=queue.info.password)
    with psycopg.connect(url, autocommit=True) as other:
        timer = threading.Timer(0.2, send, [other, {"late": True}])
        timer.start()
        assert [message["message"] for message in poll(queue, 1, 1, 5, 10)] == [{"late": True}]
        timer.join()


def test_polling_gives_up_in_time(queue: psycopg.Connection[Any]) -> None:
    start = time.monotonic()
    assert poll(queue, 1, 1, 1, 50) == []
    assert 0.9 < time.monotonic() - start < 3
    start = time.monotonic()
    send(queue, 1)
    assert poll(queue, 1, 1, 0, 50) == []  # no time at all: it does not even look
    assert time.monotonic() - start < 0.5


def set_vt(conn: psycopg.Connection[Any], *values: object) -> list[dict[str, Any]]:
    query = "SELECT * FROM pgflow.set_vt_batch('Work', %s::bigint[], %s::int[])"
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, values).fetchall()


def test_visibility_moves_for_many_at_once(queue: psycopg.Connection[Any]) -> None:
    first, second, third = send(queue, 1, 2, 3)
    (now,) = queue.execute("SELECT clock_timestamp()").fetchone() or (None,)
    moved = set_vt(queue, [second, first, 4711], [100, 50, 1])
    after = {m["msg_id"]: round((m["vt"] - now).total_seconds()) for m in moved}
    assert after == {first: 50, second: 100}
    assert {message["read_ct"] for message in moved} == {0}
    assert [message["msg_id"] for message in poll(queue, 1, 9)] == [third]
    set_vt(queue, [first], [-1])
    assert [message["msg_id"] for message in poll(queue, 1, 9)] == [first]


ODD_CALLS = [
    "set_vt_batch('w', '{1,2,9}', '{5,6,7}')",
    "set_vt_batch('w', '{1,1}', '{5,6}')",
    "set_vt_batch('w', '{1}', '{NULL}')",
    "set_vt_batch('w', '{}', '{}')",
    "set_vt_batch('w', '{}', '{1}')",
    "set_vt_batch('w', '{1}', '{}')",
    "set_vt_batch('w', NULL, '{1}')",
    "set_vt_batch('w', '{1}', NULL)",
    "set_vt_batch('w', '{1,2}', '{1}')",
    "set_vt_batch('none', '{1}', '{1}')",
    "set_vt_batch('none', '{}', '{}')",
    "set_vt_batch('a;b', NULL, NULL)",
    "set_vt_batch(NULL, '{1}', '{1}')",
    "set_vt_batch('W', '{NULL,2}', '{1,-5}')",
    "set_vt_batch('w', '{{1,2},{3,4}}', '{{-1,-2},{-3,-4}}')",
    "read_with_poll('w', -5, 2)",
    "read_with_poll('W', -5, NULL, conditional => NULL)",
    "read_with_poll('w', -5, 9, conditional => '{\"n\": 2}')",
    "read_with_poll('w', NULL, 1)",
    "read_with_poll('w', 1, -1)",
    "read_with_poll('w', 1, 9, 0)",
    "read_with_poll('w', 1, 9, -1)",
    "read_with_poll('none', 1, 9)",
    "read_with_poll('a;b', 1, 9)",
    "read_with_poll('w', 9, 9)",
]


def test_ours_do_what_the_originals_do_on_their_pgmq(database: Database) -> None:
    """The originals are made to work: the record of messages loses the columns they do not know."""
    seen = []
    for core, originals in (("0.5.0", True), ("0.5.0", False)):
        with connected(database(core)) as conn:
            if originals:
                conn.execute(
                    "ALTER TYPE pgmq.message_record "
                    "DROP ATTRIBUTE headers CASCADE, DROP ATTRIBUTE last_read_at CASCADE"
                )
                for name in ("read_with_poll", "set_vt_batch"):
                    conn.execute(original(name).encode())
            conn.execute("SELECT pgmq.create('w')")
            query = "SELECT pgmq.send('w', jsonb_build_object('n', n)) FROM generate_series(1, 4) n"
            conn.execute(query)
            seen.append([answer(conn, call) for call in ODD_CALLS])
    assert [row[0] for row in seen[0][0]] == [1, 2]  # they do work
    assert seen[0] == seen[1]


def original(name: str) -> str:
    """The statement of the migrations that makes a function, and the setting it gets later."""
    files = "".join(file.text for file in sources.core_files(FILES[:7]))
    start = files.index(f'CREATE FUNCTION "pgflow"."{name}"')
    created = files[start : files.index("$$;", start) + 3].replace("CREATE", "CREATE OR REPLACE", 1)
    later = f'ALTER FUNCTION "pgflow"."{name}" SET "search_path" = \'\';'
    return created + (later if later in files else "")


def answer(conn: psycopg.Connection[Any], call: str) -> list[Any]:
    """What a call returns, in an order of its own and with the clock taken out; or its error."""
    columns = "msg_id, read_ct, round(extract(epoch FROM vt - clock_timestamp())), message"
    try:
        rows = conn.execute(f"SELECT {columns} FROM pgflow.{call}".encode()).fetchall()
    except psycopg.Error as error:
        return [error.sqlstate, error.diag.message_primary]
    return sorted(rows)


# All of it together


@pytest.mark.parametrize("core", CORES)
def test_a_chain_of_steps_runs_to_its_end(core: str, database: Database) -> None:
    with connected(database(core)) as conn:
        for statement in (
            "SELECT pgflow.create_flow('chain', timeout => 60)",
            "SELECT pgflow.add_step('chain', 'first')",
            "SELECT pgflow.add_step('chain', 'second', ARRAY['first'])",
            "SELECT pgflow.add_step('chain', 'third', ARRAY['first', 'second'])",
            "INSERT INTO pgflow.workers SELECT gen_random_uuid(), 'chain', 'test'",
        ):
            conn.execute(statement.encode())
        ((run,),) = conn.execute("SELECT run_id FROM pgflow.start_flow('chain', '{}')").fetchall()
        for step in ("first", "second", "third"):
            (message,) = conn.execute("SELECT msg_id, vt FROM pgmq.read('chain', 30, 9)").fetchall()
            tasks = conn.execute(
                "SELECT t.step_slug, t.msg_id FROM pgflow.workers w, "
                "pgflow.start_tasks('chain', ARRAY[%s], w.worker_id) t",
                message[:1],
            ).fetchall()
            assert tasks == [(step, message[0])]
            # B1: the visibility stays the reader's, whatever set_vt_batch could do.
            hidden = conn.execute("SELECT vt FROM pgmq.q_chain").fetchall()
            assert hidden == [(message[1],)]
            query = "SELECT pgflow.complete_task(%s, %s, 0, to_jsonb(%s::text))"
            conn.execute(query, [run, step, f"done {step}"])
        query = "SELECT status, output, remaining_steps FROM pgflow.runs"
        assert conn.execute(query).fetchall() == [("completed", {"third": "done third"}, 0)]

        query = "SELECT topic, event, payload->>'run_id' FROM realtime.messages_sent ORDER BY id"
        sent = conn.execute(query).fetchall()
    assert {(topic, run_id) for topic, _, run_id in sent} == {(f"pgflow:run:{run}", str(run))}
    steps = ("first", "second", "third")
    expected = ["run:started", *(f"step:{step}:completed" for step in steps), "run:completed"]
    if core in ("0.7.3", "0.8.1"):
        expected += [f"step:{step}:started" for step in steps]
    assert sorted(event for _, event, _ in sent) == sorted(expected)
