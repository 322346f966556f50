"""Runs: `start_flow`, `start_ready_steps`, `cascade_complete_taskless_steps`, `maybe_complete_run`.

What SQL does in no certain order happens here by slug, or by index where the core sorts so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgflow_ref.json_contract import decode, encode
from pgflow_ref.model import queue, tables
from pgflow_ref.model.calls import OMITTED
from pgflow_ref.model.rows import Run, RunRow, StateRow, TaskRow
from pgflow_ref.model.state import (
    FOREIGN_KEY_VIOLATION,
    RAISED,
    UNIQUE_VIOLATION,
    Refused,
    not_null,
    value_of,
    when,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from pgflow_ref.json_contract import Json
    from pgflow_ref.model import calls
    from pgflow_ref.model.rows import Flow, Jsonb
    from pgflow_ref.model.state import Transaction

_LONGEST_CASCADE: Final = 50


def start_flow(tx: Transaction, call: calls.StartFlow | calls.StartFlowWithStates) -> list[RunRow]:
    """`pgflow.start_flow`."""
    flow = tx.flows.get(call.flow_slug or "")
    items = _root_map_items(tx, flow, call.input)
    if call.run_id is OMITTED or call.run_id is None:
        run_id = tx.state().next_run_id
        tx.generated += 1
    else:
        run_id = call.run_id
    not_null(call.flow_slug, call.input)
    if run_id in tx.runs:
        raise Refused(UNIQUE_VIOLATION, "runs_pkey")
    if flow is None:
        raise Refused(FOREIGN_KEY_VIOLATION, "runs_flow_slug_fkey")
    assert call.input is not None
    row = RunRow(
        run_id, flow.row.flow_slug, "started", call.input, None, len(flow.steps), tx.now, None, None
    )
    tx.put_run(row)
    _put_states(tx, flow, run_id, items)
    payload = {
        "event_type": "run:started",
        "flow_slug": row.flow_slug,
        "input": decode(call.input),
        "status": "started",
        "remaining_steps": row.remaining_steps,
        "started_at": when(row.started_at),
    }
    tx.send_event(run_id, "run:started", payload)
    if tx.has("map_steps"):
        cascade(tx, run_id)
    start_ready_steps(tx, run_id)
    if tx.has("stepless_run_completes_at_once"):
        maybe_complete_run(tx, run_id)
    if not flow.steps:
        stays = tx.runs[run_id].row.status == "started"
        tx.note("stepless_run_stays_started" if stays else "stepless_run_completes_at_once")
    return [tx.runs[run_id].row]


def start_flow_with_states(tx: Transaction, call: calls.StartFlowWithStates) -> list[Json]:
    """`pgflow.start_flow_with_states`."""
    return get_run_with_states(tx, start_flow(tx, call)[0].run_id)


def get_run_with_states(tx: Transaction, run_id: UUID | None) -> list[Json]:
    """`pgflow.get_run_with_states`; the order of the steps is not said."""
    run = tx.run(run_id)
    if run is None:
        return [None]
    columns = tx.profile.columns
    states: list[Json] = [
        tables.as_json(run.states[slug], columns["step_states"]) for slug in sorted(run.states)
    ]
    return [{"run": tables.as_json(run.row, columns["runs"]), "steps": states}]


def start_ready_steps(tx: Transaction, run_id: UUID | None) -> None:
    """`pgflow.start_ready_steps`.

    From 0.7 on it also looks for steps without tasks, but `cascade` has always been there first.
    """
    run = tx.run(run_id)
    if run is None:
        return
    if run.row.status == "failed" and tx.has("failed_run_is_closed"):
        tx.note("failed_run_is_closed")
        return
    flow = tx.flows[run.row.flow_slug]
    for slug in sorted(run.states):
        state = run.states[slug]
        if state.status != "created" or state.remaining_deps:
            continue
        tasks = state.initial_tasks if tx.has("map_steps") else 1
        assert tasks  # how many there are is known by now, and none are not started
        _start(tx, flow, state, tasks)


def cascade(tx: Transaction, run_id: UUID | None) -> int:
    """`pgflow.cascade_complete_taskless_steps`, wave after wave: how many steps it completed."""
    run = tx.run(run_id)
    if run is None:
        return 0
    flow, total = tx.flows[run.row.flow_slug], 0
    for _ in range(_LONGEST_CASCADE):
        run = tx.runs[run.row.run_id]
        wave = [
            run.states[step.step_slug]
            for step in sorted(flow.steps.values(), key=lambda step: step.step_index)
            if step.step_slug in run.states and _is_taskless(run.states[step.step_slug])
        ]
        if not wave:
            return total
        total += len(wave)
        _complete_wave(tx, flow, run, wave)
    tx.note("cascade_ends_at_fifty")
    raise Refused(RAISED)


def maybe_complete_run(tx: Transaction, run_id: UUID | None) -> None:
    """`pgflow.maybe_complete_run`: with no steps left, the leaves' outputs are the run's."""
    run = tx.run(run_id)
    if run is None or run.row.remaining_steps or run.row.status == "completed":
        return
    outputs = dict(_leaf_outputs(tx, run))
    output = encode(outputs) if outputs else None
    row = run.row._replace(status="completed", completed_at=tx.now, output=output)
    tx.put_run(row)
    payload = {
        "event_type": "run:completed",
        "flow_slug": row.flow_slug,
        "status": "completed",
        "output": value_of(output),
        "completed_at": when(tx.now),
    }
    tx.send_event(row.run_id, "run:completed", payload)


def map_output(run: Run, slug: str) -> list[Json]:
    """What a map step has put out so far: its completed tasks' outputs in order."""
    tasks = sorted(
        (task for task in run.tasks.values() if task.step_slug == slug),
        key=lambda task: task.task_index,
    )
    texts = (task.output or "null" for task in tasks if task.status == "completed")
    outputs = decode(f"[{','.join(texts)}]")  # at once, since there may be thousands
    assert isinstance(outputs, list)
    return outputs


