"""Read what a core put into a database: every object that a worker, a client or an operator meets.

The installer's fingerprints (`pgflow_ref.install.catalog`) say whether a core is one that is known.
A regression check has to say what is different, and of cores that nobody knows, so this reads
more: arguments by name, columns with their defaults, what constraints and indexes say, triggers,
policies and grants. Comments and owners are left out: nothing works or fails because of them.
Names are quoted where SQL needs it, so they can be put into a script.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from psycopg.rows import scalar_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection
    from typing_extensions import LiteralString

SCHEMAS: Final = ("pgflow", "pgmq")
"""The schemas that are compared, in pgmq without the tables of queues."""

# A function's arguments are those that a caller gives; what it gives back are its other ones, or
# the columns of the composite type, or one nameless value.
_FUNCTIONS: Final = """
SELECT jsonb_build_object(
    'name', quote_ident(n.nspname) || '.' || quote_ident(p.proname),
    'arguments', coalesce((
        SELECT jsonb_agg(jsonb_build_array(coalesce(quote_ident(nullif(a.name, '')), ''),
                                           format_type(a.type, NULL)) ORDER BY a.place)
        FROM unnest(p.proargtypes::oid[], p.proargnames) WITH ORDINALITY AS a (type, name, place)
        WHERE a.place <= p.pronargs), '[]'),
    'optional', p.pronargdefaults,
    'defaults', coalesce(pg_get_expr(p.proargdefaults, 0), ''),
    'result', coalesce(pg_get_function_result(p.oid), ''),
    'columns', coalesce((
        SELECT jsonb_agg(jsonb_build_array(quote_ident(a.name), format_type(a.type, NULL))
                         ORDER BY a.place)
        FROM unnest(p.proallargtypes, p.proargnames, p.proargmodes)
             WITH ORDINALITY AS a (type, name, mode, place)
        WHERE a.mode IN ('o', 'b', 't')), '[]'),
    'properties', concat_ws(', ',
        CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'w' THEN 'window function' END, l.lanname,
        CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
        CASE WHEN p.proisstrict THEN 'strict' END,
        CASE WHEN p.prosecdef THEN 'security definer' END,
        array_to_string(p.proconfig, ', ')),
    'body', encode(sha256(convert_to(coalesce(pg_get_function_sqlbody(p.oid), (
        SELECT concat_ws(' ', g.aggkind, g.aggtransfn, g.aggfinalfn, g.aggcombinefn,
                         format_type(g.aggtranstype, NULL), g.agginitval,
                         nullif(g.aggsortop, 0)::regoperator)
        FROM pg_aggregate g WHERE g.aggfnoid = p.oid), p.prosrc), 'UTF8')), 'hex'))
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname = ANY (%(schemas)s)
"""

_RELATIONS: Final = """
SELECT jsonb_build_object(
    'name', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    'kind', CASE c.relkind WHEN 'c' THEN 'type' WHEN 'v' THEN 'view' WHEN 'm' THEN 'view'
                           WHEN 'S' THEN 'sequence' ELSE 'table' END,
    'columns', coalesce((
        SELECT jsonb_object_agg(quote_ident(a.attname), jsonb_build_array(
                   format_type(a.atttypid, a.atttypmod), a.attnotnull,
                   coalesce(pg_get_expr(d.adbin, d.adrelid),
                            CASE a.attidentity WHEN 'a' THEN 'always an identity'
                                               WHEN 'd' THEN 'identity' END, '')
                   || CASE WHEN a.attgenerated <> '' THEN ' (generated)' ELSE '' END))
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '{}'),
    'order', ARRAY(
        SELECT quote_ident(a.attname) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
    'constraints', coalesce((
        SELECT jsonb_object_agg(r.conname, pg_get_constraintdef(r.oid))
        FROM pg_constraint r
        WHERE r.conrelid = c.oid AND r.contype IN ('c', 'p', 'f', 'u', 'x')), '{}'),
    'indexes', coalesce((
        SELECT jsonb_object_agg(x.relname, pg_get_indexdef(i.indexrelid))
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
        WHERE i.indrelid = c.oid
          AND NOT EXISTS (SELECT FROM pg_constraint r WHERE r.conindid = i.indexrelid
                                                        AND r.conrelid = c.oid)), '{}'),
    'triggers', coalesce((
        SELECT jsonb_object_agg(t.tgname, pg_get_triggerdef(t.oid) || CASE t.tgenabled
                   WHEN 'O' THEN '' WHEN 'D' THEN ' (disabled)' WHEN 'R' THEN ' (on a replica)'
                   ELSE ' (always)' END)
        FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal), '{}'),
    'policies', coalesce((
        SELECT jsonb_object_agg(p.polname, concat_ws(' ',
                   CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, 'for',
                   CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert'
                                 WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END,
                   'to', (SELECT string_agg(CASE r.id WHEN 0 THEN 'everybody'
                                                      ELSE pg_get_userbyid(r.id) END, ', '
                                            ORDER BY pg_get_userbyid(r.id))
                          FROM unnest(p.polroles) r (id)),
                   'using ' || pg_get_expr(p.polqual, c.oid),
                   'with check ' || pg_get_expr(p.polwithcheck, c.oid)))
        FROM pg_policy p WHERE p.polrelid = c.oid), '{}')
      || CASE WHEN c.relrowsecurity OR c.relforcerowsecurity
              THEN jsonb_build_object('row level security', concat_ws(', ',
                       CASE WHEN c.relrowsecurity THEN 'on' ELSE 'off' END,
                       CASE WHEN c.relforcerowsecurity THEN 'forced upon the owner too' END))
              ELSE '{}' END,
    'says', regexp_replace(concat_ws(', ',
        CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
        CASE c.relkind WHEN 'm' THEN 'materialized' WHEN 'f' THEN 'foreign' END,
        'partitioned by ' || pg_get_partkeydef(c.oid), array_to_string(c.reloptions, ', '),
        CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
        (SELECT format('%%s from %%s to %%s, starts with %%s, steps of %%s, cache %%s%%s',
                       format_type(q.seqtypid, NULL), q.seqmin, q.seqmax, q.seqstart,
                       q.seqincrement, q.seqcache, CASE WHEN q.seqcycle THEN ', cycles' END)
         FROM pg_sequence q WHERE q.seqrelid = c.oid)), '[[:space:]]+', ' ', 'g'))
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%(schemas)s) AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c', 'S')
  AND NOT (n.nspname = 'pgmq' AND c.relname ~ '^[qa]_')
"""

_TYPES: Final = """
SELECT jsonb_build_object(
    'name', quote_ident(n.nspname) || '.' || quote_ident(t.typname),
    'says', CASE t.typtype
        WHEN 'e' THEN 'enum ' || (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
                                  FROM pg_enum e WHERE e.enumtypid = t.oid)
        WHEN 'd' THEN 'domain over ' || format_type(t.typbasetype, t.typtypmod)
                      || coalesce((SELECT ' ' || string_agg(pg_get_constraintdef(r.oid), ' '
                                                            ORDER BY r.conname)
                                   FROM pg_constraint r WHERE r.contypid = t.oid), '')
        ELSE 'range' END)
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = ANY (%(schemas)s) AND t.typtype IN ('d', 'e', 'r')
"""

# Whoever owns an object may do everything with it; what counts is what others may.
_GRANTS: Final = """
WITH objects (name, acl, kind, owner) AS (
    SELECT 'schema ' || nspname, nspacl, 'n', nspowner FROM pg_namespace
    WHERE nspname = ANY (%(schemas)s)
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END
           || n.nspname || '.' || c.relname, c.relacl,
           CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END, c.relowner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (%(schemas)s) AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
      AND NOT (n.nspname = 'pgmq' AND c.relname ~ '^[qa]_')
    UNION ALL
    SELECT 'column ' || n.nspname || '.' || c.relname || '.' || a.attname, a.attacl, 'c', c.relowner
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (%(schemas)s) AND a.attacl IS NOT NULL
    UNION ALL
    SELECT 'function ' || n.nspname || '.' || p.proname || '(' || coalesce((
               SELECT string_agg(format_type(a.type, NULL), ', ' ORDER BY a.place)
               FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place)), '') || ')',
           p.proacl, 'f', p.proowner
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = ANY (%(schemas)s)
)
SELECT jsonb_build_array(o.name, g.privilege_type,
           CASE g.grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(g.grantee) END)
