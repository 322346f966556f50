"""Both clients on a real PostgreSQL: runs start, and are looked at."""

from __future__ import annotations

import random
import string
import traceback
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, namedtuple_row, scalar_row
from psycopg.types.json import set_json_dumps, set_json_loads

from pgflow_ref import (
    CoreMissing,
    DatabaseUnavailable,
    Flow,
    FlowNotFound,
    InvalidFlow,
    NotJson,
    PgFlow,
    PgflowError,
    RunExists,
    RunFailed,
    RunNotFound,
    RunTimeout,
    TaskFailed,
)
from pgflow_ref.json_contract import encode
from tests.conftest import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Database, Working
    from tests.ways import Way

    Connection = psycopg.Connection[Any]

IDLE, IN_TRANSACTION = TransactionStatus.IDLE, TransactionStatus.INTRANS
SECRET = "s3cr3t"


def hello_flow() -> Flow:
    flow = Flow("hello")

    @flow.step()
    def greet(name: object, _ctx: object) -> str:
        return f"Hello, {name}!"

    return flow


@pytest.fixture
def hello(database: Database) -> Flow:
    """A flow that is in the database."""
    return database.add(hello_flow())


@pytest.fixture
def pgflow(database: Database, way: Way) -> Iterator[PgFlow]:
    with way.client(database.url) as pgflow:
        yield pgflow


def runs(database: Database) -> int:
    count: int = database.value("SELECT count(*) FROM pgflow.runs")
    return count


# Starting runs


def test_a_flow_or_its_slug_is_started(database: Database, pgflow: PgFlow, hello: Flow) -> None:
    ids = [pgflow.start_flow(hello, {"id": 7}), pgflow.start_flow("hello", {"id": 7})]
    assert len(set(ids)) == 2
    for run_id in ids:
        run = pgflow.get_run(run_id)
        assert (run.run_id, run.flow_slug, run.status) == (run_id, "hello", "started")
        assert (run.input, run.output, run.remaining_steps) == ({"id": 7}, None, 1)
        assert (run.completed_at, run.failed_at, run.step_states) == (None, None, ())
        assert run.started_at.tzinfo is not None
        assert not run.is_over
    assert database.value("SELECT count(*) FROM pgmq.q_hello") == 2


def test_an_input_keeps_what_it_is(pgflow: PgFlow, hello: Flow) -> None:
    values = [
        None,
        False,
        True,
        0,
        -1,
        2**63,
        10**5_000 + 1,
        0.1,
        1e-300,
        Decimal("0.1234567890123456789"),
        Decimal("-98765432109876543210.123456789"),
        "",
        "text with 'quotes', \"both\", \\ and\nlines, ü, 日本, 🐘",
        '{"json": "in a text"}',
        [],
        {},
        [None, [False, 0, "", [], {}]],
        {"": {"run": 1}, "a b": [Decimal("1.00000000000000000001")]},
    ]
    ids = [pgflow.start_flow(hello, value) for value in values]
    # encode, because False == 0 and 1 == 1.0
    assert [encode(pgflow.get_run(run_id).input) for run_id in ids] == list(map(encode, values))


def test_a_run_gets_the_id_that_is_asked_for_once(
    database: Database, pgflow: PgFlow, hello: Flow
) -> None:
    run_id = uuid4()
    assert pgflow.start_flow(hello, 1, run_id=run_id) == run_id
    with pytest.raises(RunExists, match=str(run_id)):
        pgflow.start_flow(hello, 2, run_id=run_id)
    assert pgflow.get_run(run_id).input == 1
    assert runs(database) == 1
    assert database.value("SELECT count(*) FROM pgmq.q_hello") == 1


def test_a_flow_that_is_not_there_is_not_found(database: Database, pgflow: PgFlow) -> None:
    with pytest.raises(FlowNotFound, match=r"'hello' is not in the database; .*pgflow-ref compile"):
        pgflow.start_flow(hello_flow(), {})
    assert runs(database) == 0