def _root_map_items(tx: Transaction, flow: Flow | None, given: Jsonb | None) -> int:
    """How many tasks a root map step gets, if the flow has one: its input must be an array."""
    roots = flow.steps.values() if flow else ()
    if not any(step.step_type == "map" and not step.deps_count for step in roots):
        return 0
    value = value_of(given)
    if not isinstance(value, list):
        raise Refused(RAISED)
    tx.note("map_steps")
    return len(value)


def _put_states(tx: Transaction, flow: Flow, run_id: UUID, items: int) -> None:
    for step in flow.steps.values():
        if not tx.has("map_steps"):
            remaining, initial = 1, None
        elif step.step_type == "single":
            remaining, initial = None, 1
        else:
            remaining, initial = None, None if step.deps_count else items
        times = (tx.now, None, None, None)
        tx.put_state(
            StateRow(
                flow.row.flow_slug,
                run_id,
                step.step_slug,
                "created",
                remaining,
                initial,
                step.deps_count,
                None,
                *times,
            )
        )
        if step.deps_count > sum(waiting == step.step_slug for _, waiting in flow.deps):
            tx.note("repeated_dependency_never_starts")


def _start(tx: Transaction, flow: Flow, state: StateRow, tasks: int) -> None:
    """Start a step: its messages, its tasks."""
    remaining = tasks if tx.has("map_steps") else state.remaining_tasks
    state = state._replace(status="started", started_at=tx.now, remaining_tasks=remaining)
    tx.put_state(state)
    if tx.has("step_started_is_sent"):
        tx.note("step_started_is_sent")
        payload: dict[str, Json] = {
            "event_type": "step:started",
            "step_slug": state.step_slug,
            "status": "started",
            "started_at": when(tx.now),
            "remaining_tasks": remaining,
            "remaining_deps": state.remaining_deps,
        }
        tx.send_event(state.run_id, f"step:{state.step_slug}:started", payload)
    else:
        tx.note("step_started_is_not_sent")
    delay = flow.steps[state.step_slug].opt_start_delay or 0
    if delay:
        tx.note("start_delay")
    for index in range(tasks):
        about = {
            "flow_slug": state.flow_slug,
            "run_id": str(state.run_id),
            "step_slug": state.step_slug,
            "task_index": index,
        }
        message_id = queue.send(tx, state.flow_slug, encode(about), delay)
        tx.put_task(
            TaskRow(
                flow_slug=state.flow_slug,
                run_id=state.run_id,
                step_slug=state.step_slug,
                task_index=index,
                message_id=message_id,
                status="queued",
                attempts_count=0,
                error_message=None,
                output=None,
                queued_at=tx.now,
                started_at=None,
                completed_at=None,
                failed_at=None,
                last_worker_id=None,
            )
        )


def _is_taskless(state: StateRow) -> bool:
    return state.status == "created" and not state.remaining_deps and state.initial_tasks == 0


def _complete_wave(tx: Transaction, flow: Flow, run: Run, wave: list[StateRow]) -> None:
    """Complete steps without tasks, and count down those that wait for them."""
    for state in wave:
        tx.put_state(
            state._replace(
                status="completed", started_at=tx.now, completed_at=tx.now, remaining_tasks=0
            )
        )
        payload: dict[str, Json] = {
            "event_type": "step:completed",
            "step_slug": state.step_slug,
            "status": "completed",
            "started_at": when(tx.now),
            "completed_at": when(tx.now),
            "remaining_tasks": 0,
            "remaining_deps": 0,
            "output": [],
        }
        tx.send_event(run.row.run_id, f"step:{state.step_slug}:completed", payload)
    done = {state.step_slug for state in wave}
    for slug, state in run.states.items():
        needed = sum(dep in done for dep, waiting in flow.deps if waiting == slug)
        if needed:
            _note_refusal(tx, state, needed)
            empty = 0 if flow.steps[slug].step_type == "map" else state.initial_tasks
            remaining = state.remaining_deps - needed
            tx.put_state(state._replace(remaining_deps=remaining, initial_tasks=empty))
    row = tx.runs[run.row.run_id].row
    tx.put_run(row._replace(remaining_steps=row.remaining_steps - len(wave)))


def _note_refusal(tx: Transaction, state: StateRow, needed: int) -> None:
    if state.remaining_deps < needed:
        tx.note("completion_refused_by_new_dependency")


def _leaf_outputs(tx: Transaction, run: Run) -> Iterator[tuple[str, Json]]:
    """The outputs of the completed steps that nothing waits for, by now, in the flow."""
    flow = tx.flows[run.row.flow_slug]
    waiting: dict[str, set[str]] = {}
    for dep, step in flow.deps:
        waiting.setdefault(dep, set()).add(step)
    for slug in sorted(run.states):
        if slug in waiting:
            if not waiting[slug] & run.states.keys():
                tx.note("new_step_empties_output")
        else:
            yield slug, _step_output(tx, run, flow, slug)


def _step_output(tx: Transaction, run: Run, flow: Flow, slug: str) -> Json:
    if flow.steps[slug].step_type == "map":
        return map_output(run, slug)
    output = run.tasks[slug, 0].output
    if output is None:
        tx.note("null_output_is_json_null")
    return value_of(output)
