"""What a call asks for: an operation, a transaction, the time, ids, a wait, to tell who listens."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from pgflow_ref.operations import Operation
    from pgflow_ref.telemetry import EventName

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Clock:
    """Say what time it is, in seconds on a clock that never goes back."""


@dataclass(frozen=True, slots=True)
class NewIds:
    """Make up so many ids, a list of UUIDs."""

    count: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell those who listen that something happened."""

    name: EventName
    flow_slug: str
    run_id: UUID | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Atomic:
    """Perform another call in one transaction, and answer with its result.

    What it raises undoes the transaction and is raised where this was asked for. In a transaction
    that is open already it is a savepoint.
    """

    call: Call[Any]


Request: TypeAlias = "Operation[Any] | Atomic | Sleep | Clock | NewIds | Tell"

Call: TypeAlias = Generator[Request, Any, T]


def perform(call: Call[T], answer: Callable[[Request], Any]) -> T:
    """Perform a call, where each of its requests is answered by this function.

    What the function raises is raised in the call, where it asked: it may know what to do.
    """
    go_on: Callable[[Any], Request] = call.send
    given: Any = None
    while True:
        try:
            request = go_on(given)
        except StopIteration as end:
            result: T = end.value
            return result
        try:
            go_on, given = call.send, answer(request)
        except Exception as error:  # noqa: BLE001  # whatever it is
            go_on, given = call.throw, error
