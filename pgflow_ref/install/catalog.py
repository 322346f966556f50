"""Read what the catalogs of a database hold: nothing is decided here, nothing is changed.

A fingerprint is one entry for each object of a schema. A function has a SHA-256 over its arguments,
result, language, properties, settings and body. A table or composite type has its columns in order
(name, type, not null), the names of its constraints, and a SHA-256 over what those constraints and
the defaults say. Left out on purpose: what differs between PostgreSQL majors (NOT NULL as a
constraint of its own) and what an owner may well add (indexes, triggers, policies, grants).
PostgreSQL 14 to 18 give the same fingerprint.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from psycopg.rows import tuple_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg import Connection
    from typing_extensions import LiteralString

    from pgflow_ref.install.pins import Item, Items

STAND_IN: Final = "stand-in of pgflow-ref"
"""How the comment on an object begins that we made in the place of a missing one."""

STOOD_IN_FOR: Final = {"pg_net": "net", "pg_cron": "cron", "supabase_vault": "vault"}
"""The extensions, each with its schema, that cores from 0.10 on want and a plain server lacks."""

_FUNCTIONS: Final = """
SELECT 'function ' || n.nspname || '.' || p.proname || '(' || coalesce((
           SELECT string_agg(format_type(a.type, NULL), ', ' ORDER BY a.place)
           FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place)), '') || ')',
       ARRAY[encode(sha256(convert_to(concat_ws(E'\\n',
           pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), l.lanname,
           p.provolatile, p.proisstrict, p.prosecdef, array_to_string(p.proconfig, E'\\n'),
           p.prosrc), 'UTF8')), 'hex')]
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname = %(schema)s
"""

_RELATIONS: Final = """
SELECT CASE c.relkind WHEN 'c' THEN 'type ' WHEN 'v' THEN 'view ' WHEN 'm' THEN 'view '
                      ELSE 'table ' END || n.nspname || '.' || c.relname,
       ARRAY(SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
                    || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
             FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY a.attnum)
       || ARRAY(SELECT 'constraint ' || r.conname || ' (' || r.contype::text || ')'
                FROM pg_constraint r
                WHERE r.conrelid = c.oid AND r.contype IN ('c', 'p', 'f', 'u')
                ORDER BY r.conname)
       || ARRAY['definitions ' || encode(sha256(convert_to(concat_ws(E'\\n',
                (SELECT string_agg(r.conname || ' ' || pg_get_constraintdef(r.oid), E'\\n'
                                   ORDER BY r.conname)
                 FROM pg_constraint r
                 WHERE r.conrelid = c.oid AND r.contype IN ('c', 'p', 'f', 'u')),
                (SELECT string_agg(a.attname || ' ' || pg_get_expr(d.adbin, d.adrelid), E'\\n'
                                   ORDER BY a.attnum)
                 FROM pg_attrdef d
                 JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                 WHERE d.adrelid = c.oid)), 'UTF8')), 'hex')]
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c')
UNION ALL
SELECT 'type ' || n.nspname || '.' || t.typname, ARRAY[]::text[]
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = %(schema)s AND t.typtype IN ('d', 'e', 'r')
"""

_EXTENSION: Final = """
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'pgmq'),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'pgmq')
"""

_MESSAGE_COLUMNS: Final = """
SELECT a.attname
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pgmq' AND c.relname = 'message_record' AND c.relkind = 'c'
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

_EXTENSIONS: Final = """
SELECT name FROM pg_available_extensions WHERE name = ANY(%(names)s)
"""

_COMMENTS: Final = """
SELECT n.nspname, coalesce(obj_description(n.oid, 'pg_namespace'), '')
FROM pg_namespace n
WHERE n.nspname = ANY(%(names)s)
"""

_OTHER_TABLES: Final = """
SELECT count(*)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_'
  AND n.nspname <> ALL(%(names)s || ARRAY['information_schema', 'realtime'])
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""

_REALTIME: Final = """
SELECT coalesce(obj_description(p.oid, 'pg_proc'), '')
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'realtime' AND p.proname = 'send'
  AND ARRAY(SELECT format_type(a.type, NULL)
            FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place)
            ORDER BY a.place) = ARRAY['jsonb', 'text', 'text', 'boolean']
