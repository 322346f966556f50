"""What an operation is: one statement as a value, and how single values of its rows are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import LiteralString

    from pgflow_ref.errors import PgflowError

Row: TypeAlias = "tuple[object, ...]"
"""A row as psycopg's `tuple_row` gives it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One statement.

    Attributes:
        name: what it does, for people.
        sql: the statement, with parameters as `%(name)s`.
        params: the parameters.
        read: turns the rows, as tuples, into the result.
        refusals: which refusal of the database means which error: (SQLSTATE, constraint) to it.
    """

    name: str
    sql: LiteralString
    params: Mapping[str, object]
    read: Callable[[Sequence[Row]], T]
    refusals: Mapping[tuple[str, str], PgflowError] = field(default_factory=dict)


def nothing(_rows: Sequence[Row]) -> None:
    """Read no rows."""


def as_uuid(value: object) -> UUID:
    """A uuid, also where the connection gives it as text."""
    return value if isinstance(value, UUID) else UUID(str(value))


def as_int(value: object) -> int:
    """An integer, which is what the column holds."""
    assert isinstance(value, int)
    return value
