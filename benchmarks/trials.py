"""The worker without one of its means, or with one that it does not have: is it worth it?

Each changes a worker that is measured, in its own process and before it begins; nothing of this is
in pgflow_ref.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import psycopg

import pgflow_ref.execute
import pgflow_ref.machine.results
import pgflow_ref.worker.database
from pgflow_ref.connection import execute_async, execute_in_turn, execute_together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgflow_ref import operations as ops

T = TypeVar("T")

_RECORD: Final = "record results"
_ARRAYS: Final = frozenset({"runs", "steps", "indexes", "attempts", "outputs", "messages"})
_database: Any = pgflow_ref.worker.database


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
        connection: psycopg.AsyncConnection[tuple[object, ...]],
        operations: Sequence[ops.Operation[T]],
    ) -> list[T]:
        async with connection.transaction():
            return [await execute_async(connection, operation) for operation in operations]

    async def in_turn(
        connection: psycopg.AsyncConnection[tuple[object, ...]],
        first: Sequence[ops.Operation[T]],
        then: Sequence[ops.Operation[T]],
    ) -> tuple[list[T], list[T]]:
        return await one_by_one(connection, first), await one_by_one(connection, then)

    _database.execute_together = one_by_one
    _database.execute_in_turn = in_turn


def _statement_for_each_result() -> None:
    together, in_turn = execute_together, execute_in_turn

    async def execute_apart(
        connection: psycopg.AsyncConnection[tuple[object, ...]],
        operations: Sequence[ops.Operation[Any]],
    ) -> list[Any]:
        return _joined(operations, await together(connection, _apart(operations)))

    async def execute_apart_in_turn(
        connection: psycopg.AsyncConnection[tuple[object, ...]],
        first: Sequence[ops.Operation[Any]],
        then: Sequence[ops.Operation[Any]],
    ) -> tuple[list[Any], list[Any] | Exception]:
        answers, more = await in_turn(connection, _apart(first), then)
        return _joined(first, answers), more

    _database.execute_together = execute_apart
    _database.execute_in_turn = execute_apart_in_turn


def _apart(operations: Sequence[ops.Operation[Any]]) -> list[ops.Operation[Any]]:
    """The same with a statement for each result."""
    return [one for operation in operations for one in _each(operation)]


def _each(operation: ops.Operation[Any]) -> list[ops.Operation[Any]]:
    if operation.name != _RECORD:
        return [operation]
    numbers = range(_results(operation))
    return [replace(operation, params=_only(operation.params, number)) for number in numbers]


def _joined(operations: Sequence[ops.Operation[Any]], answers: list[Any]) -> list[Any]:
    """The answers to these, from the answers to those that were made of them."""
    left = iter(answers)
    return [
        next(left)
        if operation.name != _RECORD
        else {key: now for _ in range(_results(operation)) for key, now in next(left).items()}
        for operation in operations
    ]


def _results(operation: ops.Operation[Any]) -> int:
    """How many results a statement records."""
    runs = operation.params["runs"]
    assert isinstance(runs, list), "there is one for each result"
    return len(runs)


def _only(params: Mapping[str, object], number: int) -> dict[str, object]:
    return {
        name: [value[number]] if name in _ARRAYS and isinstance(value, list) else value
        for name, value in params.items()
    }


def _nothing_in_place() -> None:
    changed: Any = pgflow_ref.machine.results
    changed._read_after = lambda _state, _batch: None  # noqa: SLF001


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
    "reads and claims on their own": _nothing_in_place,
    "a statement for each result": _statement_for_each_result,
    "nothing prepared": _unprepared,
    "binary formats": _binary,
    "orjson": _orjson,
    "uvloop": _uvloop,
}
"""By what is different."""
