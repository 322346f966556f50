"""Check an adapter's word `work`: it serves runs, says what it does, and stops in good order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from conformance.harness import eventlog, invariants, lines, processes, trespass
from conformance.harness.checkup import FLOW, INPUTS, OPTIONS, Checkup
from conformance.harness.invariants import History, TaskId
from conformance.harness.processes import WorkerProblem, WorkerProcess
from conformance.harness.values import same, show
from pgflow_ref.compile import from_json
from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_EVERY: Final = 0.02
_MOMENT: Final = 3.0  # seconds for a line that was flushed
_RUNS_WITHIN: Final = 30.0  # seconds for a few runs that take little more than one


def serves(checkup: Checkup) -> str:
    """Serve the runs, and stop in the middle of one."""
    with checkup.worker(FLOW, OPTIONS) as worker:
        _wait_ready(checkup, worker)
        known = checkup.database.connection.execute(
            "SELECT FROM pgflow.workers WHERE worker_id::text = %s", [worker.worker_id]
        )
        if known.fetchone() is None:
            checkup.wrong(
                f"it said ready as {worker.worker_id!r}, which has no row in pgflow.workers"
            )
        if not checkup.run_ids:  # `start` was wrong, which is told already
            _start_run(checkup)
        _wait_over(checkup, worker)
        last = _start_run(checkup)
        _wait(checkup, worker, "did not begin the second step", lambda: _is_in_hand(checkup, last))
        worker.stop(processes.STOP_WITHIN * checkup.patience)
        for problem in worker.problems:
            checkup.wrong(problem)
    _look(checkup, worker, last)
    return f"{len(worker.of('call'))} calls, stopped during one"


def _wait_ready(checkup: Checkup, worker: WorkerProcess) -> None:
    """Wait for `ready`; one that comes when the worker ends was not flushed."""
    try:
        worker.wait_ready()
    except WorkerProblem:
        if worker.exit_code() is None:
            worker.stop(processes.STOP_WITHIN * checkup.patience)
            if worker.worker_id is not None:
                raise WorkerProblem("its lines came only when it ended") from None
        for problem in worker.problems:
            checkup.wrong(problem)
        raise


def _wait_over(checkup: Checkup, worker: WorkerProcess) -> None:
    """Wait until all runs are over; nothing may be done whose `call` has not been said before."""

    def over() -> bool:
        rows = checkup.database.connection.execute(
            "SELECT run_id::text, step_slug FROM pgflow.step_tasks"
            " WHERE status = 'completed' AND step_slug = 'second'"
        ).fetchall()
        if any(not _has_said(worker, row) for row in rows):
            checkup.wrong("a task was completed for which it had not said call")
        running = checkup.database.connection.execute(
            "SELECT count(*) FROM pgflow.runs WHERE status = 'started'"
        ).fetchone()
        return running == (0,)

    _wait(checkup, worker, "did not get its runs to an end", over)


def _has_said(worker: WorkerProcess, task: tuple[object, ...]) -> bool:
    """Whether it has called this run's step; what is flushed is there in a moment at the latest."""

    def said() -> bool:
        return any((one.get("run_id"), one.get("step_slug")) == task for one in worker.of("call"))

    try:
        worker.wait_for(said, _MOMENT, "say call")
    except WorkerProblem:
        return False
    return True


def _wait(checkup: Checkup, worker: WorkerProcess, what: str, until: Callable[[], bool]) -> None:
    within = _RUNS_WITHIN * checkup.patience
    give_up_at = time.monotonic() + within
    while not until():
        code = worker.exit_code()
        if code is not None:
            raise WorkerProblem(f"it exited with {code} and {what}: {_last_words(worker)}")
        if time.monotonic() > give_up_at:
            for problem in worker.problems:
                checkup.wrong(problem)
            raise WorkerProblem(f"it {what} within {within:g} s: {_last_words(worker)}")
        time.sleep(_LOOK_EVERY)


def _last_words(worker: WorkerProcess) -> str:
    said = worker.stderr().strip().splitlines()[-3:]
    return " | ".join(said) or "(nothing on stderr)"


def _start_run(checkup: Checkup) -> str:
    row = checkup.database.connection.execute(
        "SELECT run_id::text FROM pgflow.start_flow(%s, %s)", [FLOW["slug"], encode(INPUTS[0])]
    ).fetchone()
    assert row is not None
    return str(row[0])


def _is_in_hand(checkup: Checkup, run_id: str) -> bool:
    row = checkup.database.connection.execute(
        "SELECT FROM pgflow.step_tasks"
        " WHERE run_id = %s AND step_slug = 'second' AND status <> 'queued'",
        [run_id],
    ).fetchone()
    return row is not None


def _look(checkup: Checkup, worker: WorkerProcess, last: str) -> None:
    """What the database and the lines say, now that it is over."""
    connection = checkup.database.connection
    tasks: dict[TaskId, tuple[Any, ...]] = {
        TaskId(str(run), str(step), int(str(index))): tuple(rest)
        for run, step, index, *rest in connection.execute(
            "SELECT run_id::text, step_slug, task_index, status, output, error_message"
            " FROM pgflow.step_tasks"
        )
    }
    inputs = checkup.inputs()
    for task, (status, output, error) in tasks.items():
        given = inputs[task.run_id]
        wanted = given["n"] if task.step_slug == "first" else {"done": True}
        if status != "completed" and task.run_id == last:
            checkup.wrong(f"the task that ran at SIGTERM was not finished: it is {status}")
        elif status != "completed":
            checkup.wrong(f"step {task.step_slug} is {status}: {error}")
        elif not same(output, wanted):
            checkup.wrong(
                f"step {task.step_slug}: its output is {show(output)}, not {show(wanted)}"
            )
        _inputs(checkup, worker, task, given)
    events = eventlog.of_flow(connection, FLOW["slug"])
    limits = {step["slug"]: FLOW["max_attempts"] for step in FLOW["steps"]}
    found = [
        *lines.problems([worker], events, tasks),
        *trespass.problems(connection),
        *invariants.broken(History(from_json(FLOW), limits, events)),
    ]
    for problem in found:
        checkup.wrong(problem)


def _inputs(checkup: Checkup, worker: WorkerProcess, task: TaskId, given: Any) -> None:
    """The argument of its calls is of the form that `hello` names."""
    split = given if task.step_slug == "first" else {"first": given["n"]}
    whole = {"run": given, **({} if task.step_slug == "first" else split)}
    wanted = whole if worker.handler_input == "whole" else split
    for call in worker.of("call"):
        if (call.get("run_id"), call.get("step_slug")) == task[:2] and "input" in call:
            seen = call["input"]
            if not same(seen, wanted):
                checkup.wrong(
                    f"step {task.step_slug}: its handler saw {show(seen)}, and as handler_input is"
                    f" {worker.handler_input}, it should see {show(wanted)}"
                )
