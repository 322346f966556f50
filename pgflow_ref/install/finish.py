"""What is done after the files have run, where they are no known version, in their transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from pgflow_ref.errors import InstallRefused
from pgflow_ref.install import catalog, marks
from pgflow_ref.install import pins as pinned
from pgflow_ref.install.found import function_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.install.decide import Step
    from pgflow_ref.install.pins import Item, Items
    from pgflow_ref.install.wanted import Wanted
    from pgflow_ref.install.wanted_pgmq import WantedPgmq

TRIAL: Final = "pgflow_ref_trial"
"""The name of a queue that is made to see whether one can be made."""
NEEDED: Final = ("start_flow", "start_tasks", "complete_task", "fail_task")
"""The functions of pgflow without which there is no core."""


def finish(
    conn: psycopg.Connection[Any], steps: Sequence[Step], core: Wanted, pgmq: WantedPgmq | None
) -> None:
    """Replace what cannot work, try what nobody has tried, and write down what was installed.

    Raises:
        InstallRefused: the pgmq cannot make a queue, or what was to be a core is none.
    """
    kinds = {step.kind: step for step in steps}
    if "pgmq" in kinds and pgmq is not None and pgmq.release is None:
        _try_queue(conn, pgmq)
        read = catalog.read(conn)
        _mark(conn, "pgmq", marks.Mark(pgmq.label, pgmq.digest, marks.digest(read.pgmq)))
    if core.release is not None:
        return
    items = catalog.read(conn).core
    lacking = [name for name in NEEDED if f"pgflow.{name}" not in map(function_name, items)]
    if lacking:
        raise InstallRefused(
            f"{core.source} is no core of pgflow from 0.5 on: it leaves no pgflow.{lacking[0]}; "
            "nothing was changed"
        )
    if "replace" in kinds:
        for name in _to_replace(items, kinds["replace"].names):
            conn.execute(pinned.our_sql(name.removeprefix("pgflow.")).encode())
        items = catalog.read(conn).core
    _mark(conn, "pgflow", marks.Mark(core.label, core.digest, marks.digest(items)))


def broken(names: Sequence[str]) -> list[tuple[str, Item]]:
    """How these functions are, by key, in the known versions where they do not work."""
    return [
        (key, release.items[key])
        for release in pinned.load().releases.values()
        for key in release.items
        if function_name(key) in names and function_name(key) in release.replaced
    ]


def _to_replace(items: Items, names: Sequence[str]) -> list[str]:
    """Those of the functions that are just as in a known version, where they do not work."""
    return sorted({function_name(key) for key, item in broken(names) if items.get(key) == item})


def _try_queue(conn: psycopg.Connection[Any], pgmq: WantedPgmq) -> None:
    """Whether a queue can be made: some versions can do so only as an extension."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute("SELECT pgmq.create(%s)", [TRIAL])
            conn.execute("SELECT pgmq.send(%s, '{}'::jsonb)", [TRIAL])
            conn.execute("SELECT * FROM pgmq.read(%s, 0, 1)", [TRIAL])
    except psycopg.Error as error:
        said = " ".join((error.diag.message_primary or str(error)).split())
        raise InstallRefused(
            f"pgmq {pgmq.label} cannot make a queue and read it as plain SQL: {said}; some "
            "versions work only as an extension of the server; nothing was changed"
        ) from error


def _mark(conn: psycopg.Connection[Any], schema: str, mark: marks.Mark) -> None:
    comment = sql.SQL("COMMENT ON SCHEMA {} IS {}")
    conn.execute(comment.format(sql.Identifier(schema), sql.Literal(str(mark))))