FROM objects o, aclexplode(coalesce(o.acl, acldefault(o.kind::"char", o.owner))) g
WHERE g.grantee <> o.owner
"""

_EXTENSIONS: Final = "SELECT jsonb_build_array(extname, extversion) FROM pg_extension"


@dataclass(frozen=True, slots=True)
class Function:
    """A function, procedure or aggregate.

    Attributes:
        name: with its schema.
        arguments: name and type of each that a caller may give.
        optional: how many of the last of these have a default.
        defaults: what the defaults say.
        result: the type that it gives back, as PostgreSQL writes it; empty for a procedure.
        columns: name and type of each column of a result that has columns of its own.
        properties: what kind it is, language, volatility, whose rights it runs with, settings.
        body: SHA-256 of it; for an aggregate, of what it is made of.
    """

    name: str
    arguments: tuple[tuple[str, str], ...]
    optional: int
    defaults: str
    result: str
    columns: tuple[tuple[str, str], ...]
    properties: str
    body: str

    @property
    def signature(self) -> str:
        """What tells it from others of its name, such as `pgflow.f(text, integer)`."""
        return f"{self.name}({', '.join(kind for _, kind in self.arguments)})"

    @property
    def is_aggregate(self) -> bool:
        """Whether it makes one value of many rows."""
        return self.properties.startswith("aggregate")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, view or composite type.

    Attributes:
        type: as PostgreSQL writes it.
        not_null: whether NULL is refused.
        default: an expression, or empty.
    """

    type: str
    not_null: bool
    default: str


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view, sequence or composite type.

    Attributes:
        name: with its schema.
        kind: `table`, `view`, `sequence` or `type`.
        columns: by name, in order.
        constraints: what each says, by name.
        indexes: those that no constraint has made.
        triggers: those that no constraint has made.
        policies: of row level security, for whom each is, and whether it is on and forced.
        says: what else it is: a view's query, a sequence's limits, a table's options.
    """

    name: str
    kind: str
    columns: Mapping[str, Column]
    constraints: Mapping[str, str]
    indexes: Mapping[str, str]
    triggers: Mapping[str, str]
    policies: Mapping[str, str]
    says: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All objects of the schemas.

    Attributes:
        functions: by signature.
        relations: by name.
        types: enums, domains and ranges, what they say by name.
        grants: object, privilege and to whom, without those of the owner.
        extensions: versions by name.
    """

    functions: Mapping[str, Function]
    relations: Mapping[str, Relation]
    types: Mapping[str, str] = field(default_factory=dict)
    grants: frozenset[tuple[str, str, str]] = frozenset()
    extensions: Mapping[str, str] = field(default_factory=dict)


