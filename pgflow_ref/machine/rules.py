"""A step of the machine: take in what happened, then decide what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_ref.execute import STOPPED, timed_out
from pgflow_ref.machine import polling, results
from pgflow_ref.machine.state import NEVER, Phase, Running, State
from pgflow_ref.protocol import (
    Cancel,
    CancelRead,
    Command,
    Deprecated,
    Event,
    Finished,
    Heartbeat,
    Listen,
    Listening,
    MarkStopped,
    MessagesRead,
    Notified,
    NotListening,
    NotRecorded,
    PollFailed,
    Recorded,
    Recover,
    Recovered,
    Register,
    Registered,
    Run,
    Started,
    StopRequested,
    TasksClaimed,
    Woke,
)
from pgflow_ref.task import Result

if TYPE_CHECKING:
    from pgflow_ref.task import Task


def step(state: State, *events: Event) -> tuple[State, list[Command]]:
    """Take in what happened; return the new state and what is to be done now, in order.

    Args:
        state: what the worker knows.
        events: one, or all that happened since the last step, in order. Results that are ready
            together are recorded together, so a shell gives all that it has at once.

    Example:
        >>> from pgflow_ref.config import WorkerConfig
        >>> from pgflow_ref.machine.state import Plan
        >>> from pgflow_ref.protocol import Registered, Started
        >>> state = State(Plan(WorkerConfig(), {"hello": 60}, frozenset()))
        >>> state, commands = step(state, Started(now=0.0))
        >>> commands
        [Register()]
        >>> state, commands = step(state, Registered(now=0.1))
        >>> commands
        [Heartbeat(), Read(quantity=10, visibility_timeout=62, wait=0)]
    """
    commands: list[Command] = []
    for event in events:
        state = _take_in(state._replace(now=max(state.now, event.now)), event, commands)
    return _decide(state, commands), commands


def wake_at(state: State) -> float | None:
    """When the machine wants to see a `Woke`, if nothing else happens before."""
    if state.phase not in (Phase.RUNNING, Phase.STOPPING):
        return None
    times = [state.heartbeat_at]
    if state.running:
        times.append(state.overdue_at)
    if state.phase is Phase.RUNNING:
        times.append(state.listen_at)
        if not state.reading:
            times.append(state.recover_at)
    if state.can_read:
        times.append(state.poll_at)
    if state.outbox and state.free_lanes:
        times.append(state.record_at)
    if state.stop_by is not None and state.running:
        times.append(state.stop_by)
    return min(times)


def _take_in(  # noqa: C901, PLR0911, PLR0912  # one case for each event
    state: State, event: Event, commands: list[Command]
) -> State:
    """Note what happened; deciding what follows is `_decide`'s, but for what follows directly."""
    match event:
        case Started():
            commands.append(Register())
            return state
        case Registered():
            return _begin(state)
        case MessagesRead():
            return polling.take_in_messages(state, event, commands)
        case TasksClaimed():
            return _take_in_tasks(state._replace(reading=False, poll_retry=0.0), event, commands)
        case PollFailed():
            return polling.take_in_failure(state)
        case Finished():
            return results.take_in_outcome(state, event)
        case Recorded():
            return _take_in_tasks(results.take_in_recorded(state, event), event, commands)
        case NotRecorded():
            return results.take_in_refusal(state, event, commands)
        case Recovered():
            return _take_in_recovery(state, event)
        case Listening() | NotListening() | Notified():
            return polling.take_in_signal(state, event)
        case StopRequested():
            return _take_in_stop(state, commands)
        case Deprecated():
            return state if state.stop_by is not None else _take_in_stop(state, commands)
        case Woke():
            return state


def _begin(state: State) -> State:
    config, now = state.plan.config, state.now
    return state._replace(
        phase=Phase.RUNNING if state.stop_by is None else Phase.STOPPING,
        poll_at=now,
        heartbeat_at=now,
        listen_at=now if config.signal_strategy == "notify" else NEVER,
        recover_at=NEVER if config.recovery_interval is None else now + config.recovery_interval,
    )


def _take_in_tasks(state: State, event: TasksClaimed | Recorded, commands: list[Command]) -> State:
    if not event.tasks:
        return state
    if state.is_out_of_time:
        return results.settle(state, *(Result(task, STOPPED) for task in event.tasks))
    commands.extend(Run(task) for task in event.tasks)
    started = {task.key: _running(state, task) for task in event.tasks}
    overdue_at = min(one.deadline for one in started.values())
    return state._replace(
        running={**state.running, **started}, overdue_at=min(state.overdue_at, overdue_at)
    )


def _running(state: State, task: Task) -> Running:
    # A step that only the database knows fails in a moment; any timeout will do.
    timeout = state.plan.timeouts.get(task.key.step_slug, 60.0)
    return Running(task, timeout, state.now + timeout)


def _take_in_recovery(state: State, event: Recovered) -> State:
    interval = state.plan.config.recovery_interval
    assert interval is not None, "it was asked for"
    # Workers that began together are not to look together for ever.
    recover_at = state.now + interval * (0.75 + event.chance / 2)
    poll_at = state.now if event.count else state.poll_at
    return state._replace(reading=False, recover_at=recover_at, poll_at=poll_at)


def _take_in_stop(state: State, commands: list[Command]) -> State:
    if state.waiting:
        commands.append(CancelRead())
        state = state._replace(waiting=False)
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
    state = results.record(state, commands)
    if state.phase is Phase.RUNNING:
        return _look_for_work(state, commands)
    if not (state.reading or state.running or state.outbox or state.recording):
        commands.append(MarkStopped())
        state = state._replace(phase=Phase.STOPPED)
    return state


def _look_for_work(state: State, commands: list[Command]) -> State:
    if state.now >= state.listen_at:
        commands.append(Listen())
        state = state._replace(listen_at=NEVER)
    if not state.reading and state.now >= state.recover_at:
        commands.append(Recover())
        return state._replace(reading=True, recover_at=NEVER)
    return polling.read(state, commands)


def _end_overdue(state: State, commands: list[Command]) -> State:
    if state.now < state.overdue_at and not state.is_out_of_time:
        return state
    over = [
        Result(running.task, timed_out(running.timeout) if late else STOPPED)
        for running in state.running.values()
        if (late := running.deadline <= state.now) or state.is_out_of_time
    ]
    commands.extend(Cancel(result.task) for result in over)
    state = results.settle(state, *over)
    left = (running.deadline for running in state.running.values())
    return state._replace(overdue_at=min(left, default=NEVER))
