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
    """A read came back.

    Attributes:
        message_ids: what it found.
        chance: a random number from 0 to 1, for the next wait.
        visible_in: seconds until the queue's next hidden message becomes visible, 0 or less where
            one is visible now but in another's hands; None: there is none, or nobody has looked.
    """

    now: float
    message_ids: tuple[int, ...]
    chance: float
    visible_in: float | None = None


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
    """The results that were sent are in the database, or were no longer this worker's to give.

    Attributes:
        lane: that of their `Record`.
        tasks: what was then read and claimed, where it was asked for.
    """

    now: float
    lane: int = 0
    tasks: tuple[Task, ...] = ()


@dataclass(frozen=True, slots=True)
class NotRecorded:
    """The results that were sent are not in the database.

    Attributes:
        refusal: why the database will never take them, or None where trying again may help.
        lane: that of their `Record`.
    """

    now: float
    refusal: str | None = None
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Recovered:
    """A recovery came back, or did not.

    Attributes:
        count: how many tasks were put back or failed.
        chance: a random number from 0 to 1, for the next wait.
    """

    now: float
    count: int
    chance: float


@dataclass(frozen=True, slots=True)
class Listening:
    """From now on the worker hears of inserts into its queue."""

    now: float


@dataclass(frozen=True, slots=True)
class NotListening:
    """The worker does not hear of inserts: the connection is lost, or could not be made."""

    now: float


@dataclass(frozen=True, slots=True)
class Notified:
    """Something was inserted into the queue."""

    now: float


@dataclass(frozen=True, slots=True)
class Deprecated:
    """The database wants this worker to leave."""

    now: float


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
    | Recovered
    | Listening
    | NotListening
    | Notified
    | Deprecated
    | Woke
    | StopRequested
)


# Commands: what the shell is to do.


@dataclass(frozen=True, slots=True)
class Register:
    """Insert the worker's row, then say `Registered`."""


@dataclass(frozen=True, slots=True)
class Read:
    """Read at most so many messages, hidden for so many seconds; then say `MessagesRead`.

    Attributes:
        wait: seconds for which the server waits where it finds nothing; 0: it answers at once.
    """

    quantity: int
    visibility_timeout: int
    wait: int = 0


@dataclass(frozen=True, slots=True)
class CancelRead:
    """Do not wait for the server any longer; the read still says what it found, if anything."""


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
    """Record these results in one transaction, then say `Recorded` or `NotRecorded`.

    Attributes:
        lane: which of the worker's `recorders` does it, from 0; one that does nothing else.
        read: what to read and claim in the same round trip, once the results are in the database;
            None: nothing.
    """

    results: tuple[Result, ...]
    lane: int = 0
    read: Read | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Give a sign of life, and say `Deprecated` where the database wants the worker to leave."""


@dataclass(frozen=True, slots=True)
class Recover:
    """Take back tasks of this flow that nobody works on any more, then say `Recovered`."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Hear of inserts into the queue: say `Listening`, `Notified` each time, `NotListening`."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Tell people that these results could not be recorded: refused, or no time was left."""

    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class MarkStopped:
    """Mark the worker's row as stopped, and end."""


Command: TypeAlias = (
    Register
    | Read
    | CancelRead
    | Claim
    | Run
    | Cancel
    | Record
    | Heartbeat
    | Recover
    | Listen
    | Abandon
    | MarkStopped
)