"""


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the catalogs say, before anybody draws a conclusion.

    Attributes:
        server: the server's version as a number, such as 170010.
        core: the fingerprint of the schema `pgflow`; empty where it holds nothing.
        pgmq: the fingerprint of the schema `pgmq` without the queues' own tables.
        queues: how many tables of queues and archives there are.
        extension: the version of the extension pgmq in this database, or None.
        offered: the version of the extension pgmq that the server has to offer, or None.
        message_columns: the columns of `pgmq.message_record`.
        realtime: the comment on `realtime.send(jsonb, text, text, boolean)`, or None where there
            is no such function.
        comments: the comments on the schemas that matter, by schema; one that is not there is
            missing.
        extensions: those of the extensions which a core may want that the server has to offer.
        tables: how many tables there are beside all of this: somebody's data.
    """

    server: int
    core: Items
    pgmq: Items
    queues: int
    extension: str | None
    offered: str | None
    message_columns: tuple[str, ...]
    realtime: str | None
    comments: Mapping[str, str] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()
    tables: int = 0


def read(conn: Connection[Any]) -> Catalog:
    """Read the catalogs; the connection is left in the state in which it came."""
    # Names are written out in full wherever the search path does not lead to them, so it must be
    # the same for everybody; the rollback gives the caller's own one back.
    with conn.transaction(force_rollback=True):
        _set(conn, {"client_encoding": "UTF8", "search_path": ""})
        pgmq = _items(conn, "pgmq")
        queues = [key for key in pgmq if key.startswith(("table pgmq.q_", "table pgmq.a_"))]
        ((extension, offered),) = _rows(conn, _EXTENSION)
        comments = [comment for (comment,) in _rows(conn, _REALTIME)]
        schemas = ["pgflow", "pgmq", *STOOD_IN_FOR.values()]
        extensions = list(STOOD_IN_FOR)
        return Catalog(
            server=conn.info.server_version,
            core=_items(conn, "pgflow"),
            pgmq={key: value for key, value in pgmq.items() if key not in queues},
            queues=len(queues),
            extension=extension,
            offered=offered,
            message_columns=tuple(name for (name,) in _rows(conn, _MESSAGE_COLUMNS)),
            realtime=comments[0] if comments else None,
            comments=dict(_rows(conn, _COMMENTS, {"names": schemas})),
            extensions=tuple(name for (name,) in _rows(conn, _EXTENSIONS, {"names": extensions})),
            tables=int(_rows(conn, _OTHER_TABLES, {"names": schemas})[0][0]),
        )


@contextlib.contextmanager
def settings(conn: Connection[Any]) -> Iterator[None]:
    """The settings under which SQL is installed, inside a transaction; the caller's come back.

    An empty search path keeps objects of other schemas from being mistaken for the core's.
    """
    encoding = conn.info.parameter_status("client_encoding") or "UTF8"
    _set(conn, {"client_encoding": "UTF8"})  # first and last: in SQL_ASCII psycopg reads bytes
    wanted = {"search_path": "", "client_min_messages": "warning"}
    query: LiteralString = "SELECT current_setting(%(name)s)"
    before = {name: str(_rows(conn, query, {"name": name})[0][0]) for name in wanted}
    _set(conn, wanted)
    yield
    _set(conn, {**before, "client_encoding": encoding})  # after an error the rollback does it


def items_sql(schema: str) -> str:
    """A query for the fingerprint of a schema, key and item, for a script; the search path empty.

    Args:
        schema: `pgflow` or `pgmq`.
    """
    return f"{_FUNCTIONS}UNION ALL{_RELATIONS}".replace("%(schema)s", f"'{schema}'")


def _set(conn: Connection[Any], values: dict[str, str]) -> None:
    for name, value in values.items():
        _rows(conn, "SELECT set_config(%(name)s, %(value)s, true)", {"name": name, "value": value})


def _items(conn: Connection[Any], schema: str) -> dict[str, Item]:
    parameters = {"schema": schema}
    rows = [*_rows(conn, _FUNCTIONS, parameters), *_rows(conn, _RELATIONS, parameters)]
    return {key: tuple(value) for key, value in sorted(rows)}


def _rows(
    conn: Connection[Any],
    query: LiteralString,
    parameters: Mapping[str, str | list[str]] | None = None,
) -> Sequence[tuple[Any, ...]]:
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, parameters).fetchall()
