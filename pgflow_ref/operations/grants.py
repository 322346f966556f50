"""Grants: what the role of a worker needs, and which of that it does not have.

The functions of the core and of pgmq run with the rights of who calls them, so a role needs what
they need. Where the owner has made one of them SECURITY DEFINER, it runs with the owner's rights,
and nothing is asked for that only such a function needs. PostgreSQL lets everybody call functions
and connect; where that was taken away, it is asked for as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgflow_ref.operations.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import LiteralString

    from pgflow_ref.operations.operation import Row


@dataclass(frozen=True, slots=True)
class Grant:
    """Something that a role needs and does not have.

    Attributes:
        privilege: such as SELECT or USAGE.
        on: of what, as SQL names it: `SCHEMA pgflow`, `TABLE pgmq.q_order`,
            `FUNCTION pgmq.read(text, integer, integer)`.
        columns: of which columns, as SQL names them; none: of all of it.

    Example:
        >>> Grant("UPDATE", "TABLE pgflow.runs", ("status", "output")).words
        'UPDATE (status, output) ON TABLE pgflow.runs'
    """

    privilege: str
    on: str
    columns: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What follows GRANT, up to TO."""
        of = f" ({', '.join(self.columns)})" if self.columns else ""
        return f"{self.privilege}{of} ON {self.on}"


def missing_grants(
    flow_slugs: Sequence[str],
    role: str | None = None,
    *,
    starts_runs: bool = False,
    hears: bool = False,
    waits: bool = False,
) -> Operation[tuple[Grant, ...]]:
    """What a role lacks to work on these flows; where there is no such role, what PUBLIC lacks.

    Tables, columns and functions that this core or pgmq does not have are not asked for. Of a
    function with several forms it is enough that one is SECURITY DEFINER, or may be called: a role
    that can work must never be taken for one that cannot.

    Args:
        flow_slugs: the flows whose queues it is to serve.
        role: who; None for the user of the connection.
        starts_runs: whether it is to start runs as well.
        hears: whether it is to hear of new messages (`signal_strategy="notify"`); it needs the same
            where others do.
        waits: whether it is to wait for messages in the server (`signal_strategy="long_poll"`).
    """
    return Operation(
        "look at what a role may do",
        _MISSING,
        {
            "queues": [slug.lower() for slug in flow_slugs],
            "role": role,
            "starts_runs": starts_runs,
            "hears": hears,
            "waits": waits,
        },
        lambda rows: tuple(map(_grant, rows)),
    )


def flow_slugs() -> Operation[tuple[str, ...]]:
    """All flows; none where there is no core, or where this user may not look."""
    return Operation(
        "list the flows",
        "SELECT f.flow_slug FROM pgflow.flows f ORDER BY f.flow_slug",
        {},
        lambda rows: tuple(str(row[0]) for row in rows),
    )


def may_create(role: str) -> Operation[bool | None]:
    """Whether a role may create schemas in this database; None where there is no such role."""
    return Operation(
        "look at whether a role may create schemas",
        "SELECT has_database_privilege(r.oid, current_database(), 'CREATE')"
        " FROM pg_catalog.pg_roles r WHERE r.rolname = %(role)s",
        {"role": role},
        lambda rows: bool(rows[0][0]) if rows else None,
    )


def database_name() -> Operation[str]:
    """The database's name, as SQL writes it."""
    return Operation(
        "look at the database's name",
        "SELECT quote_ident(current_database())",
        {},
        lambda rows: str(rows[0][0]),
    )


# What a worker calls itself; what these call is found in their texts.
_CALLS: Final[LiteralString] = """\
('pgflow.start_tasks', true),
('pgflow.complete_task', true),
('pgflow.fail_task', true),
('pgflow.requeue_stalled_tasks', true),
('pgflow.start_flow', %(starts_runs)s),
('pgmq.read', true),
('pgmq.read_with_poll', %(waits)s),
('pgmq.set_vt', true),
('pgmq.send', true)"""

_ENDS: Final[LiteralString] = "{pgflow.complete_task,pgflow.fail_task,pgflow.start_flow}"
_SENDS: Final[LiteralString] = "pgmq.send,pgmq.send_batch,pgmq._send_batch"
# Not pgflow.set_vt_batch: PostgreSQL never runs it where `start_tasks` mentions it.
_HIDES: Final[LiteralString] = "pgmq.read,pgmq.read_with_poll,pgmq.set_vt"
_LOCKS_NONE: Final[LiteralString] = "NOT EXISTS (SELECT FROM lockable WHERE relname ="

