"""Rule 2: results wait in the outbox, and are recorded together, or one by one where that fails."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pgflow_ref.execute import timed_out
from pgflow_ref.machine.state import Phase, longer
from pgflow_ref.protocol import Abandon, Command, Finished, NotRecorded, Read, Record, Recorded
from pgflow_ref.task import Completed, Failed, Result

if TYPE_CHECKING:
    from pgflow_ref.machine.state import Plan, State


def settle(state: State, *results: Result) -> State:
    """Tasks have their outcomes."""
    running = dict(state.running)
    for result in results:
        running.pop(result.task.key, None)
    return state._replace(running=running, outbox=(*state.outbox, *results))


def take_in_outcome(state: State, event: Finished) -> State:
    """A handler is over."""
    running = state.running.get(event.key)
    if running is None:
        return state  # its time was over before; that is recorded already
    late = state.now >= running.deadline
    outcome = timed_out(running.timeout) if late else event.outcome
    return settle(state, Result(running.task, outcome))


def take_in_recorded(state: State, event: Recorded) -> State:
    """A batch is in the database: its slots are free, and there may be work that it made."""
    results = state.recording[event.lane]
    may_find = _make_work(state.plan, results) or state.free <= 0
    poll_at = state.now if may_find else state.poll_at
    return _leave(state, event.lane)._replace(record_retry=0.0, poll_at=poll_at)


def take_in_refusal(state: State, event: NotRecorded, commands: list[Command]) -> State:
    """A batch is not in the database."""
    results = state.recording[event.lane]
    state = _leave(state, event.lane)
    if event.refusal is not None:
        return _take_apart(state, results, event.refusal, commands)
    if state.is_out_of_time:
        commands.append(Abandon(results + state.outbox))
        return state._replace(outbox=())
    wait = longer(state.record_retry)
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


def record(state: State, commands: list[Command]) -> State:
    """Record what is ready, if it is time to."""
    if not state.outbox or state.now < state.record_at:
        return state
    share = _share(state)
    for lane in state.free_lanes:
        batch = state.outbox[: 1 if state.apart else share]
        if batch:
            commands.append(Record(batch, lane, _read_after(state, batch)))
            state = state._replace(
                recording={**state.recording, lane: batch},
                outbox=state.outbox[len(batch) :],
                apart=max(0, state.apart - 1),
            )
    return state


def _share(state: State) -> int:
    """How many results a lane takes: all, unless the worker had nothing else to do meanwhile."""
    if state.free > 0 or state.running or state.recording:
        return len(state.outbox)
    return math.ceil(len(state.outbox) / len(state.free_lanes))


def _read_after(state: State, batch: tuple[Result, ...]) -> Read | None:
    """What to read with the slots that a batch frees, where there is likely to be something.

    Only of a full worker, though a batch may make work as well: should the worker die before it
    hears of what it has claimed, nobody works on that until recovery. A full one risks that anyway.
    """
    if state.phase is not Phase.RUNNING or state.free > 0:
        return None
    return Read(min(len(batch), state.plan.config.batch_size), state.plan.visibility_timeout)


def _leave(state: State, lane: int) -> State:
    """Nothing is on its way in this lane any more."""
    recording = dict(state.recording)
    del recording[lane]
    return state._replace(recording=recording)


def _make_work(plan: Plan, results: tuple[Result, ...]) -> bool:
    """Whether there may be tasks for somebody once these results are recorded."""
    return any(
        isinstance(result.outcome, Failed) or result.task.key.step_slug in plan.with_dependents
        for result in results
    )
