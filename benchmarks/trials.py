"""The worker without one of its means, or with one that it does not have: is it worth it?

Each changes a worker that is measured, in its own process and before it begins; nothing of this is
in pgflow_ref.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import psycopg
from psycopg.rows import tuple_row

import pgflow_ref.execute
import pgflow_ref.worker.database
from pgflow_ref import operations as ops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from pgflow_ref.connection import Line
    from pgflow_ref.task import Result, TaskKey

T = TypeVar("T")


def apply(name: str) -> None:
    """Change this process' workers.

    Args:
        name: one of `TRIALS`; empty for none.

    Raises:
        KeyError: there is no such trial.
        ImportError: it needs a package that is not installed.
    """
    if name:
        TRIALS[name]()


def _no_pipeline() -> None:
    async def one_by_one(
        connection: psycopg.AsyncConnection[object], operations: Sequence[ops.Operation[T]]
    ) -> list[T]:
        answers = []
        async with connection.transaction():
            for operation in operations:
                async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
                    await cursor.execute(operation.sql, operation.params)
                    answers.append(operation.read(await cursor.fetchall()))
        return answers

    pgflow_ref.worker.database.execute_together = one_by_one  # type: ignore[attr-defined]


def _statement_for_each_result() -> None:
    async def record(
        self: Any, line: Line, results: tuple[Result, ...]
    ) -> tuple[dict[UUID, str], dict[TaskKey, ops.Now | None], list[ops.RunEnd]]:
        run_ids = sorted({result.task.key.run_id for result in results})
        operations: list[ops.Operation[Any]] = [
            ops.hold_runs(run_ids),
            ops.hold_tasks(run_ids, self._worker_id),
            *(ops.record([result], self._worker_id) for result in results),
        ]
        execute_together = pgflow_ref.worker.database.execute_together  # type: ignore[attr-defined]
        was, _, *given = await execute_together(await line.open(), operations)
        return was, {key: now for one in given for key, now in one.items()}, []

    changed: Any = pgflow_ref.worker.database.Database
    changed._record = record  # noqa: SLF001


def _unprepared() -> None:
    original = psycopg.AsyncCursor.execute

    async def execute(self: Any, query: Any, params: Any = None, **options: Any) -> object:
        return await original(self, query, params, **{**options, "prepare": False})

    cast("Any", psycopg.AsyncCursor).execute = execute


def _binary() -> None:
    original = psycopg.AsyncCursor.execute
    cast("Any", psycopg.AsyncCursor).execute = functools.partialmethod(original, binary=True)


def _orjson() -> None:
    import orjson  # noqa: PLC0415  # only where it is tried

    changed: Any = pgflow_ref.execute
    changed.decode = orjson.loads
    changed.encode = lambda value: orjson.dumps(value).decode()


def _uvloop() -> None:
    import uvloop  # noqa: PLC0415  # only where it is tried

    # `Worker.run` makes its loop by this.
    cast("Any", asyncio).new_event_loop = uvloop.new_event_loop


TRIALS: Final[dict[str, Callable[[], None]]] = {
    "each statement a round trip": _no_pipeline,
    "a statement for each result": _statement_for_each_result,
    "nothing prepared": _unprepared,
    "binary formats": _binary,
    "orjson": _orjson,
    "uvloop": _uvloop,
}
"""By what is different."""
