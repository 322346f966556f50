"""Completions: `complete_task`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_ref.model import queue
from pgflow_ref.model.failures import (
    fail_run,
    leave_active_tasks,
    run_failed_payload,
    step_failed_payload,
    task_of,
)
from pgflow_ref.model.runs import cascade, map_output, maybe_complete_run, start_ready_steps
from pgflow_ref.model.state import value_of, when

if TYPE_CHECKING:
    from pgflow_ref.json_contract import Json
    from pgflow_ref.model import calls
    from pgflow_ref.model.rows import Flow, Run, StateRow, TaskRow
    from pgflow_ref.model.state import Transaction


def complete_task(tx: Transaction, call: calls.CompleteTask) -> list[TaskRow]:
    """`pgflow.complete_task`.

    Whatever it finds, it goes on: the event, the archive, the next steps and the end of the run
    follow from how things are, not from whether this call changed them.
    """
    run = tx.run(call.run_id)
    if run is None:
        return []
    if run.row.status == "failed":
        if tx.has("failed_run_is_closed"):
            tx.note("failed_run_is_closed")
            return task_of(tx, call)
        tx.note("failed_run_is_open")
    violated = _violated(tx, call, run) if tx.has("map_steps") else None
    if violated is not None:
        _violate(tx, call, run, violated)
        return []
    for task in task_of(tx, call):
        if task.status == "started":
            _complete(tx, call, task)
        elif task.status == "completed":
            tx.note("completion_sent_again")
    _follow_up(tx, call, run)
    return task_of(tx, call)


def _follow_up(tx: Transaction, call: calls.CompleteTask, run: Run) -> None:
    """What a completed task, step or run brings about."""
    run_id = run.row.run_id
    state = tx.runs[run_id].states.get(call.step_slug or "")
    if state is not None and state.status == "completed":
        _send_step_completed(tx, call, state)
        if tx.has("map_steps"):
            cascade(tx, run_id)
    for task in task_of(tx, call):
        if task.status == "completed":
            queue.archive(tx, task.flow_slug, [task.message_id])
    start_ready_steps(tx, run_id)
    maybe_complete_run(tx, run_id)
    if not run.states and run.row.status != tx.runs[run_id].row.status:
        tx.note("complete_task_completes_stepless_run")


def _complete(tx: Transaction, call: calls.CompleteTask, task: TaskRow) -> None:
    """Complete a task, its step with its last task, and count down what waits for the step."""
    if task.error_message is not None:
        tx.note("error_outlives_success")
    before = tx.runs[task.run_id]
    tx.put_task(task._replace(status="completed", completed_at=tx.now, output=call.output))
    state = before.states[task.step_slug]
    assert state.remaining_tasks is not None
    left = state.remaining_tasks - 1
    if left:
        tx.put_state(state._replace(remaining_tasks=left))
        return
    tx.put_state(state._replace(status="completed", completed_at=tx.now, remaining_tasks=0))
    tx.put_run(before.row._replace(remaining_steps=before.row.remaining_steps - 1))
    flow = tx.flows[task.flow_slug]
    for dep, waiting in flow.deps:
        if dep == task.step_slug and waiting in before.states:
            child = before.states[waiting]
            if not child.remaining_deps:
                tx.note("completion_refused_by_new_dependency")
            tasks = _initial_tasks(tx, call, flow, child)
            left = child.remaining_deps - 1
            tx.put_state(child._replace(remaining_deps=left, initial_tasks=tasks))


def _initial_tasks(
    tx: Transaction, call: calls.CompleteTask, flow: Flow, child: StateRow
) -> int | None:
    """How many tasks a waiting step gets, where its dependency's completion says it."""
    if flow.steps[child.step_slug].step_type == "single" or child.initial_tasks is not None:
        return child.initial_tasks
    assert call.step_slug is not None
    if flow.steps[call.step_slug].step_type == "map":
        return len(map_output(tx.runs[child.run_id], call.step_slug))
    value = value_of(call.output)
    assert isinstance(value, list)  # or it would have violated the type
    return len(value)


def _send_step_completed(tx: Transaction, call: calls.CompleteTask, state: StateRow) -> None:
    """Tell of a completed step, with the output of this call, stored or not."""
    step = tx.flows[state.flow_slug].steps[state.step_slug]
    run = tx.runs[state.run_id]
    is_map = step.step_type == "map"
    output = map_output(run, step.step_slug) if is_map else value_of(call.output)
    payload = {
        "event_type": "step:completed",
        "step_slug": state.step_slug,
        "status": "completed",
        "output": output,
        "completed_at": when(state.completed_at),
    }
    tx.send_event(state.run_id, f"step:{state.step_slug}:completed", payload)


def _violated(tx: Transaction, call: calls.CompleteTask, run: Run) -> str | None:
    """The map step that waits for an array, where this output is none.

    This is judged whether or not there is such a task to complete.
    """
    flow = tx.flows[run.row.flow_slug]
    step = flow.steps.get(call.step_slug or "")
    if step is None or step.step_type == "map" or isinstance(value_of(call.output), list):
        return None
    waiting = sorted(child for dep, child in flow.deps if dep == step.step_slug)
    for child in waiting:
        unknown = child in run.states and run.states[child].initial_tasks is None
        if unknown and flow.steps[child].step_type == "map":
            return child
    return None


def _violate(tx: Transaction, call: calls.CompleteTask, run: Run, child: str) -> None:
    """Fail the run, the task, if there is one, and the step."""
    assert call.step_slug is not None
    kind = _kind(value_of(call.output))
    fail_run(tx, run, step_failed=True)
    tx.send_event(run.row.run_id, "run:failed", run_failed_payload(tx, run))
    tx.note("type_violation_says_less")
    leave_active_tasks(tx, run)
    tasks = task_of(tx, call)
    if [task.status for task in tasks] != ["started"]:
        tx.note("type_violation_needs_no_claim")
    message = f"[TYPE_VIOLATION] Produced {kind} instead of array"
    for task in tasks:
        failed = task._replace(status="failed", failed_at=tx.now, error_message=message)
        tx.put_task(failed._replace(output=call.output))
    reason = (
        f"[TYPE_VIOLATION] Map step {child} expects array input but dependency"
        f" {call.step_slug} produced {kind}"
    )
    state = run.states.get(call.step_slug)
    if state is not None:  # else the step was added to the flow after the run had begun
        tx.put_state(state._replace(status="failed", failed_at=tx.now, error_message=reason))
    payload = step_failed_payload(tx, call.step_slug, reason)
    tx.send_event(run.row.run_id, f"step:{call.step_slug}:failed", payload)


def _kind(value: Json) -> str:
    """`jsonb_typeof`; of NULL, null."""
    if value is None:
        return "null"
    names = {bool: "boolean", str: "string", dict: "object"}
    return names.get(type(value), "number")