HOSTILE = {
    "empty": "",
    "quote": "hello'",
    "quotes": '"hello"; \'',
    "SQL": "hello'); DROP SCHEMA pgflow CASCADE; --",
    "percent": "%s%(flow_slug)s%%",
    "backslash": "\\'; \\",
    "other case": "HELLO",
    "spaces": " hello ",
    "lines": "hello\n",
    "not ASCII": "hëllo🐘",
    "longer than a queue's name": "x" * 128,
    "10,000 times the same": "x" * 10_000,
    "10,000 characters": "".join(random.Random(1).choices(string.ascii_letters, k=10_000)),
    "NUL": "hello\x00",
    "lone surrogate": "hello\ud800",
    "bytes": b"hello",
    "nothing": None,
    "number": 7,
}


@pytest.mark.usefixtures("hello")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_slug_starts_nothing(name: str, database: Database, pgflow: PgFlow) -> None:
    slug: Any = HOSTILE[name]
    with pytest.raises((FlowNotFound, InvalidFlow)) as caught:
        pgflow.start_flow(slug, {})
    assert len(str(caught.value)) < 1_000
    assert runs(database) == 0
    assert database.rows("SELECT flow_slug FROM pgflow.flows") == [("hello",)]


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "where"),
    [
        pytest.param({"price": [1, float("nan")]}, r"\$\.price\[1\]: NaN", id="NaN"),
        pytest.param({1, 2}, r"\$: set", id="set"),
        pytest.param({"a": b""}, r"\$\.a: bytes", id="bytes"),
        pytest.param({1: 2}, r"\$: a key is text", id="key"),
        pytest.param("a\x00b", r"\$: .*U\+0000", id="NUL"),
        pytest.param(deep(20_000), "nested deeper", id="deeper than the server reads"),
    ],
)
def test_an_input_that_cannot_be_stored_starts_nothing(
    value: object, where: str, database: Database, pgflow: PgFlow, hello: Flow
) -> None:
    with pytest.raises(NotJson, match=where):
        pgflow.start_flow(hello, value)
    assert runs(database) == 0


# Looking at runs


@pytest.mark.parametrize(
    "run_id",
    [
        UUID(int=9),
        str(UUID(int=9)),
        "",
        "no uuid",
        "'; --",
        "\x00",
        "\ud800",
        "9" * 10_000,
        None,
        7,
    ],
    ids=lambda run_id: ascii(run_id)[:16],
)
def test_a_run_that_is_not_there_is_not_found(run_id: Any, pgflow: PgFlow) -> None:
    for look in (pgflow.get_run, pgflow.get_run_with_states):
        with pytest.raises(RunNotFound) as caught:
            look(run_id)
        assert caught.value.run_id == run_id


def test_a_run_is_found_by_the_text_of_its_id(pgflow: PgFlow, hello: Flow) -> None:
    run_id = pgflow.start_flow(hello, 1)
    for text in (str(run_id), str(run_id).upper(), run_id.hex):
        assert pgflow.get_run(text).run_id == run_id


def test_states_come_in_the_order_of_the_flow(
    database: Database, pgflow: PgFlow, work: Callable[..., Working]
) -> None:
    flow = Flow("flow", base_delay=1, max_attempts=2)

    @flow.step()
    def zebra(_given: object, _ctx: object) -> int:
        return 1

    @flow.step(depends_on=[zebra])
    def apple(_given: object, ctx: Any) -> int:
        if ctx.attempt == 1:
            raise TaskFailed("not yet")
        return 2

    @flow.step(depends_on=[apple])
    def mango(_given: object, _ctx: object) -> int:
        raise TaskFailed("never")

    run_id = pgflow.start_flow(database.add(flow), {})
    before = pgflow.get_run_with_states(run_id)
    assert [
        (state.step_slug, state.status, state.remaining_deps, state.attempts)
        for state in before.step_states
    ] == [("zebra", "started", 0, 0), ("apple", "created", 1, 0), ("mango", "created", 1, 0)]
    assert [state.started_at is None for state in before.step_states] == [False, True, True]

    work(flow)
    after = database.finish(run_id)
    assert after.status == "failed"
    assert after.is_over
    assert [
        (state.step_slug, state.status, state.attempts, state.error_message)
        for state in after.step_states
    ] == [
        ("zebra", "completed", 1, None),
        ("apple", "completed", 2, "not yet"),
        ("mango", "failed", 2, "never"),
    ]
    assert [state.completed_at is None for state in after.step_states] == [False, False, True]
    assert [state.failed_at is None for state in after.step_states] == [True, True, False]
    assert after.failed_at is not None


