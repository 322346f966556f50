"""What the core in a database can do, by looking at it once.

Not by a version: nothing in the database says one. What counts is which functions and columns are
there, so that one worker serves every core, and an unreleased one too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import CoreMissing, CoreUnsupported
from pgflow_ref.operations import Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.operations import Row

OLDEST_CORE: Final = "0.5.0"
"""The oldest core that this library works with."""

_KNOWN_RECORD: Final = {"flow_slug", "run_id", "step_slug", "input", "msg_id", "task_index"}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this core can do.

    Attributes:
        core: the oldest release of the core that has all of this; a label for people.
        pgmq: the version of the pgmq extension, or None where pgmq was installed as plain SQL.
        stopped_at: workers can be marked as stopped (before 0.6).
        deprecated_at: the database can tell a worker to leave (0.6 and newer).
        start_delay: steps can wait some seconds before they start (0.5.3 and newer).
        map_steps: steps can have a task for each element of an array (0.7 and newer).
        requeue_stalled_tasks: the core puts stalled tasks back by itself (0.13.2 and newer).
        long_poll: pgmq can wait in the server for a message (`pgmq.read_with_poll`).
        notify: pgmq can notify of new messages (`pgmq.enable_notify_insert`; 1.8 and newer).

    Example:
        strategy = "notify" if pgflow.capabilities().notify else "polling"
    """

    core: str
    pgmq: str | None
    stopped_at: bool
    deprecated_at: bool
    start_delay: bool
    map_steps: bool
    requeue_stalled_tasks: bool
    long_poll: bool
    notify: bool


def probe() -> Operation[Capabilities]:
    """Look at the catalogs once.

    Reading its rows raises `CoreMissing` where there is no core, and `CoreUnsupported` where the
    core is older than 0.5.0, or hands out tasks in a form that this library does not know.
    """
    return Operation(
        "look at the core",
        "SELECT"
        " ARRAY(SELECT p.proname::text FROM pg_catalog.pg_proc p"
        " JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'pgflow'),"
        " ARRAY(SELECT p.proname::text FROM pg_catalog.pg_proc p"
        " JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'pgmq'),"
        " ARRAY(SELECT c.relname || '.' || a.attname FROM pg_catalog.pg_attribute a"
        " JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'pgflow' AND a.attnum > 0 AND NOT a.attisdropped"
        " AND c.relname IN ('step_task_record', 'workers', 'steps')),"
        " (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'pgmq')",
        {},
        _read,
    )


def _read(rows: Sequence[Row]) -> Capabilities:
    functions, of_pgmq, columns, pgmq = rows[0]
    assert isinstance(functions, list)
    assert isinstance(of_pgmq, list)
    assert isinstance(columns, list)
    version = None if pgmq is None else str(pgmq)
    return judge(set(functions), set(columns), version, set(of_pgmq))


def judge(
    functions: set[str], columns: set[str], pgmq: str | None, of_pgmq: set[str]
) -> Capabilities:
    """Say what a core with these functions, and these columns as `table.column`, can do.

    Args:
        functions: of the schema `pgflow`, by name.
        columns: of the tables that matter.
        pgmq: the version of the extension, if it is one.
        of_pgmq: functions of the schema `pgmq`, by name.

    Raises:
        CoreMissing: there is nothing of pgflow.
        CoreUnsupported: it is too old, or too new.
    """
    if not functions and not columns:
        raise CoreMissing(
            "the database holds no pgflow core; `pgflow-ref install URL` puts one there"
        )
    if "start_tasks" not in functions:
        raise CoreUnsupported(
            "the pgflow core in the database is older than 0.5.0: it has no pgflow.start_tasks"
        )
    record = {name.partition(".")[2] for name in columns if name.startswith("step_task_record.")}
    if record - _KNOWN_RECORD:
        extra = ", ".join(sorted(record - _KNOWN_RECORD))
        raise CoreUnsupported(
            "the pgflow core in the database is newer than this library knows: tasks come with "
            f"{extra}; known are cores 0.5.0 to 0.10"
        )
    deprecated_at = "workers.deprecated_at" in columns
    start_delay = "steps.opt_start_delay" in columns
    map_steps = "task_index" in record
    return Capabilities(
        core=_label(functions, deprecated_at, start_delay, map_steps),
        pgmq=pgmq,
        stopped_at="workers.stopped_at" in columns,
        deprecated_at=deprecated_at,
        start_delay=start_delay,
        map_steps=map_steps,
        requeue_stalled_tasks="requeue_stalled_tasks" in functions,
        long_poll="read_with_poll" in of_pgmq,
        notify="enable_notify_insert" in of_pgmq,
    )


def _label(functions: set[str], deprecated_at: bool, start_delay: bool, map_steps: bool) -> str:
    if map_steps:
        return "0.7.3" if "read_with_poll" in functions else "0.8.1"
    if deprecated_at:
        return "0.6.1"
    return "0.5.3" if start_delay else "0.5.0"
