"""Claims: `start_tasks`, and the input that a task gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_ref.json_contract import decode, encode
from pgflow_ref.model.rows import SECOND, Record
from pgflow_ref.model.runs import map_output
from pgflow_ref.model.state import FOREIGN_KEY_VIOLATION, Refused, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_ref.json_contract import Json
    from pgflow_ref.model import calls
    from pgflow_ref.model.rows import Flow, Jsonb, Run, TaskRow
    from pgflow_ref.model.state import Transaction


def start_tasks(tx: Transaction, call: calls.StartTasks) -> list[Record]:
    """`pgflow.start_tasks`: claim the queued tasks of these messages.

    It reads tasks, and does not look at their messages.
    """
    wanted = set(call.msg_ids or ()) - {None}
    claimed = [task for task in _tasks_of_flow(tx, call.flow_slug) if task.message_id in wanted]
    records = []
    started: list[TaskRow] = []
    lost: list[TaskRow] = []
    for task in claimed:
        run = tx.runs[task.run_id]
        if task.status == "started":
            tx.note("started_task_is_never_requeued")
        if task.status != "queued":
            continue
        if run.row.status == "failed" and not _starts_all_the_same(tx):
            lost.append(task)
            continue
        _note_claim(tx, task)
        records.append(_record(tx, tx.flows[task.flow_slug], run, task))
        started.append(task)
    # The update finds tasks by message id, and does not look at their runs again.
    numbers = {task.message_id for task in started}
    shared = [task for task in lost if task.message_id in numbers]
    if shared:
        tx.note("reused_message_id_starts_lost_task")
    for task in started + shared:
        tx.put_task(
            task._replace(
                status="started",
                attempts_count=task.attempts_count + 1,
                started_at=tx.now,
                last_worker_id=call.worker_id,
            )
        )
    if records and call.worker_id is None:
        tx.note("claim_needs_no_worker")
    if len({record.msg_id for record in records}) < len(records):
        tx.note("reused_message_id_claims_both")
    if records and call.worker_id is not None and call.worker_id not in tx.workers:
        raise Refused(FOREIGN_KEY_VIOLATION, "step_tasks_last_worker_id_fkey")
    return records


def _starts_all_the_same(tx: Transaction) -> bool:
    """Whether tasks of failed runs are handed out."""
    closed = tx.has("failed_run_is_closed")
    tx.note("failed_run_is_closed" if closed else "failed_run_starts_tasks")
    return not closed


def _tasks_of_flow(tx: Transaction, flow_slug: str | None) -> Iterator[TaskRow]:
    for run in tx.runs.values():
        if run.row.flow_slug == flow_slug:
            yield from run.tasks.values()


def _record(tx: Transaction, flow: Flow, run: Run, task: TaskRow) -> Record:
    """A task with its input: an element for a map step, else the run's input and outputs."""
    step = flow.steps[task.step_slug]
    if tx.has("task_index_in_record") and task.task_index:
        tx.note("task_index_in_record")
    outputs = _dep_outputs(tx, flow, run, task.step_slug)
    given: Jsonb | None
    if step.step_type == "single":
        given = encode({"run": decode(run.row.input), **outputs})
    elif not step.deps_count:
        given = _element(decode(run.row.input), task.task_index)
    else:
        # Where a map step has been given more than one dependency: jsonb's order, the first key.
        first = min(outputs, key=lambda slug: (len(slug), slug))
        if len(outputs) > 1:
            tx.note("map_of_two_uses_one")
        given = _element(outputs[first], task.task_index)
    return Record(
        task.flow_slug, task.run_id, task.step_slug, given, task.message_id, task.task_index
    )


def _dep_outputs(tx: Transaction, flow: Flow, run: Run, slug: str) -> dict[str, Json]:
    """The outputs of a step's dependencies, as the flow has them by now."""
    outputs: dict[str, Json] = {}
    for dep in sorted(dep for dep, waiting in flow.deps if waiting == slug):
        if flow.steps[dep].step_type == "map":
            outputs[dep] = map_output(run, dep)
            if dep not in run.states or run.states[dep].status != "completed":
                tx.note("incomplete_map_is_cut_short")
            continue
        task = run.tasks.get((dep, 0))
        if task is not None and task.status == "completed":
            outputs[dep] = value_of(task.output)
            if task.output is None:
                tx.note("null_output_is_json_null")
        elif tx.has("missing_output_is_null"):
            tx.note("missing_output_is_null")
            outputs[dep] = None
        else:
            tx.note("missing_output_is_left_out")
    return outputs


def _element(array: Json, index: int) -> Jsonb | None:
    """`jsonb_array_element`, to which a scalar is an array of one, and an object is none."""
    items = array if isinstance(array, list) else [] if isinstance(array, dict) else [array]
    return encode(items[index]) if index < len(items) else None


def _note_claim(tx: Transaction, task: TaskRow) -> None:
    """What a claim leaves undone."""
    flow, queue = tx.flows[task.flow_slug], tx.queues.get(task.flow_slug.lower())
    message = None if queue is None else queue.messages.get(task.message_id)
    if message is None or not message.read_ct:
        tx.note("claim_ignores_visibility")
    over = tx.clock + flow.timeout(task.step_slug) * SECOND
    if message is not None and message.vt < over:
        tx.note("claim_shows_message_again")
    if flow.max_attempts(task.step_slug) == 0:
        tx.note("one_attempt_at_least")
