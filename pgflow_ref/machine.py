"""The worker as a state machine: what it knows, what happened, and so what to do.

    state, commands = step(state, event)

There is no clock here, no connection and no thread. The shell (`worker.py`) performs commands and
reports what came of them as events, each with the time at which it was seen; chance is an input as
well (`MessagesRead.chance`). So every schedule can be played by a test, as often as it likes.

The rules, in the order in which `_decide` applies them after every event:

1.  A task that has run for its timeout fails, and what its handler still returns is dropped. When
    the time to stop is over, the same happens to all that still run.
2.  Results that are ready together are recorded together, one batch at a time. A batch that the
    database refuses is taken apart, so that one bad result does not hold up the others; an output
    that it refuses alone becomes a failure that says so, and a failure that it refuses is told to
    people. While the database is away the batch waits, longer each time.
3.  A task holds a slot from its claim until its result is recorded. A worker reads when it has a
    free slot, and never more messages than free slots. What a read finds is claimed at once;
    messages that the claim leaves out are somebody else's, or over, and are left alone. An empty
    read is followed by a random wait, longer after each; a message resets it. A result that may
    have made work, and a slot that frees in a full worker, end the wait.
4.  A sign of life is due every heartbeat interval, whatever else goes on.
5.  A stopping worker reads nothing more, and is stopped when nothing runs or waits any more.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from pgflow_ref.execute import STOPPED, timed_out
from pgflow_ref.protocol import (
    Abandon,
    Cancel,
    Claim,
    Command,
    Event,
    Finished,
    Heartbeat,
    MarkStopped,
    MessagesRead,
    NotRecorded,
    PollFailed,
    Read,
    Record,
    Recorded,
    Register,
    Registered,
    Run,
    Started,
    StopRequested,
    TasksClaimed,
    Woke,
)
from pgflow_ref.task import Completed, Failed, Outcome, Result, Task, TaskKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgflow_ref.config import WorkerConfig

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


class State(NamedTuple):
    """All that a worker knows. Times are seconds on the clock that the events come with."""

    plan: Plan
    now: float = 0.0
    phase: Phase = Phase.NEW
    reading: bool = False  # a read, or the claim after it, is on its way
    poll_at: float = 0.0
    poll_wait: float = 0.0  # the last wait after an empty read; 0 after a message
    poll_retry: float = 0.0  # the last wait after a failed read; 0 after a good one
    running: Mapping[TaskKey, Running] = _NOTHING
    outbox: tuple[Result, ...] = ()
    recording: tuple[Result, ...] = ()
    apart: int = 0  # how many of the outbox's first results are recorded alone: refused together
    record_at: float = 0.0
    record_retry: float = 0.0
    heartbeat_at: float = 0.0
    stop_by: float | None = None  # when those that still run are given back

    @property
    def free(self) -> int:
        """How many more tasks may be claimed: one is held until its result is recorded."""
        held = len(self.running) + len(self.outbox) + len(self.recording)
        return self.plan.config.max_concurrency - held


def step(state: State, event: Event) -> tuple[State, list[Command]]:
    """Take in one event; return the new state and what is to be done now, in order.

    Example:
        >>> from pgflow_ref.config import WorkerConfig
        >>> from pgflow_ref.protocol import Registered, Started
        >>> state = State(Plan(WorkerConfig(), {"hello": 60}, frozenset()))
        >>> state, commands = step(state, Started(now=0.0))
        >>> commands
        [Register()]
        >>> state, commands = step(state, Registered(now=0.1))
        >>> commands
        [Heartbeat(), Read(quantity=10, visibility_timeout=62)]
    """
    commands: list[Command] = []
    state = _take_in(state._replace(now=max(state.now, event.now)), event, commands)
    return _decide(state, commands), commands


def wake_at(state: State) -> float | None:
    """When the machine wants to see a `Woke`, if nothing else happens before."""
    if state.phase not in (Phase.RUNNING, Phase.STOPPING):
        return None
    times = [state.heartbeat_at, *(running.deadline for running in state.running.values())]
    if _can_read(state):
        times.append(state.poll_at)
    if state.outbox and not state.recording:
        times.append(state.record_at)
    if state.stop_by is not None and state.running:
        times.append(state.stop_by)
    return min(times)


def _take_in(  # noqa: C901, PLR0911  # one case for each event
    state: State, event: Event, commands: list[Command]
) -> State:
    """Note what happened; deciding what follows is `_decide`'s, but for what follows directly."""
    match event:
        case Started():
            commands.append(Register())
            return state
        case Registered():
            phase = Phase.RUNNING if state.stop_by is None else Phase.STOPPING
            return state._replace(phase=phase, poll_at=state.now, heartbeat_at=state.now)
        case MessagesRead():
            return _take_in_messages(state, event, commands)
        case TasksClaimed():
            return _take_in_tasks(state._replace(reading=False, poll_retry=0.0), event, commands)
        case PollFailed():
            wait = _longer(state.poll_retry)
            return state._replace(reading=False, poll_at=state.now + wait, poll_retry=wait)
        case Finished():
            return _take_in_outcome(state, event)
        case Recorded():
            made_work = any(_may_make_work(state.plan, result) for result in state.recording)
            poll_at = state.now if made_work or state.free <= 0 else state.poll_at
            return state._replace(recording=(), record_retry=0.0, poll_at=poll_at)
        case NotRecorded():
            return _take_in_refusal(state, event, commands)
        case StopRequested():
            return _take_in_stop(state)
        case Woke():
            return state


