"""Calls that a function of the base takes, put to both databases: nothing is guessed of overloads.

A call is parsed by the server, which finds out what function it means, and is never executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from psycopg import Connection

    from conformance.regress.catalogs import Function


@dataclass(frozen=True, slots=True)
class Call:
    """A way to call a function.

    Attributes:
        how: in a few words.
        sql: the statement, with NULL for every argument.
    """

    how: str
    sql: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of the ways to call a function.

    Attributes:
        refused: what the server said of those that the base takes and the candidate refuses.
        accepted: how many both take.
    """

    refused: Mapping[Call, str]
    accepted: int


def calls(function: Function) -> Iterator[Call]:
    """The ways to call a function: by name and by position, with and without what has a default.

    Example:
        >>> from conformance.regress.catalogs import Function
        >>> f = Function("s.f", (("a", "text"), ("b", "integer")), 1, "7", "void", (), "sql", "")
        >>> [call.sql for call in calls(f)]  # doctest: +NORMALIZE_WHITESPACE
        ['SELECT * FROM s.f(a => NULL::text);', 'SELECT * FROM s.f(a => NULL::text,
          b => NULL::integer);', 'SELECT * FROM s.f(NULL::text);',
         'SELECT * FROM s.f(NULL::text, NULL::integer);']
    """
    needed = function.arguments[: len(function.arguments) - function.optional]
    forms = {"without what has a default": needed, "with all arguments": function.arguments}
    if needed == function.arguments:
        del forms["without what has a default"]
    if all(name for name, _ in function.arguments):
        for which, arguments in forms.items():
            given = ", ".join(f"{name} => NULL::{kind}" for name, kind in arguments)
            yield Call(f"by name, {which}", _select(function, given))
    for which, arguments in forms.items():
        given = ", ".join(f"NULL::{kind}" for _, kind in arguments)
        if arguments or not all(name for name, _ in function.arguments):
            yield Call(f"by position, {which}", _select(function, given))


def _select(function: Function, given: str) -> str:
    if function.is_aggregate:  # none may stand where a table may
        return f"SELECT {function.name}({given or '*'});"
    return f"SELECT * FROM {function.name}({given});"


def put(
    functions: Iterable[Function], base: Connection[Any], candidate: Connection[Any]
) -> dict[str, Answers]:
    """Put the ways to call functions of the base to both databases; by signature."""
    listed = [one for one in functions if one.result]
    ways = {one.signature: list(calls(one)) for one in listed}
    every = [call for found in ways.values() for call in found]
    taken, said = refusals(base, every), refusals(candidate, every)
    answers = {}
    for signature, found in ways.items():
        fair = [call for call in found if call not in taken]
        refused = {call: said[call] for call in fair if call in said}
        answers[signature] = Answers(refused, len(fair) - len(refused))
    return answers


def refusals(connection: Connection[Any], listed: Sequence[Call]) -> dict[Call, str]:
    """Which calls a database refuses, and in what words.

    Args:
        connection: to the database; not in a transaction.
        listed: the calls.
    """
    said: dict[Call, str] = {}
    with connection.transaction(force_rollback=True):
        for call in listed:
            statement = call.sql.removesuffix(";")
            try:
                with connection.transaction():
                    connection.execute(f"PREPARE probe AS {statement}".encode())
                connection.execute("DEALLOCATE probe")
            except psycopg.Error as error:
                said[call] = f"{error.diag.message_primary} ({error.sqlstate})"
    return said
