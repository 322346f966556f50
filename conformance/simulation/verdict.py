"""What must be true when a schedule is over: the suite's invariants, and what workers were told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from conformance.harness.invariants import History, broken
from conformance.harness.values import same
from pgflow_ref.json_contract import decode
from pgflow_ref.task import Completed, TaskKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conformance.harness.eventlog import Event
    from conformance.simulation.world import World
    from pgflow_ref.model.rows import TaskRow
    from pgflow_ref.task import Outcome

Row = dict[str, Any]

JUDGED: Final = frozenset({"run", "step", "task", "archive"})
"""The sources that a verdict needs; no invariant looks at messages or workers."""


class End(NamedTuple):
    """How an attempt ended, as the database has it.

    Attributes:
        row: its task afterwards.
        taken_back: whether it was recovery that ended it.
    """

    row: Row
    taken_back: bool


def problems(world: World, events: Sequence[Event]) -> Iterator[str]:
    """All promises that this schedule broke, a sentence for each."""
    schedule = world.schedule
    limits = dict.fromkeys(schedule.flow.timeouts, schedule.max_attempts)
    yield from broken(History(schedule.flow.shape, limits, events))
    ends: dict[TaskKey, End] = {}
    for key, end in ended(events, world.database.recoveries):
        if key in ends:
            yield f"{_name(key)} has two results"
        ends[key] = end
    yield from _of_results(world, ends)
    yield from _of_workers(world)
    yield from _of_runs(world, ends)


def ended(events: Sequence[Event], recoveries: set[int]) -> Iterator[tuple[TaskKey, End]]:
    """Each end of an attempt, in order."""
    for event in events:
        if event.source != "task" or event.old is None or event.new is None:
            continue
        if event.old["status"] == "started" and event.new["status"] != "started":
            old = event.old
            run_id = UUID(old["run_id"])
            key = TaskKey(run_id, old["step_slug"], old["task_index"], old["attempts_count"])
            yield key, End(event.new, event.txid in recoveries)


def _is_over(event: Event) -> bool:
    return event.became("completed") or event.became("failed")


def _of_results(world: World, ends: Mapping[TaskKey, End]) -> Iterator[str]:
    """What a worker was told is recorded is, and nothing is but what a worker sent."""
    runs = world.database.state.runs
    closed = "failed_run_is_closed" in world.database.profile.behaviours
    for worker in world.workers:
        for key, outcome in worker.told.items():
            end = ends.get(key)
            if end is None:
                # A run that failed takes no result any more, where the core closes it.
                if not (closed and runs[key.run_id].row.status == "failed"):
                    yield f"the result of {_name(key)} is lost, and its worker was told it is not"
            elif not end.taken_back and not _is_result(outcome, end.row):
                yield f"another result took effect for {_name(key)} than its worker recorded"
    for key, end in ends.items():
        if end.taken_back:
            continue
        sent = (outcome for worker in world.workers for outcome in worker.sent.get(key, ()))
        if not any(_is_result(outcome, end.row) for outcome in sent):
            yield f"{_name(key)} has a result that no worker sent"


def _of_workers(world: World) -> Iterator[str]:
    """A worker that stops has recorded what it has run, or said that it could not."""
    for worker in world.workers:
        if worker.vanished:
            continue
        for key in sorted(worker.ran - worker.told.keys() - worker.abandoned):
            yield f"the result of {_name(key)} is forgotten by a worker that stopped"


def _of_runs(world: World, ends: Mapping[TaskKey, End]) -> Iterator[str]:
    """With a worker that stays, every run ends; in calm weather, without any help."""
    state, calm = world.database.state, world.schedule.is_calm
    staying = any(worker.life.stays and not worker.vanished for worker in world.workers)
    for run in state.runs.values():
        if run.row.status != "started":
            continue
        if staying:
            yield f"run {run.row.run_id} has not ended"
        if calm:
            for task in run.tasks.values():
                if task.status == "started":
                    yield f"{_name(_attempt(task))} is left started"
    if calm:
        for key, end in ends.items():
            if end.taken_back:
                yield f"{_name(key)} was claimed, and nobody spoke of it again"


def _is_result(outcome: Outcome, row: Row) -> bool:
    """Whether a task looks as this outcome leaves it."""
    if isinstance(outcome, Completed):
        # Also where an output fails its task: a map step waits for it, and it is no array.
        given = None if outcome.output is None else decode(outcome.output)
        return row["status"] in ("completed", "failed") and same(row["output"], given)
    return row["status"] in ("queued", "failed") and row["error_message"] == outcome.message


def _attempt(task: TaskRow) -> TaskKey:
    return TaskKey(task.run_id, task.step_slug, task.task_index, task.attempts_count)


def _name(key: TaskKey) -> str:
    return f"attempt {key.attempt} of {key.step_slug}[{key.task_index}], run {key.run_id}"