def _take_in_messages(state: State, event: MessagesRead, commands: list[Command]) -> State:
    if event.message_ids:
        # Also while stopping: a message that was read would be invisible for a long time.
        commands.append(Claim(event.message_ids))
        return state._replace(poll_at=state.now, poll_wait=0.0)
    config = state.plan.config
    least, most = config.min_poll_interval, config.max_poll_interval
    longest = min(3 * (state.poll_wait or least), most)
    wait = least + (longest - least) * event.chance
    poll_at = state.now + wait
    return state._replace(reading=False, poll_at=poll_at, poll_wait=wait, poll_retry=0.0)


def _take_in_tasks(state: State, event: TasksClaimed, commands: list[Command]) -> State:
    if _is_out_of_time(state):
        for task in event.tasks:
            state = _settle(state, task, Failed(STOPPED))
        return state
    commands.extend(Run(task) for task in event.tasks)
    started = {task.key: _running(state, task) for task in event.tasks}
    return state._replace(running={**state.running, **started})


def _take_in_outcome(state: State, event: Finished) -> State:
    running = state.running.get(event.key)
    if running is None:
        return state  # its time was over before; that is recorded already
    late = state.now >= running.deadline
    return _settle(state, running.task, timed_out(running.timeout) if late else event.outcome)


def _take_in_refusal(state: State, event: NotRecorded, commands: list[Command]) -> State:
    results = state.recording
    state = state._replace(recording=())
    if event.refusal is not None:
        return _take_apart(state, results, event.refusal, commands)
    if _is_out_of_time(state):
        commands.append(Abandon(results + state.outbox))
        return state._replace(outbox=())
    wait = _longer(state.record_retry)
    outbox = (*state.outbox, *results)  # at the end: what fails alone must not hold up the others
    return state._replace(outbox=outbox, record_at=state.now + wait, record_retry=wait)


def _take_apart(
    state: State, results: tuple[Result, ...], refusal: str, commands: list[Command]
) -> State:
    """Find out which result of a batch the database refuses, and do without that one."""
    if len(results) > 1:
        return state._replace(outbox=(*results, *state.outbox), apart=state.apart + len(results))
    task = results[0].task
    if isinstance(results[0].outcome, Completed):
        failure = Result(task, Failed(f"Output cannot be stored: {refusal}"))
        return state._replace(outbox=(failure, *state.outbox), apart=state.apart + 1)
    commands.append(Abandon(results))
    return state


def _take_in_stop(state: State) -> State:
    if state.stop_by is not None:
        return state._replace(stop_by=state.now, record_at=state.now)
    stop_by = state.now + state.plan.config.stop_timeout
    phase = Phase.STOPPING if state.phase is Phase.RUNNING else state.phase
    return state._replace(phase=phase, stop_by=stop_by)


def _decide(state: State, commands: list[Command]) -> State:
    if state.phase not in (Phase.RUNNING, Phase.STOPPING):
        return state
    state = _end_overdue(state, commands)
    if state.now >= state.heartbeat_at:
        commands.append(Heartbeat())
        interval = state.plan.config.heartbeat_interval
        state = state._replace(heartbeat_at=state.now + interval)
    if state.outbox and not state.recording and state.now >= state.record_at:
        batch = state.outbox[:1] if state.apart else state.outbox
        commands.append(Record(batch))
        outbox, apart = state.outbox[len(batch) :], max(0, state.apart - 1)
        state = state._replace(recording=batch, outbox=outbox, apart=apart)
    if _can_read(state) and state.now >= state.poll_at:
        quantity = min(state.free, state.plan.config.batch_size)
        commands.append(Read(quantity, state.plan.visibility_timeout))
        state = state._replace(reading=True)
    if state.phase is Phase.STOPPING and not (
        state.reading or state.running or state.outbox or state.recording
    ):
        commands.append(MarkStopped())
        state = state._replace(phase=Phase.STOPPED)
    return state


def _end_overdue(state: State, commands: list[Command]) -> State:
    for running in list(state.running.values()):
        if running.deadline <= state.now:
            outcome = timed_out(running.timeout)
        elif _is_out_of_time(state):
            outcome = Failed(STOPPED)
        else:
            continue
        commands.append(Cancel(running.task))
        state = _settle(state, running.task, outcome)
    return state


def _is_out_of_time(state: State) -> bool:
    return state.stop_by is not None and state.now >= state.stop_by


def _can_read(state: State) -> bool:
    return state.phase is Phase.RUNNING and not state.reading and state.free > 0


def _settle(state: State, task: Task, outcome: Outcome) -> State:
    running = {key: other for key, other in state.running.items() if key != task.key}
    return state._replace(running=running, outbox=(*state.outbox, Result(task, outcome)))


def _running(state: State, task: Task) -> Running:
    # A step that only the database knows fails in a moment; any timeout will do.
    timeout = state.plan.timeouts.get(task.key.step_slug, 60.0)
    return Running(task, timeout, state.now + timeout)


def _may_make_work(plan: Plan, result: Result) -> bool:
    if isinstance(result.outcome, Failed):
        return True
    return result.task.key.step_slug in plan.with_dependents


def _longer(wait: float) -> float:
    return min(2 * wait, _LAST_RETRY) if wait else _FIRST_RETRY
