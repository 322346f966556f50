"""The worker that the harness plays itself: it claims, completes and fails tasks, as SQL alone.

So a case has another worker that does at any moment exactly what the case says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from conformance.harness.processes import WorkerProblem
from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.harness.stage import Stage

_REGISTER: Final = """
INSERT INTO pgflow.workers (worker_id, queue_name, function_name)
VALUES (gen_random_uuid(), %(flow)s, 'harness') RETURNING worker_id::text
"""
_CLAIM: Final = """
SELECT count(*) FROM pgflow.step_tasks t, LATERAL pgflow.start_tasks(
    flow_slug => t.flow_slug, msg_ids => ARRAY[t.message_id], worker_id => %(harness)s::uuid)
WHERE t.run_id = %(run_id)s AND t.step_slug = %(step)s AND t.task_index = %(index)s
"""
_COMPLETE: Final = "SELECT pgflow.complete_task(%(run_id)s, %(step)s, %(index)s, %(output)s::jsonb)"
_FAIL: Final = "SELECT pgflow.fail_task(%(run_id)s, %(step)s, %(index)s, %(error)s)"
_TASK: Final = """
SELECT status || ' ' || attempts_count FROM pgflow.step_tasks
WHERE run_id = %(run_id)s AND step_slug = %(step)s AND task_index = %(index)s
"""


def claim(stage: Stage, what: Mapping[str, Any]) -> None:
    """Start a task in the harness's own name.

    Raises:
        WorkerProblem: it is not there to be started, so somebody was where nobody should be.
    """
    if stage.own_worker is None:
        stage.own_worker = str(stage.value(_REGISTER))
    if not stage.value(_CLAIM, _names(stage, what)):
        found = stage.value(_TASK, _names(stage, what))
        raise WorkerProblem(f"another worker cannot claim step {what['step']}: it is {found}")


def complete(stage: Stage, what: Mapping[str, Any]) -> None:
    """Complete a task, whoever has it."""
    stage.value(_COMPLETE, {**_names(stage, what), "output": encode(what["output"])})


def fail(stage: Stage, what: Mapping[str, Any]) -> None:
    """Fail a task, whoever has it."""
    stage.value(_FAIL, {**_names(stage, what), "error": what["error"]})


def task_is(stage: Stage, what: Mapping[str, Any]) -> bool:
    """Whether a task has the status that is waited for and, if that is given, the attempt."""
    found = stage.value(_TASK, _names(stage, what))
    if found is None:
        return False
    status, _, attempts = str(found).partition(" ")
    return bool(status == what["status"] and what.get("attempts", int(attempts)) == int(attempts))


def words(what: Mapping[str, Any]) -> str:
    """What is waited for, for people."""
    attempts = f" after {what['attempts']} attempts" if "attempts" in what else ""
    return f"step {what['step']} of run {what.get('run', 1)} is {what['status']}{attempts}"


def _names(stage: Stage, what: Mapping[str, Any]) -> dict[str, Any]:
    run_id = stage.run_ids[what.get("run", 1) - 1]
    return {"run_id": run_id, "step": what["step"], "index": what.get("index", 0)}