def read(connection: Connection[Any]) -> Catalog:
    """Read the catalogs; nothing is changed, and no transaction of the caller's is ended."""
    with connection.transaction(force_rollback=True):
        # With an empty search path every name is written in full, whoever asks.
        connection.execute("SELECT set_config('search_path', '', true)")
        functions = [_function(row) for row in _rows(connection, _FUNCTIONS)]
        relations = [_relation(row) for row in _rows(connection, _RELATIONS)]
        return Catalog(
            functions={one.signature: one for one in functions},
            relations={one.name: one for one in relations},
            types={row["name"]: row["says"] for row in _rows(connection, _TYPES)},
            grants=frozenset(tuple(row) for row in _rows(connection, _GRANTS)),
            extensions=dict(_rows(connection, _EXTENSIONS)),
        )


def _rows(connection: Connection[Any], query: LiteralString) -> list[Any]:
    with connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query, {"schemas": list(SCHEMAS)}).fetchall()


def _function(row: dict[str, Any]) -> Function:
    return Function(
        **{
            **row,
            "arguments": tuple((name, kind) for name, kind in row["arguments"]),
            "columns": tuple((name, kind) for name, kind in row["columns"]),
        }
    )


def _relation(row: dict[str, Any]) -> Relation:
    columns = {name: Column(*row["columns"][name]) for name in row.pop("order")}
    return Relation(**{**row, "columns": columns})