# In columns, {} is all of the table. Then: which functions need it, {} where the worker's own SQL
# does; and whether at all. That SQL looks at flows, locks and puts back tasks, and keeps the
# worker's own row. To lock a row, UPDATE of any column is enough.
_TABLES: Final[LiteralString] = (
    "('pgflow', 'flows', 'SELECT', '{}', '{}', true),"
    "('pgflow', 'steps', 'SELECT', '{}', '{}', true),"
    "('pgflow', 'deps', 'SELECT', '{}', '{}', true),"
    "('pgflow', 'runs', 'SELECT', '{}', '{}', true),"
    "('pgflow', 'runs', 'UPDATE', '{status}', '{}', " + _LOCKS_NONE + " 'runs')),"
    "('pgflow', 'runs', 'UPDATE', '{status,output,remaining_steps,completed_at,failed_at}', '"
    + _ENDS
    + "', true),"
    "('pgflow', 'runs', 'INSERT', '{run_id,flow_slug,input,remaining_steps}',"
    " '{pgflow.start_flow}', true),"
    "('pgflow', 'step_states', 'SELECT', '{}', '{}', true),"
    "('pgflow', 'step_states', 'UPDATE', '{status}', '{}', " + _LOCKS_NONE + " 'step_states')),"
    "('pgflow', 'step_states', 'UPDATE', '{status,remaining_tasks,remaining_deps,initial_tasks,"
    "started_at,completed_at,failed_at,error_message}', '" + _ENDS + "', true),"
    "('pgflow', 'step_states', 'INSERT',"
    " '{flow_slug,run_id,step_slug,remaining_deps,initial_tasks}', '{pgflow.start_flow}', true),"
    "('pgflow', 'step_tasks', 'SELECT', '{}', '{}', true),"
    "('pgflow', 'step_tasks', 'INSERT', '{flow_slug,run_id,step_slug,message_id}',"
    " '{pgflow.start_ready_steps}', true),"
    # Without map steps every task has the index that the column has by default.
    "('pgflow', 'step_tasks', 'INSERT', '{task_index}', '{pgflow.start_ready_steps}',"
    " EXISTS (SELECT FROM many)),"
    "('pgflow', 'step_tasks', 'UPDATE', '{message_id,status,started_at}', '{}', true),"
    "('pgflow', 'step_tasks', 'UPDATE', '{attempts_count,started_at,last_worker_id}',"
    " '{pgflow.start_tasks}', true),"
    "('pgflow', 'step_tasks', 'UPDATE',"
    " '{error_message,output,completed_at,failed_at}', '" + _ENDS + "', true),"
    "('pgflow', 'workers', 'SELECT', '{}', '{}', true),"
    "('pgflow', 'workers', 'INSERT', '{worker_id,queue_name,function_name}', '{}', true),"
    "('pgflow', 'workers', 'UPDATE', '{last_heartbeat_at,stopped_at}', '{}', true),"
    "('pgmq', 'notify_insert_throttle', 'SELECT', '{}', '{}', %(hears)s),"
    "('pgmq', 'notify_insert_throttle', 'SELECT', '{}', '{" + _SENDS + "}',"
    " EXISTS (SELECT FROM noticed)),"
    "('pgmq', 'notify_insert_throttle', 'UPDATE', '{last_notified_at}', '{" + _SENDS + "}',"
    " %(hears)s OR EXISTS (SELECT FROM noticed))"
)

# Of the archive, what `INSERT … RETURNING msg_id` takes, and nothing that reads a message there.
_QUEUES: Final[LiteralString] = (
    "('q_', 'SELECT', '{}', '{}', %(hears)s),"
    "('q_', 'SELECT', '{}', '{" + _HIDES + ",pgmq.archive," + _SENDS + "}', true),"
    "('q_', 'INSERT', '{vt,message,headers}', '{" + _SENDS + "}', true),"
    "('q_', 'UPDATE', '{vt,read_ct,last_read_at}', '{" + _HIDES + "}', true),"
    "('q_', 'DELETE', '{}', '{pgmq.archive}', true),"
    "('a_', 'SELECT', '{msg_id}', '{pgmq.archive}', true),"
    "('a_', 'INSERT', '{msg_id,read_ct,enqueued_at,last_read_at,vt,message,headers}',"
    " '{pgmq.archive}', true)"
)

