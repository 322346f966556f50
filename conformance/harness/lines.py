"""What the contract says of a worker's own lines: their order, and what a `call` has to match."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from conformance.harness.contract import mistake
from conformance.harness.invariants import TaskId, task_of
from conformance.harness.values import show

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from conformance.harness.eventlog import Event
    from conformance.harness.processes import WorkerProcess

_RANK: Final = {"hello": 0, "ready": 1, "call": 2, "stopped": 3}


def problems(
    workers: Sequence[WorkerProcess],
    events: Iterable[Event],
    tasks: Collection[TaskId],
    *,
    excused: bool = False,
    unknown: Collection[str] = (),
) -> Iterator[str]:
    """All that is wrong with the lines of these workers.

    Args:
        workers: who took part.
        events: what happened in the database.
        tasks: all that there are in the database.
        excused: whether something was done to a worker, so that it may have had no time to say that
            it is ready, or to call a handler for a task that it had started.
        unknown: steps that only the database has, so that nobody has a handler to call.
    """
    for worker in workers:
        yield from _order(worker, excused=excused)
    ids = Counter(worker.worker_id for worker in workers if worker.worker_id is not None)
    yield from (
        f"{count} workers say that they are {one}" for one, count in ids.items() if count > 1
    )
    known = [event for event in events if event.row.get("step_slug") not in unknown]
    yield from _calls(workers, known, tasks, excused=excused)


def _order(worker: WorkerProcess, *, excused: bool) -> Iterator[str]:
    """`hello`, `ready`, any number of `call`, `stopped`; what is missing is noticed elsewhere."""
    kinds = [str(line.get("type")) for line in worker.lines]
    known = [kind for kind in kinds if kind in _RANK]
    if known != sorted(known, key=_RANK.__getitem__):
        yield f"{worker.name}: its lines are not in the order hello, ready, call, stopped"
    gave_up = excused and "ready" not in kinds
    for kind in ("hello", "ready"):
        if kinds.count(kind) != 1 and not (gave_up and kinds.count(kind) == 0):
            yield f"{worker.name}: it said {kind} {kinds.count(kind)} times"
    for form in ("hello", "ready", "stopped"):
        for line in worker.of(form):
            wrong = mistake(form, line)
            if wrong is not None:
                yield f"{worker.name}: its line {form}: {wrong}"


def _calls(
    workers: Sequence[WorkerProcess],
    events: Iterable[Event],
    tasks: Collection[TaskId],
    *,
    excused: bool,
) -> Iterator[str]:
    """Every start of a task is one call of a handler, by the worker that had started it."""
    started = {
        (task_of(event.row), event.row["last_worker_id"], event.row["attempts_count"])
        for event in events
        if event.source == "task" and event.became("started")
    }
    starts = Counter((task, owner) for task, owner, _ in started)
    mine = {worker.worker_id for worker in workers}
    begun: Counter[TaskId] = Counter()
    for (task, owner), count in starts.items():
        begun[task] += count if owner in mine else 0
    calls: Counter[TaskId] = Counter()
    for worker in workers:
        called = Counter(one for line in worker.of("call") if (one := _task(line)))
        calls.update(called)
        yield from _calls_of(worker, called, started, starts)
    for task, count in begun.items():
        if calls[task] < count and not excused:
            yield f"{task}: {count} attempts, but {calls[task]} calls of its handler"
    for task in calls.keys() - set(tasks):
        yield f"{task}: its handler was called, but there is no such task"


def _calls_of(
    worker: WorkerProcess,
    called: Counter[TaskId],
    started: Collection[tuple[TaskId, str, int]],
    starts: Mapping[tuple[TaskId, str], int],
) -> Iterator[str]:
    """Each call names a task, and no more of them than the worker has started.

    Its form is looked at by hand: the schema takes 60 µs for one of what may be 200,000 lines.
    """
    owner = str(worker.worker_id)
    for line in worker.of("call"):
        task, attempt = _task(line), line.get("attempt", 0)
        if task is None:
            yield f"{worker.name}: this call names no task: {show(line)}"
        elif "input" not in line:
            yield f"{worker.name}: {task}: its call has no input"
        elif attempt is not None and (task, owner, _number(attempt)) not in started:
            yield f"{worker.name}: {task}: it called attempt {attempt}, and had not started it"
    for task, count in called.items():
        begun = starts.get((task, owner), 0)
        if count > begun:
            yield f"{worker.name}: {task}: it called {count}, and had started {begun} of them"


def _number(attempt: object) -> int:
    return attempt if type(attempt) is int else -1


def _task(line: Mapping[str, Any]) -> TaskId | None:
    run_id, slug, index = line.get("run_id"), line.get("step_slug"), line.get("task_index")
    if not isinstance(run_id, str) or not isinstance(slug, str) or type(index) is not int:
        return None
    return TaskId(run_id, slug, index)
