"""Failures: `fail_task`, `calculate_retry_delay`, and how a run fails."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pgflow_ref.model import queue
from pgflow_ref.model.state import NUMERIC_OUT_OF_RANGE, Refused, when

if TYPE_CHECKING:
    from pgflow_ref.json_contract import Json
    from pgflow_ref.model import calls
    from pgflow_ref.model.rows import Run, TaskRow
    from pgflow_ref.model.state import Transaction

_INT4: Final = range(-(2**31), 2**31)


def calculate_retry_delay(base_delay: int | None, attempts: int | None) -> int | None:
    """`pgflow.calculate_retry_delay`: seconds; computed as double precision."""
    if base_delay is None or attempts is None:
        return None
    try:
        power = math.pow(2, attempts)
        delay = math.floor(base_delay * power)
    except OverflowError:  # in the power, or in the product, which is then infinite
        raise Refused(NUMERIC_OUT_OF_RANGE) from None
    if not power or delay not in _INT4:
        raise Refused(NUMERIC_OUT_OF_RANGE)
    return delay


def fail_task(tx: Transaction, call: calls.FailTask) -> list[TaskRow]:
    """`pgflow.fail_task`: try again later, or fail task, step and run."""
    run = tx.run(call.run_id)
    if run is None:
        return []
    if run.row.status == "failed" and tx.has("failed_run_is_closed"):
        _fail_late(tx, call)
        return task_of(tx, call)
    if run.row.status == "failed":
        tx.note("failed_run_is_open")
    started = [task for task in task_of(tx, call) if task.status == "started"]
    step_failed = any(_fail_or_retry(tx, call, task) for task in started)
    fail_run(tx, run, step_failed=step_failed)
    _send_failed(tx, call, run, step_failed=step_failed)
    if step_failed:
        leave_active_tasks(tx, run)
    for task in task_of(tx, call):
        if task.status == "queued":
            _postpone(tx, task, asked_for=not started)
        elif task.status == "failed":
            queue.archive(tx, task.flow_slug, [task.message_id])
    return task_of(tx, call)


def task_of(tx: Transaction, call: calls.CompleteTask | calls.FailTask) -> list[TaskRow]:
    """The task that a call is about, if there is one."""
    assert call.run_id is not None
    if call.step_slug is None or call.task_index is None:
        return []
    task = tx.runs[call.run_id].tasks.get((call.step_slug, call.task_index))
    return [] if task is None else [task]


def fail_run(tx: Transaction, run: Run, *, step_failed: bool) -> None:
    """Fail the run with its step; else its `failed_at` is cleared, whatever it was."""
    if step_failed:
        tx.put_run(run.row._replace(status="failed", failed_at=tx.now))
    else:
        if run.row.failed_at is not None:
            tx.note("fail_task_clears_failed_at")
        tx.put_run(run.row._replace(failed_at=None))


def step_failed_payload(tx: Transaction, slug: str, message: str | None) -> dict[str, Json]:
    """What step:failed says, but for the run's id."""
    return {
        "event_type": "step:failed",
        "step_slug": slug,
        "status": "failed",
        "error_message": message,
        "failed_at": when(tx.now),
    }


def run_failed_payload(tx: Transaction, run: Run) -> dict[str, Json]:
    """What run:failed says, but for the run's id."""
    return {
        "event_type": "run:failed",
        "flow_slug": run.row.flow_slug,
        "status": "failed",
        "failed_at": when(tx.now),
    }


def leave_active_tasks(tx: Transaction, run: Run) -> None:
    """What becomes of the other tasks of a run that fails: at most, their messages are archived."""
    tasks = tx.runs[run.row.run_id].tasks.values()
    active = [task.message_id for task in tasks if task.status in ("queued", "started")]
    if not active:
        return
    if tx.has("failed_run_is_closed"):
        tx.note("failed_run_strands_tasks")
        queue.archive(tx, run.row.flow_slug, active)
    else:
        tx.note("failed_run_keeps_messages")


def _fail_or_retry(tx: Transaction, call: calls.FailTask, task: TaskRow) -> bool:
    """Queue a started task again, or fail it and its step: whether it failed."""
    limit = tx.flows[task.flow_slug].max_attempts(task.step_slug)
    task = task._replace(error_message=call.error_message)
    if task.attempts_count < limit:
        tx.put_task(task._replace(status="queued", started_at=None))
        return False
    tx.put_task(task._replace(status="failed", failed_at=tx.now))
    state = tx.runs[task.run_id].states[task.step_slug]
    tx.put_state(
        state._replace(status="failed", failed_at=tx.now, error_message=call.error_message)
    )
    return True


def _send_failed(tx: Transaction, call: calls.FailTask, run: Run, *, step_failed: bool) -> None:
    """Tell of a failed step and a failed run: of those that are, not of those that became so."""
    slug = call.step_slug or ""
    before, after = run.states.get(slug), tx.runs[run.row.run_id].states.get(slug)
    if before is not None and after is not None and after.status == "failed":
        if before.status == "failed":
            tx.note("step_failed_sent_again")
        payload = step_failed_payload(tx, slug, call.error_message)
        tx.send_event(run.row.run_id, f"step:{slug}:failed", payload)
    if step_failed or run.row.status == "failed":
        if run.row.status == "failed":
            tx.note("run_failed_sent_again")
        payload = run_failed_payload(tx, run) | {"error_message": call.error_message}
        tx.send_event(run.row.run_id, "run:failed", payload)


def _postpone(tx: Transaction, task: TaskRow, *, asked_for: bool) -> None:
    """Hide a queued task's message until its next attempt, whether or not this call queued it."""
    base = tx.flows[task.flow_slug].base_delay(task.step_slug)
    try:
        delay = calculate_retry_delay(base, task.attempts_count)
    except Refused:
        tx.note("retry_delay_overflows")
        raise
    assert delay is not None
    if queue.set_vt(tx, task.flow_slug, task.message_id, delay) and asked_for:
        tx.note("fail_task_postpones_queued_task")


def _fail_late(tx: Transaction, call: calls.FailTask) -> None:
    """A failure in a run that has failed already, from 0.7 on: noted, and not told."""
    tx.note("failed_run_is_closed")
    for task in task_of(tx, call):
        if task.status == "started":
            tx.note("late_failure_is_silent")
            failed = task._replace(status="failed", failed_at=tx.now)
            tx.put_task(failed._replace(error_message=call.error_message))
        queue.archive(tx, task.flow_slug, [task.message_id])
