"""A fleet's work against the oracle: every call, every output, every run."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from conformance.harness.invariants import TaskId
from conformance.harness.values import same, show
from conformance.mixed import fairness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conformance.harness.judge import Seen
    from conformance.mixed.oracle import Expected

FAIR: Final = 0.25
"""The least part of its fair share that a language must have done."""
_SAID: Final = 20  # problems of a kind that are told


def problems(seen: Seen, told: Sequence[Expected]) -> Iterator[str]:
    """All that is not as the oracle says, or not fair.

    Args:
        seen: what happened.
        told: what must become of each run, in the order of the case.
    """
    by_id = dict(zip(seen.run_ids, told, strict=True))
    yield from _some(_runs(seen, by_id))
    yield from _some(_tasks(seen, by_id))
    yield from _some(_calls(seen, by_id))
    shares = seen.shares()
    yield from fairness.idle(shares)
    done = [(worker.adapter.language, shares.get(worker.name, 0)) for worker in seen.workers]
    yield from fairness.unfair_shares(done, FAIR)
    yield from _some(fairness.passed_over(seen.history.events, len(seen.workers)))


def _some(found: Iterator[str]) -> Iterator[str]:
    """The first of many problems of one kind, and how many more there are."""
    listed = list(found)
    yield from listed[:_SAID]
    if len(listed) > _SAID:
        yield f"and {len(listed) - _SAID} more like that"


def _runs(seen: Seen, by_id: Mapping[str, Expected]) -> Iterator[str]:
    for run_id, expected in by_id.items():
        status, output = seen.runs.get(run_id, ("missing", None))
        wanted = expected.output(seen.case.flow)
        if status != expected.status:
            yield f"run {run_id[:8]} is {status}, not {expected.status}"
        elif not same(output, wanted):
            yield f"run {run_id[:8]} has the output {show(output)}, not {show(wanted)}"
        if expected.failing and status == "failed":
            failed = {s for s in expected.failing if seen.steps.get((run_id, s)) == "failed"}
            if not failed:
                yield f"run {run_id[:8]} failed, and none of {sorted(expected.failing)} did"


def _tasks(seen: Seen, by_id: Mapping[str, Expected]) -> Iterator[str]:
    """What is completed has the right output, after the right number of attempts."""
    counts: Counter[tuple[str, str]] = Counter()
    for task, row in seen.tasks.items():
        expected = by_id.get(task.run_id)
        slug = task.step_slug
        if expected is None or slug not in expected.inputs:
            yield f"{task} should not be there"
            continue
        counts[task.run_id, slug] += 1
        if row["status"] in ("completed", "failed"):
            yield from _over(task, row, expected, is_map=_is_map(seen, slug))
        elif expected.status == "completed":
            yield f"{task} is {row['status']}, and its run is to be completed"
    for run_id, expected in by_id.items():
        for slug, inputs in expected.inputs.items():
            wanted = len(inputs["whole"])
            if expected.status == "completed" and counts[run_id, slug] != wanted:
                yield f"{slug} of run {run_id[:8]} has {counts[run_id, slug]} tasks, not {wanted}"


def _over(
    task: TaskId, row: Mapping[str, Any], expected: Expected, *, is_map: bool
) -> Iterator[str]:
    slug = task.step_slug
    wanted = "failed" if slug in expected.failing else "completed"
    if row["status"] != wanted:
        yield f"{task} is {row['status']}, not {wanted}: {show(row['error'])}"
        return
    if row["attempts"] != expected.attempts[slug]:
        yield f"{task} took {row['attempts']} attempts, not {expected.attempts[slug]}"
    if wanted == "failed":
        return
    output = expected.outputs[slug][task.task_index] if is_map else expected.outputs[slug]
    if not same(row["output"], output):
        yield f"{task} has the output {show(row['output'])}, not {show(output)}"


def _calls(seen: Seen, by_id: Mapping[str, Expected]) -> Iterator[str]:
    """The input that a handler saw is what the oracle says, at every attempt."""
    calls: dict[TaskId, int] = defaultdict(int)
    for worker in seen.workers:
        for line in worker.of("call"):
            task = TaskId(str(line["run_id"]), str(line["step_slug"]), int(line["task_index"]))
            expected = by_id.get(task.run_id)
            inputs = expected.inputs.get(task.step_slug) if expected else None
            if expected is None or inputs is None or task.task_index >= len(inputs["whole"]):
                yield f"{worker.name} was called for {task}, which should not be there"
                continue
            wanted = inputs[worker.handler_input][task.task_index]
            if not same(line.get("input"), wanted):
                yield f"{worker.name}: {task} saw {show(line.get('input'))}, not {show(wanted)}"
            calls[task] += 1
            if calls[task] == expected.attempts[task.step_slug] + 1:
                yield f"{task} was called more than {expected.attempts[task.step_slug]} times"


def _is_map(seen: Seen, slug: str) -> bool:
    return any(step.is_map for step in seen.case.shape.steps if step.slug == slug)
