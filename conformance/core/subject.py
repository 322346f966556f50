"""The database under test: a real core whose clock, sleep and chance are the test's.

The core's functions are the installed ones, untouched. What they ask PostgreSQL for, `now()`,
`clock_timestamp()`, `pg_sleep()` and `gen_random_uuid()`, is replaced in this one database, before
the core is installed, by functions that read settings. So an hour passes without waiting, and every
time in every row can be compared.

All calls of one example run inside one transaction, each in a subtransaction, and are rolled back
together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import sql

from conformance.core.compare import KEYS
from conformance.core.statements import statement
from conformance.harness import cores
from pgflow_ref.json_contract import decode
from pgflow_ref.model.rows import datetime_of
from pgflow_ref.model.state import TICK, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.harness.databases import Cluster
    from pgflow_ref.json_contract import Json
    from pgflow_ref.model import Profile, State
    from pgflow_ref.model.calls import Call

_SETTINGS: Final = {
    "pgflow_ref.now": "2026-01-01 00:00:00+00",
    "pgflow_ref.clock": "2026-01-01 00:00:00+00",
    "pgflow_ref.uuid": "00000000-0000-0000-0000-000000000000",
    "timezone": "UTC",
    "jit": "off",
    # Steps that start together get their messages in the order that the plan happens to have. SQL
    # promises none; without hash joins it is that of the steps' slugs, as in the model. (Merge
    # joins stay: without those too, 0.7.3 and 0.8.1 send n * n messages for a map of n tasks.)
    "enable_hashjoin": "off",
}

# A built-in function is called by its number, so it cannot be replaced, only moved out of the way.
_VIRTUAL: Final = """
ALTER FUNCTION pg_catalog.now() RENAME TO now_of_the_server;
ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO clock_timestamp_of_the_server;
ALTER FUNCTION pg_catalog.pg_sleep(double precision) RENAME TO pg_sleep_of_the_server;
ALTER FUNCTION pg_catalog.gen_random_uuid() RENAME TO gen_random_uuid_of_the_server;

CREATE FUNCTION pg_catalog.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT current_setting('pgflow_ref.now')::timestamptz $$;
CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS $$ SELECT current_setting('pgflow_ref.clock')::timestamptz $$;
CREATE FUNCTION pg_catalog.gen_random_uuid() RETURNS uuid LANGUAGE sql VOLATILE
    AS $$ SELECT current_setting('pgflow_ref.uuid')::uuid $$;

-- Who does not sleep still sees time go by, as on a real server; here, in steps that end soon.
CREATE FUNCTION pg_catalog.pg_sleep(seconds double precision) RETURNS void LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM set_config('pgflow_ref.clock', (clock_timestamp()
        + CASE WHEN seconds > 0 THEN make_interval(secs => seconds)
               ELSE interval '100 milliseconds' END)::text, false);
END;
$$;
"""

_DRIVER: Final = """
CREATE SCHEMA differential;

-- One call and everything that can be seen after it, in one round trip.
CREATE FUNCTION differential.call(call text, at text, clock text, uuid text) RETURNS text
LANGUAGE plpgsql AS $driver$
DECLARE
    rows jsonb;
    code text := '';
    broken text := '';
    said text := '';
BEGIN
    PERFORM set_config('pgflow_ref.now', at, false), set_config('pgflow_ref.clock', clock, false),
            set_config('pgflow_ref.uuid', uuid, false);
    IF call <> '' THEN
        BEGIN
            EXECUTE 'WITH r AS MATERIALIZED (' || rtrim(call, ';')
                || ') SELECT coalesce(jsonb_agg(to_jsonb(r)), ''[]'') FROM r' INTO rows;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, broken = CONSTRAINT_NAME,
                said = MESSAGE_TEXT;
        END;
    END IF;
    RETURN json_build_object('rows', rows, 'code', code, 'broken', broken, 'said', said,
        'events', differential.events(), 'tables', differential.tables(),
        'queues', differential.queues());
END;
$driver$;

CREATE FUNCTION differential.events() RETURNS json LANGUAGE plpgsql AS $driver$
DECLARE
    sent json;
BEGIN
    SELECT json_agg(json_build_object('event', event, 'topic', topic, 'payload', payload,
                                      'private', private) ORDER BY id)
    INTO sent FROM realtime.messages_sent;
    DELETE FROM realtime.messages_sent;
    RETURN sent;
END;
$driver$;

CREATE FUNCTION differential.queues() RETURNS json LANGUAGE plpgsql AS $driver$
DECLARE
    found jsonb := '{}';
    queue name;
    rows jsonb;
BEGIN
    FOR queue IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'pgmq'::regnamespace AND relkind = 'r' AND relname ~ '^[qa]_'
    LOOP
        EXECUTE format('SELECT jsonb_agg(to_jsonb(m) ORDER BY msg_id) FROM pgmq.%I m', queue)
        INTO rows;
        found := found || jsonb_build_object(queue, coalesce(rows, '[]'));
    END LOOP;
    RETURN found || jsonb_build_object('meta',
        (SELECT coalesce(jsonb_agg(queue_name ORDER BY queue_name), '[]') FROM pgmq.meta));