# Starting a run and waiting for it


def test_a_completed_run_is_returned(
    pgflow: PgFlow, hello: Flow, work: Callable[..., Working]
) -> None:
    work(hello)
    run = pgflow.start_flow_sync(hello, "Ada", timeout=PATIENCE, poll_interval=0.01)
    assert (run.status, run.output) == ("completed", {"greet": "Hello, Ada!"})
    assert run.completed_at is not None
    assert [state.status for state in run.step_states] == ["completed"]


def test_a_failed_run_comes_with_the_error(
    database: Database, pgflow: PgFlow, work: Callable[..., Working]
) -> None:
    flow = Flow("flow", max_attempts=1)

    @flow.step()
    def pay(_given: object, _ctx: object) -> None:
        raise TaskFailed("card declined")

    work(database.add(flow))
    with pytest.raises(RunFailed, match=r"flow 'flow' failed: step 'pay': card declined") as caught:
        pgflow.start_flow_sync(flow, 1, timeout=PATIENCE, poll_interval=0.01)
    run = caught.value.run
    assert (run.status, run.input, run.output) == ("failed", 1, None)
    assert [state.error_message for state in run.step_states] == ["card declined"]


def test_a_run_that_takes_longer_goes_on(
    database: Database, pgflow: PgFlow, hello: Flow, work: Callable[..., Working]
) -> None:
    with pytest.raises(RunTimeout, match=r"not over after 0\.02 s; it goes on") as caught:
        pgflow.start_flow_sync(hello, "Ada", timeout=0.02, poll_interval=0.01)
    work(hello)
    assert database.finish(caught.value.run_id).status == "completed"


def test_without_time_to_wait_there_is_one_look(
    database: Database, pgflow: PgFlow, hello: Flow
) -> None:
    with pytest.raises(RunTimeout):
        pgflow.start_flow_sync(hello, 1, timeout=0)
    database.alter(
        "CREATE FUNCTION over() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.status := ''completed''; NEW.completed_at := now(); RETURN NEW; END'"
    )
    database.alter(
        "CREATE TRIGGER over BEFORE INSERT ON pgflow.runs FOR EACH ROW EXECUTE FUNCTION over()"
    )
    assert pgflow.start_flow_sync(hello, 1, timeout=0).status == "completed"


def test_no_run_is_waited_for_that_cannot_be_started(database: Database, pgflow: PgFlow) -> None:
    with pytest.raises(FlowNotFound):
        pgflow.start_flow_sync("hello", 1)
    with pytest.raises(NotJson):
        pgflow.start_flow_sync("hello", object())
    for wrong in ({"timeout": -1}, {"poll_interval": 0}):
        with pytest.raises(ValueError, match="timeout is at least 0"):
            pgflow.start_flow_sync("hello", 1, **wrong)
    assert runs(database) == 0


# On a connection of the caller's


@pytest.fixture
def mine(database: Database, way: Way) -> Iterator[Connection]:
    """A connection as psycopg opens it by default: what it does, it does when it commits."""
    with way.connect(database.url) as connection:
        yield connection
        connection.close()  # without a commit


def failing(pgflow: PgFlow, taken: UUID) -> dict[type[PgflowError], Callable[[], object]]:
    """Calls that are refused: by the library, and by the database."""
    return {
        NotJson: lambda: pgflow.start_flow("hello", {1, 2}),
        FlowNotFound: lambda: pgflow.start_flow("goodbye", 1),
        RunExists: lambda: pgflow.start_flow("hello", 1, run_id=taken),
        RunNotFound: lambda: pgflow.get_run(uuid4()),
    }


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_run_is_part_of_an_open_transaction(
    *, way: Way, autocommit: bool, database: Database, mine: Connection, hello: Flow
) -> None:
    mine.set_autocommit(autocommit)
    pgflow = way.client(mine)
    with mine.transaction(force_rollback=True):
        lost = pgflow.start_flow(hello, 1)
        assert pgflow.get_run(lost).input == 1  # there, for this transaction
        assert runs(database) == 0
    with pytest.raises(RunNotFound):
        pgflow.get_run(lost)
    mine.rollback()
    with mine.transaction():
        run_id = pgflow.start_flow(hello, 2)
        assert runs(database) == 0
    assert database.run(run_id).input == 2
    assert runs(database) == 1


