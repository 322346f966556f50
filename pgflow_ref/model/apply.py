"""A call, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pgflow_ref.model import calls, claims, completions, definitions, failures, queue, runs
from pgflow_ref.model.profile import REFUSALS
from pgflow_ref.model.rows import WorkerRow
from pgflow_ref.model.state import (
    UNDEFINED_FUNCTION,
    UNIQUE_VIOLATION,
    Refused,
    Transaction,
    not_null,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_ref.model.profile import Behaviour, Profile
    from pgflow_ref.model.rows import Event
    from pgflow_ref.model.state import Refusal, State


class Reply(NamedTuple):
    """What comes of a call.

    Attributes:
        state: the database afterwards.
        rows: what the call gives back: rows of `rows.py`, or single values.
        events: what it sent through `realtime.send`, in order.
        refusal: why the database refuses it, or None. Then there are no rows and no events, and
            nothing has changed but the time and what a sequence gave away.
        seen: the behaviours that showed.
    """

    state: State
    rows: tuple[object, ...]
    events: tuple[Event, ...]
    refusal: Refusal | None
    seen: frozenset[Behaviour]


def apply(state: State, call: calls.Call, profile: Profile) -> Reply:
    """Do one call, in a transaction of its own.

    It begins at `state.clock`, and the new state's clock is when it is over.

    Args:
        state: the database.
        call: what is asked of it.
        profile: which version of the core it has.
    """
    tx = Transaction(state, profile)
    try:
        rows = tuple(_CALLS[type(call)](tx, call))
    except Refused as refused:
        after = state._replace(clock=tx.clock)
        return Reply(after, (), (), refused.refusal, frozenset(tx.seen & REFUSALS))
    return Reply(tx.state(), rows, tuple(tx.events), None, frozenset(tx.seen))


def _register_worker(tx: Transaction, call: calls.RegisterWorker) -> list[WorkerRow]:
    not_null(call.worker_id, call.queue_name, call.function_name)
    assert call.worker_id is not None
    assert call.queue_name is not None
    assert call.function_name is not None
    if call.worker_id in tx.workers:
        raise Refused(UNIQUE_VIOLATION, "workers_pkey")
    row = WorkerRow(call.worker_id, call.queue_name, call.function_name, tx.now, None, tx.now)
    tx.put_worker(row)
    return [row]


def _heartbeat(tx: Transaction, call: calls.Heartbeat) -> list[WorkerRow]:
    row = tx.workers.get(call.worker_id)
    if row is None:
        return []
    tx.put_worker(row._replace(last_heartbeat_at=tx.clock))
    return [tx.workers[call.worker_id]]


def _end_worker(tx: Transaction, call: calls.EndWorker) -> list[WorkerRow]:
    deprecates = tx.has("workers_are_deprecated")
    tx.note("workers_are_deprecated" if deprecates else "workers_are_stopped")
    row = tx.workers.get(call.worker_id)
    if row is None:
        return []
    tx.put_worker(row._replace(ended_at=tx.clock))
    return [tx.workers[call.worker_id]]


def _delete_worker(tx: Transaction, call: calls.DeleteWorker) -> list[WorkerRow]:
    deleted = [row for key, row in tx.workers.items() if key == call.worker_id]
    tx.workers = {key: row for key, row in tx.workers.items() if key != call.worker_id}
    for run in tx.runs.values():
        for task in run.tasks.values():
            if task.last_worker_id == call.worker_id:
                tx.put_task(task._replace(last_worker_id=None))
    return deleted


def _pass(tx: Transaction, call: calls.Pass) -> list[object]:
    tx.clock += call.microseconds
    return []


def _start_ready_steps(tx: Transaction, call: calls.StartReadySteps) -> list[object]:
    runs.start_ready_steps(tx, call.run_id)
    return []


def _maybe_complete_run(tx: Transaction, call: calls.MaybeCompleteRun) -> list[object]:
    runs.maybe_complete_run(tx, call.run_id)
    return []


def _cascade(tx: Transaction, call: calls.CascadeCompleteTasklessSteps) -> list[int]:
    if not tx.has("map_steps"):
        raise Refused(UNDEFINED_FUNCTION)
    return [runs.cascade(tx, call.run_id)]


def _read_with_poll(tx: Transaction, call: calls.ReadWithPoll) -> list[Any]:
    in_core = tx.has("read_with_poll_in_core")
    tx.note("read_with_poll_in_core" if in_core else "read_with_poll_in_pgmq")
    return queue.read_with_poll(tx, call)


def _archive(tx: Transaction, call: calls.Archive) -> list[bool]:
    return [queue.archive(tx, call.queue_name, [call.msg_id]) > 0]


_CALLS: Final[dict[type[calls.Call], Callable[[Transaction, Any], list[Any]]]] = {
    calls.CreateFlow: definitions.create_flow,
    calls.AddStep: definitions.add_step,
    calls.IsValidSlug: lambda _, call: [definitions.is_valid_slug(call.slug)],
    calls.CalculateRetryDelay: lambda _, call: [
        failures.calculate_retry_delay(call.base_delay, call.attempts_count)
    ],
    calls.StartFlow: runs.start_flow,
    calls.StartFlowWithStates: runs.start_flow_with_states,
    calls.GetRunWithStates: lambda tx, call: runs.get_run_with_states(tx, call.run_id),
    calls.StartReadySteps: _start_ready_steps,
    calls.CascadeCompleteTasklessSteps: _cascade,
    calls.MaybeCompleteRun: _maybe_complete_run,
    calls.StartTasks: claims.start_tasks,
    calls.CompleteTask: completions.complete_task,
    calls.FailTask: failures.fail_task,
    calls.PollForTasks: lambda _tx, _call: [],
    calls.RegisterWorker: _register_worker,
    calls.Heartbeat: _heartbeat,
    calls.EndWorker: _end_worker,
    calls.DeleteWorker: _delete_worker,
    calls.Read: lambda tx, call: queue.read(tx, call.queue_name, call.vt, call.qty),
    calls.ReadWithPoll: _read_with_poll,
    calls.SetVtBatch: queue.set_vt_batch,
    calls.Send: lambda tx, call: [queue.send(tx, call.queue_name, call.message, call.delay)],
    calls.SetVt: lambda tx, call: queue.set_vt(tx, call.queue_name, call.msg_id, call.vt),
    calls.Archive: _archive,
    calls.Delete: queue.delete,
    calls.DropQueue: queue.drop,
    calls.Pass: _pass,
}
