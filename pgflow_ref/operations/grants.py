"""Grants: what the role of a worker needs, and which of that it does not have.

Nothing of the core asks for more than what is listed here: its functions run with the rights of who
calls them. `USAGE` of a schema is what lets a role call the functions there, since PostgreSQL lets
everybody execute what it can name.
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
        on: of what, as SQL names it: `SCHEMA pgflow`, `TABLE pgmq.q_order`.
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
) -> Operation[tuple[Grant, ...]]:
    """What a role lacks to work on these flows; all of it, where there is no such role.

    Tables and columns that this core or pgmq does not have are not asked for.

    Args:
        flow_slugs: the flows whose queues it is to serve.
        role: who; None for the user of the connection.
        starts_runs: whether it is to start runs as well.
        hears: whether it is to hear of new messages (`signal_strategy="notify"`); it needs the same
            where others do.
    """
    return Operation(
        "look at what a role may do",
        _MISSING,
        {
            "queues": [slug.lower() for slug in flow_slugs],
            "role": role,
            "starts_runs": starts_runs,
            "hears": hears,
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


# In columns, {} is all of the table. What it is for: `pgflow.start_tasks`, `complete_task` and
# `fail_task`, a worker's own row, and (message_id of a task) recovery where a message is lost.
_TABLES: Final[LiteralString] = """\
('pgflow', 'flows', 'SELECT', '{}', true),
('pgflow', 'steps', 'SELECT', '{}', true),
('pgflow', 'deps', 'SELECT', '{}', true),
('pgflow', 'runs', 'SELECT', '{}', true),
('pgflow', 'runs', 'UPDATE', '{status,output,remaining_steps,completed_at,failed_at}', true),
('pgflow', 'runs', 'INSERT', '{run_id,flow_slug,input,remaining_steps}', %(starts_runs)s),
('pgflow', 'step_states', 'SELECT', '{}', true),
('pgflow', 'step_states', 'UPDATE', '{status,remaining_tasks,remaining_deps,initial_tasks,\
started_at,completed_at,failed_at,error_message}', true),
('pgflow', 'step_states', 'INSERT', '{flow_slug,run_id,step_slug,remaining_deps,initial_tasks}',
    %(starts_runs)s),
('pgflow', 'step_tasks', 'SELECT', '{}', true),
('pgflow', 'step_tasks', 'INSERT', '{flow_slug,run_id,step_slug,message_id}', true),
('pgflow', 'step_tasks', 'INSERT', '{task_index}', EXISTS (SELECT FROM many)),
('pgflow', 'step_tasks', 'UPDATE', '{message_id,status,attempts_count,error_message,output,\
started_at,completed_at,failed_at,last_worker_id}', true),
('pgflow', 'workers', 'SELECT', '{}', true),
('pgflow', 'workers', 'INSERT', '{worker_id,queue_name,function_name}', true),
('pgflow', 'workers', 'UPDATE', '{last_heartbeat_at,stopped_at}', true),
('pgmq', 'notify_insert_throttle', 'SELECT', '{}', %(hears)s OR EXISTS (SELECT FROM noticed)),
('pgmq', 'notify_insert_throttle', 'UPDATE', '{last_notified_at}',
    %(hears)s OR EXISTS (SELECT FROM noticed))"""

# Of the archive, what `INSERT … RETURNING msg_id` takes, and nothing that reads a message there.
_QUEUES: Final[LiteralString] = """\
('q_', 'SELECT', '{}'),
('q_', 'INSERT', '{vt,message,headers}'),
('q_', 'UPDATE', '{vt,read_ct,last_read_at}'),
('q_', 'DELETE', '{}'),
('a_', 'SELECT', '{msg_id}'),
('a_', 'INSERT', '{msg_id,read_ct,enqueued_at,last_read_at,vt,message,headers}')"""

_MISSING: Final[LiteralString] = (
    "WITH role AS MATERIALIZED (SELECT (SELECT r.oid FROM pg_catalog.pg_roles r"
    " WHERE r.rolname = coalesce(%(role)s::text, current_user::text)) AS oid),"
    # Without map steps every task has the index that the column has by default.
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
    " wanted (schema, relation, privilege, columns, wanted) AS (VALUES " + _TABLES + "),"
    " of_queues (prefix, privilege, columns) AS (VALUES " + _QUEUES + "),"
    " needs AS (SELECT schema, relation, privilege, columns::text[] AS columns FROM wanted"
    " WHERE wanted UNION ALL SELECT 'pgmq', q.prefix || queue, q.privilege, q.columns::text[]"
    " FROM of_queues q CROSS JOIN unnest(%(queues)s::text[]) AS queue),"
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
    " SELECT 'USAGE', 'SCHEMA ' || quote_ident(n.nspname), ARRAY[]::text[]"
    " FROM pg_catalog.pg_namespace n CROSS JOIN role"
    " WHERE n.nspname IN ('pgflow', 'pgmq', 'realtime')"
    " AND has_schema_privilege(role.oid, n.oid, 'USAGE') IS NOT TRUE"
    " UNION ALL SELECT privilege, format('TABLE %%I.%%I', nspname, relname),"
    " ARRAY(SELECT quote_ident(name) FROM unnest(lacking) AS name)"
    " FROM lacks WHERE whole OR lacking <> '{}'"
    " ORDER BY 2, 1"
)


def _grant(row: Row) -> Grant:
    privilege, on, columns = row
    assert isinstance(columns, list)
    return Grant(str(privilege), str(on), tuple(map(str, columns)))
