"""What the worker's machine and its shell say to each other: events in, commands out.

Every event carries the time at which it was seen, in seconds on a clock of the shell's choice that
never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pgflow_ref.task import Outcome, Result, Task, TaskKey

# Events: what happened, and when.


@dataclass(frozen=True, slots=True)
class Started:
    """The worker's process is up."""

    now: float


@dataclass(frozen=True, slots=True)
class Registered:
    """The worker's row is in `pgflow.workers`."""

    now: float


@dataclass(frozen=True, slots=True)
class MessagesRead:
    """A read came back; `chance` is a random number from 0 to 1, for the next wait."""

    now: float
    message_ids: tuple[int, ...]
    chance: float


@dataclass(frozen=True, slots=True)
class TasksClaimed:
    """A claim came back with the tasks that are this worker's now."""

    now: float
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class PollFailed:
    """A read or a claim did not come back."""

    now: float


@dataclass(frozen=True, slots=True)
class Finished:
    """A handler is over."""

    now: float
    key: TaskKey
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Recorded:
    """The results that were sent are in the database, or were no longer this worker's to give."""

    now: float


@dataclass(frozen=True, slots=True)
class NotRecorded:
    """The results that were sent are not in the database.

    Attributes:
        refusal: why the database will never take them, or None where trying again may help.
    """

    now: float
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Woke:
    """It is the time that `wake_at` named, or later."""

    now: float


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Somebody wants the worker to stop; asked twice, it waits for nothing any more."""

    now: float


Event: TypeAlias = (
    Started
    | Registered
    | MessagesRead
    | TasksClaimed
    | PollFailed
    | Finished
    | Recorded
    | NotRecorded
    | Woke
    | StopRequested
)


# Commands: what the shell is to do.


@dataclass(frozen=True, slots=True)
class Register:
    """Insert the worker's row, then say `Registered`."""


@dataclass(frozen=True, slots=True)
class Read:
    """Read at most so many messages, hidden for so many seconds; then say `MessagesRead`."""

    quantity: int
    visibility_timeout: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim the tasks of these messages, then say `TasksClaimed`."""

    message_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Perform the task's handler, then say `Finished`."""

    task: Task


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the handler of this task if it can be stopped; its outcome is decided."""

    task: Task


@dataclass(frozen=True, slots=True)
class Record:
    """Record these results in one transaction, then say `Recorded` or `NotRecorded`."""

    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Give a sign of life; nothing is to be said of it."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Tell people that these results could not be recorded: refused, or no time was left."""

    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class MarkStopped:
    """Mark the worker's row as stopped, and end."""


Command: TypeAlias = (
    Register | Read | Claim | Run | Cancel | Record | Heartbeat | Abandon | MarkStopped
)