_MISSING: Final[LiteralString] = (
    # 0 is PUBLIC.
    "WITH RECURSIVE role AS MATERIALIZED (SELECT coalesce((SELECT r.oid FROM pg_catalog.pg_roles r"
    " WHERE r.rolname = coalesce(%(role)s::text, current_user::text)), 0::oid) AS oid),"
    " many AS (SELECT FROM pg_catalog.pg_attribute a"
    " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relname = 'step_states'"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pgflow'"
    " WHERE a.attname = 'initial_tasks' AND NOT a.attisdropped),"
    # pgmq's trigger, where somebody let it notify of inserts, does its work as who inserts.
    " noticed AS (SELECT FROM pg_catalog.pg_trigger g"
    " JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pgmq'"
    " JOIN unnest(%(queues)s::text[]) AS queue ON c.relname = 'q_' || queue"
    " WHERE g.tgname = 'trigger_notify_queue_insert_listeners'),"
    " lockable AS (SELECT c.relname FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pgflow'"
    " CROSS JOIN role WHERE c.relkind IN ('r', 'p')"
    " AND has_any_column_privilege(role.oid, c.oid, 'UPDATE')),"
    " named AS MATERIALIZED (SELECT n.nspname || '.' || p.proname AS name,"
    " bool_or(p.prosecdef) AS as_owner, string_agg(p.prosrc, ' ') AS text,"
    " bool_or(has_function_privilege(role.oid, p.oid, 'EXECUTE')) AS allowed"
    " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
    " CROSS JOIN role WHERE n.nspname IN ('pgflow', 'pgmq', 'realtime') AND p.prokind = 'f'"
    " GROUP BY 1),"
    " calls (name, wanted) AS (VALUES " + _CALLS + "),"
    " called AS (SELECT f.* FROM calls JOIN named f USING (name) WHERE wanted"
    " UNION SELECT f.* FROM called c JOIN named f"
    " ON NOT c.as_owner AND strpos(c.text, f.name || '(') > 0),"
    " wanted (schema, relation, privilege, columns, functions, wanted) AS (VALUES " + _TABLES + "),"
    " of_queues (prefix, privilege, columns, functions, wanted) AS (VALUES " + _QUEUES + "),"
    " every AS (SELECT * FROM wanted UNION ALL"
    " SELECT 'pgmq', q.prefix || queue, q.privilege, q.columns, q.functions, q.wanted"
    " FROM of_queues q CROSS JOIN unnest(%(queues)s::text[]) AS queue),"
    " needs AS (SELECT e.schema, e.relation, e.privilege,"
    " coalesce(array_agg(name) FILTER (WHERE name IS NOT NULL), '{}') AS columns"
    " FROM every e LEFT JOIN unnest(e.columns::text[]) AS name ON true"
    " WHERE e.wanted AND (e.functions = '{}' OR EXISTS (SELECT FROM called c"
    " WHERE NOT c.as_owner AND c.name = ANY(e.functions::text[])))"
    " GROUP BY e.schema, e.relation, e.privilege),"
    " lacks AS (SELECT n.nspname, c.relname, s.privilege, s.columns,"
    " ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a"
    " WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    # Not with AND, which may look at its second half first: there is no DELETE of a column.
    " AND CASE WHEN a.attname = ANY(s.columns)"
    " THEN has_column_privilege(role.oid, c.oid, a.attnum, s.privilege) IS NOT TRUE END"
    " ORDER BY a.attnum) AS lacking,"
    " s.columns = '{}' AND has_table_privilege(role.oid, c.oid, s.privilege) IS NOT TRUE AS whole"
    " FROM needs s JOIN pg_catalog.pg_namespace n ON n.nspname = s.schema"
    " JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.relation"
    " CROSS JOIN role)"
    " SELECT 'CONNECT', 'DATABASE ' || quote_ident(current_database()), ARRAY[]::text[] FROM role"
    " WHERE NOT has_database_privilege(role.oid, current_database(), 'CONNECT')"
    " UNION ALL SELECT 'USAGE', 'SCHEMA ' || quote_ident(n.nspname), ARRAY[]::text[]"
    " FROM pg_catalog.pg_namespace n CROSS JOIN role"
    " WHERE (n.nspname IN ('pgflow', 'pgmq') OR n.nspname = 'realtime'"
    " AND EXISTS (SELECT FROM called WHERE starts_with(name, 'realtime.')))"
    " AND has_schema_privilege(role.oid, n.oid, 'USAGE') IS NOT TRUE"
    " UNION ALL SELECT 'EXECUTE', format('FUNCTION %%I.%%I(%%s)', n.nspname, p.proname,"
    " oidvectortypes(p.proargtypes)), ARRAY[]::text[] FROM pg_catalog.pg_proc p"
    " JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
    " JOIN called c ON c.name = n.nspname || '.' || p.proname"
    " WHERE p.prokind = 'f' AND NOT c.allowed"
    " UNION ALL SELECT privilege, format('TABLE %%I.%%I', nspname, relname),"
    " ARRAY(SELECT quote_ident(name) FROM unnest(lacking) AS name)"
    " FROM lacks WHERE whole OR lacking <> '{}'"
    " ORDER BY 2, 1"
)


def _grant(row: Row) -> Grant:
    privilege, on, columns = row
    assert isinstance(columns, list)
    return Grant(str(privilege), str(on), tuple(map(str, columns)))
