"""SQL that shows what the catalogs say of an object: run it on both cores, and it answers twice.

Nothing is changed by it, and what is not there is NULL, or no row, rather than a mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from psycopg.sql import SQL, Literal

if TYPE_CHECKING:
    from typing_extensions import LiteralString

    from conformance.regress.catalogs import Function, Relation

RLS: Final = "row level security"
"""What a table's own switches are listed as, among its policies."""

_FUNCTION: Final = "SELECT pg_get_functiondef(to_regprocedure({}));"
_AGGREGATE: Final = """\
SELECT aggtransfn, aggfinalfn, format_type(aggtranstype, NULL), agginitval
FROM pg_aggregate WHERE aggfnoid = to_regprocedure({});"""
_THERE: Final = """\
SELECT relkind FROM pg_class WHERE oid = to_regclass({});"""
_COLUMN: Final = """\
SELECT format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
       pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
WHERE a.attrelid = to_regclass({}) AND quote_ident(a.attname) = {};"""
_ORDER: Final = """\
SELECT attname FROM pg_attribute
WHERE attrelid = to_regclass({}) AND attnum > 0 AND NOT attisdropped ORDER BY attnum;"""
_SAYS: Final[dict[str, LiteralString]] = {
    "view": "SELECT reloptions, pg_get_viewdef(oid) FROM pg_class WHERE oid = to_regclass({});",
    "sequence": """\
SELECT format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle
FROM pg_sequence WHERE seqrelid = to_regclass({});""",
    "table": """\
SELECT relpersistence, reloptions, pg_get_partkeydef(oid)
FROM pg_class WHERE oid = to_regclass({});""",
}
_PARTS: Final[dict[str, LiteralString]] = {
    "constraint": """\
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = to_regclass({}) AND conname = {};""",
    "index": """\
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass({}) AND c.relname = {};""",
    "trigger": """\
SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger
WHERE tgrelid = to_regclass({}) AND tgname = {};""",
    "policy": """\
SELECT permissive, roles, cmd, qual, with_check FROM pg_policies
WHERE format('%I.%I', schemaname, tablename) = {} AND policyname = {};""",
}
_RLS: Final = """\
SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = to_regclass({});"""
_NAMED: Final[dict[str, LiteralString]] = {
    "type": """\
SELECT typtype, format_type(typbasetype, typtypmod),
       ARRAY(SELECT enumlabel FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder),
       ARRAY(SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contypid = t.oid ORDER BY 1)
FROM pg_type t WHERE oid = to_regtype({});""",
    "extension": "SELECT extversion FROM pg_extension WHERE extname = {};",
}
_RIGHTS: Final[dict[str, LiteralString]] = {
    "schema": "SELECT nspacl FROM pg_namespace WHERE nspname = {};",
    "table": "SELECT relacl FROM pg_class WHERE oid = to_regclass({});",
    "sequence": "SELECT relacl FROM pg_class WHERE oid = to_regclass({});",
    "function": "SELECT proacl FROM pg_proc WHERE oid = to_regprocedure({});",
    "column": """\
SELECT attacl FROM pg_attribute WHERE attrelid = to_regclass({}) AND attname = {};""",
}
_COMMENT: Final = """\
SELECT oid::regprocedure, obj_description(oid, 'pg_proc')
FROM pg_proc WHERE oid = to_regproc({});"""


def function(one: Function) -> str:
    """The whole of a function or aggregate.

    Example:
        >>> from conformance.regress.catalogs import Function
        >>> function(Function("s.f", (("a", "text"),), 0, "", "void", (), "sql", ""))
        "SELECT pg_get_functiondef(to_regprocedure('s.f(text)'));"
    """
    return _filled(_AGGREGATE if one.is_aggregate else _FUNCTION, one.signature)


def there(name: str) -> str:
    """Whether a table, view, sequence or composite type is there, and which of them it is."""
    return _filled(_THERE, name)


def column(relation: str, name: str) -> str:
    """What a column is."""
    return _filled(_COLUMN, relation, name)


def order(relation: str) -> str:
    """The columns in their order."""
    return _filled(_ORDER, relation)


def says(relation: Relation) -> str:
    """What a table, view or sequence is beside its columns."""
    return _filled(_SAYS.get(relation.kind, _THERE), relation.name)


def part(word: str, relation: str, name: str) -> str:
    """A constraint, index, trigger or policy of a table."""
    if (word, name) == ("policy", RLS):
        return _filled(_RLS, relation)
    return _filled(_PARTS[word], relation, name)


def named(word: str, name: str) -> str:
    """A type or an extension."""
    return _filled(_NAMED[word], name)


def rights(thing: str) -> str:
    """Who may do what with an object, which is called as in a catalog's `grants`.

    Example:
        >>> rights("column pgflow.flows.flow_slug")  # doctest: +ELLIPSIS
        "SELECT attacl ... to_regclass('pgflow.flows') AND attname = 'flow_slug';"
    """
    word, _, name = thing.partition(" ")
    names = name.rpartition(".")[::2] if word == "column" else (name,)
    return _filled(_RIGHTS[word], *names)


def comment(name: str) -> str:
    """What a function's comment says, where there is one function of that name."""
    return _filled(_COMMENT, name)


def _filled(query: LiteralString, *names: str) -> str:
    return SQL(query).format(*map(Literal, names)).as_string()
