"""What a worker knows."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgflow_ref.config import WorkerConfig
    from pgflow_ref.task import Result, Task, TaskKey

NEVER: Final = math.inf
_FIRST_RETRY: Final = 0.1  # seconds until a failed call to the database is tried again
_LAST_RETRY: Final = 10.0


class Phase(enum.Enum):
    """Where in its life a worker is."""

    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker is told before it starts.

    Attributes:
        config: its options.
        timeouts: seconds by step slug.
        with_dependents: the steps that other steps wait for.
    """

    config: WorkerConfig
    timeouts: Mapping[str, float]
    with_dependents: frozenset[str]

    @property
    def visibility_timeout(self) -> int:
        """Seconds for which a read hides messages: longer than any task that may hold one.

        The core means to see to that itself, in `start_tasks`, and up to 0.14 does not: a message
        whose reader was less patient comes back while its task runs.
        """
        if self.config.visibility_timeout is not None:
            return self.config.visibility_timeout
        return int(max(self.timeouts.values(), default=60)) + 2


@dataclass(frozen=True, slots=True)
class Running:
    """A task in its handler, and when its time is over."""

    task: Task
    timeout: float
    deadline: float


_NOTHING: Final[Mapping[TaskKey, Running]] = MappingProxyType({})
_NOWHERE: Final[Mapping[int, tuple[Result, ...]]] = MappingProxyType({})


class State(NamedTuple):
    """All that a worker knows. Times are seconds on the clock that the events come with."""

    plan: Plan
    now: float = 0.0
    phase: Phase = Phase.NEW
    reading: bool = False  # a read, the claim after it, or a recovery is on its way
    poll_at: float = 0.0
    poll_wait: float = 0.0  # the last wait after an empty read; 0 after a message
    poll_retry: float = 0.0  # the last wait after a failed read; 0 after a good one
    waiting: bool = False  # the read on its way is one that waits in the server
    listening: bool = False
    listen_at: float = NEVER  # when to try to listen; while that is tried, never
    listen_retry: float = 0.0  # the last wait after listening failed; 0 while it works
    notified_at: float = -NEVER
    heard: bool = False  # of an insert that the read on its way may not have seen
    running: Mapping[TaskKey, Running] = _NOTHING
    overdue_at: float = NEVER  # no deadline of those that run is before this
    outbox: tuple[Result, ...] = ()
    recording: Mapping[int, tuple[Result, ...]] = _NOWHERE  # by lane; those that do something
    apart: int = 0  # how many of the outbox's first results are recorded alone: refused together
    record_at: float = 0.0
    record_retry: float = 0.0
    heartbeat_at: float = 0.0
    recover_at: float = NEVER
    stop_by: float | None = None  # when those that still run are given back

    @property
    def free(self) -> int:
        """How many more tasks may be claimed: one is held until its result is recorded."""
        recording = sum(len(results) for results in self.recording.values())
        held = len(self.running) + len(self.outbox) + recording
        return self.plan.config.max_concurrency - held

    @property
    def free_lanes(self) -> list[int]:
        """Those that may record."""
        lanes = range(self.plan.config.recorders)
        return [lane for lane in lanes if lane not in self.recording]

    @property
    def is_out_of_time(self) -> bool:
        """Whether the time to stop is over."""
        return self.stop_by is not None and self.now >= self.stop_by

    @property
    def can_read(self) -> bool:
        """Whether it may read now, or when its wait is over."""
        return self.phase is Phase.RUNNING and not self.reading and self.free > 0


def longer(wait: float) -> float:
    """The next wait after a failed call, by the last one."""
    return min(2 * wait, _LAST_RETRY) if wait else _FIRST_RETRY