def test_a_failing_call_leaves_an_open_transaction_as_it_was(
    way: Way, database: Database, mine: Connection, hello: Flow
) -> None:
    taken = database.start(hello)
    mine.execute("CREATE TEMP TABLE orders (id int)")
    mine.execute("INSERT INTO orders VALUES (7)")
    for error, call in failing(way.client(mine), taken).items():
        with pytest.raises(error):
            call()
        assert mine.info.transaction_status is IN_TRANSACTION
    run_id = way.client(mine).start_flow(hello, 1)
    mine.commit()
    assert mine.execute("SELECT id FROM orders").fetchall() == [(7,)]
    assert database.run(run_id).status == "started"


def test_a_run_on_an_idle_connection_starts_with_its_commit(
    way: Way, database: Database, mine: Connection, hello: Flow
) -> None:
    way.client(mine).start_flow(hello, 1)
    mine.rollback()
    run_id = way.client(mine).start_flow(hello, 2)
    assert mine.info.transaction_status is IN_TRANSACTION
    assert runs(database) == 0
    mine.commit()
    assert database.run(run_id).input == 2
    assert runs(database) == 1


def test_a_failing_call_leaves_an_idle_connection_usable(
    way: Way, database: Database, mine: Connection, hello: Flow
) -> None:
    taken = database.start(hello)
    for error, call in failing(way.client(mine), taken).items():
        with pytest.raises(error):
            call()
        assert mine.info.transaction_status in (IDLE, IN_TRANSACTION)
        assert mine.execute("SELECT 1").fetchone() == (1,)
        mine.rollback()


