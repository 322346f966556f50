"""What a call asks for: an operation, a transaction, the time, ids, a wait, to tell who listens."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
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