END;
$driver$;
"""


_RESETS: Final = 20  # until the tables are emptied


class Seen(NamedTuple):
    """What the database did.

    Attributes:
        rows: what the call gave back, each row as a mapping.
        refusal: why it was refused, or None.
        said: the words of the refusal.
        events: what was sent, in order.
        tables: the rows of each table of schema `pgflow`.
        queues: the rows of each table of a queue, and in `meta` the names of the queues.
    """

    rows: list[Any]
    refusal: Refusal | None
    said: str
    events: list[Any]
    tables: Mapping[str, list[Any]]
    queues: Mapping[str, list[Any]]


class Subject:
    """A database that holds a core.

    Args:
        connection: to a database that `create` made; not in a transaction.
        profile: the core's version.
    """

    def __init__(self, connection: psycopg.Connection[Any], profile: Profile) -> None:
        self.connection = connection
        self.profile = profile
        self._resets = 0

    def reset(self) -> None:
        """Begin again with nothing but the core.

        What was rolled back still fills the tables. In time that would change PostgreSQL's plans,
        and with them the order of what SQL gives in no order; so they are emptied now and then.
        """
        self.connection.rollback()
        self._resets += 1
        if self._resets % _RESETS == 0:
            self.connection.execute("SELECT differential.empty()")
            self.connection.commit()

    def call(self, call: Call, state: State) -> Seen:
        """Make a call.

        Args:
            call: the call.
            state: the model's state before it, which says what time it is.
        """
        text = statement(call, self.profile)
        at, clock = datetime_of(state.clock), datetime_of(state.clock + TICK)
        row = self.connection.execute(
            "SELECT differential.call(%s, %s, %s, %s)",
            (text, at.isoformat(), clock.isoformat(), str(state.next_run_id)),
        ).fetchone()
        assert row is not None
        return _seen(decode(row[0]))


def _seen(answer: Json) -> Seen:
    assert isinstance(answer, dict)
    code, broken = answer["code"], answer["broken"]
    return Seen(
        answer["rows"] or [],  # type: ignore[arg-type]
        Refusal(str(code), str(broken)) if code else None,
        str(answer["said"]),
        answer["events"] or [],  # type: ignore[arg-type]
        answer["tables"],  # type: ignore[arg-type]
        answer["queues"],  # type: ignore[arg-type]
    )


def create(
    cluster: Cluster,
    name: str,
    profile: Profile,
    patch: str | None = None,
    core: tuple[str, str | None] | None = None,
) -> None:
    """Make a database with a core and a clock of its own.

    Args:
        cluster: the server; its user must be a superuser.
        name: the database.
        profile: what the core is compared with.
        patch: SQL to run after the core's own.
        core: the version or path of the core, and of pgmq; by default those of the profile.
    """
    cluster.create(name)
    with cluster.connect(name) as connection:
        for setting, value in _SETTINGS.items():
            parts = sql.SQL(".").join(map(sql.Identifier, setting.split(".")))
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(name), parts, sql.Literal(value)
                )
            )
    with cluster.connect(name) as connection:
        connection.execute(_VIRTUAL)
    cores.put(cluster.url_of(name), *(core or (profile.core, None)))
    with cluster.connect(name) as connection:
        connection.execute(_DRIVER)
        connection.execute(_functions_of_tables(profile))
        if patch:
            connection.execute(patch.encode())


def _shown(column: str) -> sql.Composable:
    """A column; a jsonb in an array of one, so that NULL and JSON's null differ."""
    name = sql.Identifier(column)
    if column not in ("input", "output"):
        return name
    return sql.SQL("CASE WHEN {} IS NOT NULL THEN jsonb_build_array({}) END AS {}").format(
        name, name, name
    )


def _functions_of_tables(profile: Profile) -> sql.Composed:
    """`differential.tables()`, all rows with the columns of the profile, and `empty()`."""
    parts = [
        sql.SQL(
            "{name}, (SELECT coalesce(json_agg(r), '[]') FROM"
            " (SELECT {columns} FROM {table} ORDER BY {key}) r)"
        ).format(
            name=sql.Literal(table),
            columns=sql.SQL(", ").join(map(_shown, profile.columns[table])),
            table=sql.Identifier("pgflow", table),
            key=sql.SQL(", ").join(map(sql.Identifier, key)),
        )
        for table, key in KEYS.items()
    ]
    body = sql.SQL("BEGIN RETURN json_build_object({}); END").format(sql.SQL(", ").join(parts))
    names = sql.SQL(", ").join(sql.Identifier("pgflow", table) for table in KEYS)
    truncate = sql.SQL("TRUNCATE {}, realtime.messages_sent").format(names)
    made = [
        sql.SQL("CREATE FUNCTION differential.tables() RETURNS json LANGUAGE plpgsql AS {}").format(
            sql.Literal(body.as_string(None))
        ),
        sql.SQL("CREATE FUNCTION differential.empty() RETURNS void LANGUAGE sql AS {}").format(
            sql.Literal(truncate.as_string(None))
        ),
        *(
            sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)").format(
                sql.Identifier("pgflow", table)
            )
            for table in KEYS
        ),
    ]
    return sql.SQL("; ").join(made)