def test_a_failing_call_leaves_a_transaction_aborted_that_was(
    way: Way, mine: Connection, hello: Flow
) -> None:
    """Else the rest of what the caller does would be committed without its beginning."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        mine.execute("SELECT 1 / 0")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        way.client(mine).start_flow(hello, 1)
    assert mine.info.transaction_status is TransactionStatus.INERROR


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_lost_connection_is_said_to_be_lost(
    *, way: Way, autocommit: bool, database: Database, mine: Connection, hello: Flow
) -> None:
    mine.set_autocommit(autocommit)
    database.rows("SELECT pg_terminate_backend(%s, 10000)", mine.info.backend_pid)
    with pytest.raises(DatabaseUnavailable, match="cannot start a run: the connection is lost"):
        way.client(mine).start_flow(hello, 1)
    assert runs(database) == 0


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"row_factory": dict_row}, id="dict_row"),
        pytest.param({"row_factory": namedtuple_row}, id="namedtuple_row"),
        pytest.param({"row_factory": scalar_row}, id="scalar_row"),
        pytest.param({"cursor_factory": "client_cursor"}, id="ClientCursor"),
        pytest.param({"cursor_factory": "raw_cursor"}, id="RawCursor"),
    ],
)
def test_however_the_connection_reads_rows(
    way: Way, how: dict[str, Any], database: Database, hello: Flow
) -> None:
    how = {
        key: getattr(way, value) if isinstance(value, str) else value for key, value in how.items()
    }
    with way.connect(database.url, autocommit=True, **how) as connection:
        pgflow = way.client(connection)
        run_id = pgflow.start_flow(hello, {"id": 7})
        run = pgflow.get_run_with_states(run_id)
    assert (run.run_id, run.input) == (run_id, {"id": 7})
    assert [state.step_slug for state in run.step_states] == ["greet"]


def test_json_of_the_connection_does_not_matter(way: Way, mine: Connection, hello: Flow) -> None:
    set_json_loads(lambda text: f"<{text!r}>", way.raw(mine))
    set_json_dumps(lambda _: '"wrong"', way.raw(mine))
    pgflow = way.client(mine)
    assert pgflow.get_run(pgflow.start_flow(hello, {"id": 7})).input == {"id": 7}


def test_the_search_path_of_the_connection_does_not_matter(
    way: Way, mine: Connection, hello: Flow
) -> None:
    mine.execute("SET search_path = ''")
    pgflow = way.client(mine)
    assert pgflow.get_run_with_states(pgflow.start_flow(hello, 1)).input == 1


def test_the_connection_stays_open(way: Way, mine: Connection, hello: Flow) -> None:
    with way.client(mine) as pgflow:
        pgflow.start_flow(hello, 1)
    pgflow.close()
    assert not mine.closed
    mine.rollback()
    pgflow.start_flow(hello, 1)


# On a URL


def test_one_connection_is_opened_with_the_first_call_and_closed_at_the_end(
    way: Way, database: Database, hello: Flow
) -> None:
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgflow-ref'"
    with way.client(database.url) as pgflow:
        assert database.value(others) == 0
        pgflow.start_flow(hello, 1)
        pgflow.start_flow(hello, 1)
        assert database.value(others) == 1
    wait_until(lambda: database.value(others) == 0)
    pgflow.close()


def test_a_closed_client_can_go_on(way: Way, database: Database, hello: Flow) -> None:
    pgflow = way.client(database.url)
    pgflow.start_flow(hello, 1)
    pgflow.close()
    pgflow.start_flow(hello, 1)
    pgflow.close()
    assert runs(database) == 2


def test_a_client_recovers_from_a_lost_connection(
    database: Database, pgflow: PgFlow, hello: Flow
) -> None:
    run_id = pgflow.start_flow(hello, 1)
    database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'pgflow-ref'"
    )
    with pytest.raises(DatabaseUnavailable):
        pgflow.get_run(run_id)
    assert pgflow.get_run(run_id).input == 1


@pytest.mark.parametrize("prepare", [True, False])
@pytest.mark.parametrize("target", ["URL", "connection"])
def test_statements_are_prepared_unless_told_otherwise(
    *, prepare: bool, target: str, way: Way, database: Database, mine: Connection
) -> None:
    hello = database.add(hello_flow())
    with way.client(database.url if target == "URL" else mine, prepare=prepare) as pgflow:
        for _ in range(10):
            pgflow.start_flow(hello, 1)
        connection = way.own_connection(pgflow) if target == "URL" else mine
        prepared = connection.execute("SELECT count(*) FROM pg_prepared_statements")
        assert (prepared.fetchone() != (0,)) is prepare
        mine.commit()
    assert runs(database) == 10


# Where there is nothing


def unavailable(way: Way, url: str) -> DatabaseUnavailable:
    with way.client(url) as pgflow, pytest.raises(DatabaseUnavailable) as caught:
        pgflow.get_run(uuid4())
    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in said
    assert "\n" not in str(caught.value)
    return caught.value


def test_an_unreachable_server_is_unavailable(
    way: Way,
) -> None:
    error = unavailable(way, f"postgresql://u:{SECRET}@127.0.0.1:1/shop")
    assert str(error).startswith("no connection to database 'shop' at 127.0.0.1:1: ")


def test_a_wrong_password_is_not_repeated(way: Way, empty: str) -> None:
    error = unavailable(way, make_conninfo(empty, password=SECRET))
    assert 'password authentication failed for user "postgres"' in str(error)


def test_a_database_that_is_not_there_is_unavailable(way: Way, databases: Any) -> None:
    assert 'database "nowhere" does not exist' in str(unavailable(way, databases.url("nowhere")))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@h:no_port/d",
        f"postgresql://u:{SECRET}%zz@h/d",
        f"postgresql://u:{SECRET}@[::1/d",
        f"postgresql://u:{SECRET}@h/d?nonsense={SECRET}",
        f"postgresql://u:{SECRET}@h/d?connect_timeout={SECRET}",
        f"postgresql://u:{SECRET}@h/d?sslmode={SECRET}",
        f"mysql://u:{SECRET}@h/d",
        SECRET,
    ],
)
def test_a_malformed_url_is_not_repeated(way: Way, url: str) -> None:
    unavailable(way, url)


def test_a_database_without_a_core_says_what_to_do(way: Way, empty: str) -> None:
    with way.client(empty) as pgflow:
        looks: list[Callable[[], object]] = [
            lambda: pgflow.start_flow("hello", 1),
            lambda: pgflow.get_run(uuid4()),
            lambda: pgflow.get_run_with_states(uuid4()),
        ]
        for call in looks:
            with pytest.raises(CoreMissing, match="`pgflow-ref install URL` puts a pgflow core"):
                call()
