"""A difference, made as short as it gets, as a script for psql, and a way to play it again."""

from __future__ import annotations

import base64
import binascii
import json
import time
import zlib
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from conformance.core import statements
from conformance.core.history import Counts, Difference, History
from pgflow_ref.model import calls
from pgflow_ref.model.calls import OMITTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conformance.core.subject import Subject
    from pgflow_ref.model import Profile, State
    from pgflow_ref.model.calls import Call

_FIRST_MESSAGES: Final = (1, 2, 3, 4, 5, 6)  # claims of these stay good when other calls go
_SHOWN: Final = 12  # problems in a script
_KINDS: Final = {kind.__name__: kind for kind in calls.Call.__args__}
_IDS: Final = {"run_id", "worker_id"}


def script(difference: Difference) -> str:
    """What was called, what the model expects and what the database did, ready for psql."""
    problems = difference.problems
    more = len(problems) - _SHOWN
    lines = [
        f"-- pgflow core {difference.profile.core}, in a database that holds nothing else",
        *statements.script(difference.history, difference.profile),
        "-- After this last call:",
        *(f"--   {problem}" for problem in problems[:_SHOWN]),
        *([f"--   and {more} more"] if more > 0 else []),
    ]
    return "\n".join(lines)


def shorten(difference: Difference, subject: Subject, seconds: float = 30.0) -> Difference:
    """Ask for less, as long as the two sides still differ.

    Args:
        difference: what was found.
        subject: the database, to try shorter histories on.
        seconds: for how long to try, at most.
    """
    best, until = difference, time.monotonic() + seconds

    def differs(played: list[Call]) -> bool:
        nonlocal best
        found = _played(played, difference.profile, subject)
        best = found or best
        return found is not None

    played = with_ids(difference.history)
    if differs(played):
        shortest(played, lambda shorter: time.monotonic() < until and differs(shorter))
    return best


def shortest(played: list[Call], holds: Callable[[list[Call]], bool]) -> list[Call]:
    """Leave out calls, then arguments, as long as something holds.

    Args:
        played: a history for which it holds.
        holds: whether it holds for another.
    """
    plain = [
        replace(call, msg_ids=_FIRST_MESSAGES) if isinstance(call, calls.StartTasks) else call
        for call in played
    ]
    played = plain if holds(plain) else played
    again = True
    while again:
        again = False
        for shorter in _shorter(played):
            if holds(shorter):
                played, again = shorter, True
                break
    return played


def replay(played: Sequence[Call], profile: Profile, subject: Subject) -> Counts:
    """Play a history again.

    Raises:
        Difference: the two sides differ.
    """
    history = History(subject, profile, Counts())
    for call in played:
        history.call(call)
    return history.counts


def encode(played: Sequence[Call]) -> str:
    """A history in one word, for a command line."""
    plain = [[type(call).__name__, _arguments(call)] for call in played]
    packed = zlib.compress(json.dumps(plain, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(packed).decode()


def decode(word: str) -> list[Call]:
    """Read what `encode` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        plain = json.loads(zlib.decompress(base64.urlsafe_b64decode(word)))
        return [_KINDS[kind](**dict(map(_argument, given.items()))) for kind, given in plain]
    except (binascii.Error, zlib.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"this is no history: {error}") from None


def _arguments(call: Call) -> dict[str, Any]:
    given = {field.name: getattr(call, field.name) for field in fields(call)}
    return {
        name: str(value) if isinstance(value, UUID) else value
        for name, value in given.items()
        if value is not OMITTED
    }


def _argument(item: tuple[str, Any]) -> tuple[str, Any]:
    name, value = item
    if name in _IDS and value is not None:
        return name, UUID(value)
    return name, tuple(value) if isinstance(value, list) else value


def with_ids(history: Sequence[tuple[Call, State]]) -> list[Call]:
    """The calls, with generated run ids spelled out, so that they stay when others go."""
    return [statements.with_id(call, state) for call, state in history]


def _played(played: Sequence[Call], profile: Profile, subject: Subject) -> Difference | None:
    try:
        replay(played, profile, subject)
    except Difference as difference:
        return difference
    return None


def _shorter(played: list[Call]) -> Iterator[list[Call]]:
    """Histories that ask for less: without half of the calls, a quarter, one; simpler calls."""
    size = len(played) // 2
    while size:
        for start in range(0, len(played), size):
            yield played[:start] + played[start + size :]
        size //= 2
    for index, call in enumerate(played):
        for simpler in _simpler(call):
            yield [*played[:index], simpler, *played[index + 1 :]]


def _simpler(call: Any) -> Iterator[Call]:
    """The call without an argument that may be omitted, or with plain JSON."""
    for field in fields(call):
        value = getattr(call, field.name)
        if field.default is OMITTED and value is not OMITTED and field.name != "run_id":
            yield replace(call, **{field.name: OMITTED})
        if field.name in ("msg_ids", "deps_slugs") and isinstance(value, tuple):
            for index in range(len(value)):
                yield replace(call, **{field.name: value[:index] + value[index + 1 :]})
        if field.name in ("input", "output") and value not in (None, "{}"):
            yield replace(call, **{field.name: "{}"})
