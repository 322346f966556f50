"""What must hold of every history, whatever the flow and whoever works on it.

Each invariant is a pure function from the events to the sentences that say where it does not hold.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from conformance.harness.values import same

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from conformance.harness.eventlog import Event
    from pgflow_ref.shape import FlowShape


class TaskId(NamedTuple):
    """Names a task in the log."""

    run_id: str
    step_slug: str
    task_index: int

    def __str__(self) -> str:
        return f"{self.step_slug}[{self.task_index}] of run {self.run_id[:8]}"


class History(NamedTuple):
    """What is judged.

    Attributes:
        flow: the flow that all runs are of.
        max_attempts: how often each of its tasks may be tried, by step slug.
        events: the log.
    """

    flow: FlowShape
    max_attempts: Mapping[str, int]
    events: Sequence[Event]

    def of(self, source: str) -> Iterator[Event]:
        """The events of one source."""
        return (event for event in self.events if event.source == source)


def broken(history: History, suspended: Collection[str] = ()) -> list[str]:
    """Check the invariants; one sentence for each place where one does not hold.

    Args:
        history: what is judged.
        suspended: names of those that are not asked for.
    """
    return [
        problem
        for invariant in INVARIANTS
        if invariant.__name__ not in suspended
        for problem in invariant(history)
    ]


def task_of(row: Mapping[str, Any]) -> TaskId:
    """Which task a row of `step_tasks`, or a message, is about."""
    return TaskId(row["run_id"], row["step_slug"], row["task_index"])


def dependencies_first(history: History) -> Iterator[str]:
    """No task is queued before all steps that its step depends on are completed."""
    needs = {step.slug: step.depends_on for step in history.flow.steps}
    done: set[tuple[str, str]] = set()
    for event in history.events:
        row = event.row
        if event.source == "step" and event.became("completed"):
            done.add((row["run_id"], row["step_slug"]))
        elif event.source == "task" and event.old is None:
            missing = [s for s in needs[row["step_slug"]] if (row["run_id"], s) not in done]
            if missing:
                yield f"{task_of(row)} was queued before {', '.join(missing)} was completed"


def completed_once(history: History) -> Iterator[str]:
    """No task is completed twice, and a completed one stays so, with its output."""
    done: set[TaskId] = set()
    for event in history.of("task"):
        task = task_of(event.row)
        if event.became("completed"):
            if task in done:
                yield f"{task} was completed twice"
            done.add(task)
        elif task in done:
            yield f"{task} changed after it was completed"


def attempts_in_bounds(history: History) -> Iterator[str]:
    """Attempts go up by one with each start, and never past the limit."""
    for event in history.of("task"):
        row, old = event.row, event.old
        task, attempts = task_of(row), row["attempts_count"]
        before = old["attempts_count"] if old else 0
        if attempts > history.max_attempts[task.step_slug]:
            yield f"{task} is at attempt {attempts} of {history.max_attempts[task.step_slug]}"
        expected = before + 1 if event.became("started") else before
        if attempts != expected:
            yield f"{task} went from attempt {before} to {attempts}"


def held_by_one(history: History) -> Iterator[str]:
    """A task is claimed out of the queue, and ends in the hands of the worker that claimed it."""
    for event in history.of("task"):
        row, old = event.row, event.old
        if old is None:
            continue
        if event.became("started") and old["status"] != "queued":
            yield f"{task_of(row)} was claimed while it was {old['status']}"
        if old["status"] == "queued" and row["status"] in ("completed", "failed"):
            yield f"{task_of(row)} was {row['status']} while nobody had it"
        if old["status"] == "started":
            claimed, now = old["last_worker_id"], row["last_worker_id"]
            if claimed is None or claimed != now:
                yield f"{task_of(row)} was claimed by {claimed} and then had by {now}"


def archived_with_its_task(history: History) -> Iterator[str]:
    """A message is archived in the transaction in which its task is over, or its run fails.

    From core 0.7 on a run that fails archives the messages of all its tasks.
    """
    runs = {e.row["message_id"]: e.row["run_id"] for e in history.of("task") if e.old is None}
    failed = {e.row["run_id"]: e.txid for e in history.of("run") if e.became("failed")}
    over: dict[int, int] = {}
    for event in history.of("task"):
        if event.became("completed") or event.became("failed"):
            over[event.row["message_id"]] = event.txid
    archived: dict[int, int] = {}
    for event in history.of("archive"):
        message = event.row["msg_id"]
        archived[message] = event.txid
        if event.txid not in (over.get(message), failed.get(runs.get(message, ""))):
            yield f"message {message} was archived, but not with the end of its task or run"
    for message in over.keys() - archived.keys():
        yield f"message {message} was not archived when its task was over"


def kept_or_archived(history: History) -> Iterator[str]:
    """A message leaves the queue for the archive, and in no other way."""
    archived = {(event.txid, event.row["msg_id"]) for event in history.of("archive")}
    for event in history.of("message"):
        if event.new is None and (event.txid, event.row["msg_id"]) not in archived:
            yield f"message {event.row['msg_id']} was deleted, and is not in the archive"


def output_of_leaves(history: History) -> Iterator[str]:
    """A completed run's output holds each leaf step's output, and nothing else.

    The output of a map step is the array of its tasks' outputs, in the order of the elements.
    """
    inner = {slug for step in history.flow.steps for slug in step.depends_on}
    leaves = [step for step in history.flow.steps if step.slug not in inner]
    outputs: dict[tuple[str, str], dict[int, object]] = defaultdict(dict)
    for event in history.events:
        row = event.row
        if event.source == "task" and event.became("completed"):
            outputs[row["run_id"], row["step_slug"]][row["task_index"]] = row["output"]
        elif event.source == "run" and event.became("completed"):
            expected: dict[str, object] = {}
            for leaf in leaves:
                made = outputs[row["run_id"], leaf.slug]
                array = [made[index] for index in sorted(made)]
                expected[leaf.slug] = array if leaf.is_map else made.get(0)
            if not same(row["output"], expected):
                yield f"run {row['run_id'][:8]} has the output {row['output']}, not {expected}"


def counters_agree(history: History) -> Iterator[str]:
    """A run's remaining steps are its steps less those completed, after every transaction."""
    completed: Counter[str] = Counter()
    remaining: dict[str, int] = {}
    transaction: dict[str, int] = {}

    def check(run_id: str) -> Iterator[str]:
        left, done = remaining.get(run_id), completed[run_id]
        if left is not None and left != len(history.flow.steps) - done:
            yield f"run {run_id[:8]} counts {left} remaining steps, {done} are done"

    for event in history.events:
        if event.source not in ("run", "step"):
            continue
        row, run_id = event.row, event.row["run_id"]
        # Transactions of one run follow each other, since each locks the run first.
        if transaction.get(run_id, event.txid) != event.txid:
            yield from check(run_id)
        transaction[run_id] = event.txid
        if event.source == "run":
            remaining[run_id] = row["remaining_steps"]
        elif event.became("completed"):
            completed[run_id] += 1
    for run_id in transaction:
        yield from check(run_id)


def step_counters_agree(history: History) -> Iterator[str]:
    """At the end a step counts those of its dependencies and tasks that are not completed."""
    steps: dict[tuple[str, str], Mapping[str, Any]] = {}
    tasks: dict[TaskId, str] = {}
    for event in history.events:
        if event.source == "step":
            steps[event.row["run_id"], event.row["step_slug"]] = event.row
        elif event.source == "task":
            tasks[task_of(event.row)] = event.row["status"]
    needs = {step.slug: step.depends_on for step in history.flow.steps}
    undone = Counter(task[:2] for task, status in tasks.items() if status != "completed")
    for (run_id, slug), row in steps.items():
        found = [steps.get((run_id, need), {}).get("status") for need in needs[slug]]
        left = len(found) - found.count("completed")
        if row.get("remaining_deps", left) != left:
            said = row["remaining_deps"]
            yield f"{slug} of run {run_id[:8]} counts {said} remaining dependencies, not {left}"
        open_tasks = undone[run_id, slug]
        counted = row.get("remaining_tasks")
        if row["status"] in ("started", "completed") and counted not in (None, open_tasks):
            yield f"{slug} of run {run_id[:8]} counts {counted} remaining tasks, not {open_tasks}"


def ended_for_good(history: History) -> Iterator[str]:
    """A step that is completed or failed stays so, and so does a task that has failed."""
    for event in history.events:
        if event.old is None or event.source not in ("step", "task"):
            continue
        before, now = event.old["status"], event.row["status"]
        over = ("failed",) if event.source == "task" else ("completed", "failed")
        if before in over and now != before:
            what = f"the task of {event.row['step_slug']}"
            what = what if event.source == "task" else f"step {event.row['step_slug']}"
            yield f"{what} of run {event.row['run_id'][:8]} was {before} and then {now}"


def over_once(history: History) -> Iterator[str]:
    """A run ends once, and nothing of a completed run changes afterwards."""
    for event in history.of("run"):
        row, old = event.row, event.old
        if old is None or old["status"] == "started":
            continue
        if old["status"] != row["status"]:
            yield f"run {row['run_id'][:8]} went from {old['status']} to {row['status']}"
        elif old["status"] == "completed" and not same(old, row):
            yield f"run {row['run_id'][:8]} changed after it was completed"


INVARIANTS: Final[tuple[Callable[[History], Iterable[str]], ...]] = (
    dependencies_first,
    completed_once,
    attempts_in_bounds,
    held_by_one,
    archived_with_its_task,
    kept_or_archived,
    output_of_leaves,
    counters_agree,
    step_counters_agree,
    ended_for_good,
    over_once,
)


def most_at_once(events: Iterable[Event]) -> int:
    """The most tasks that were started and not over at the same time."""
    running, most = set[TaskId](), 0
    for event in events:
        if event.source != "task":
            continue
        if event.became("started"):
            running.add(task_of(event.row))
        elif event.row["status"] != "started":
            running.discard(task_of(event.row))
        most = max(most, len(running))
    return most


def completed_by(events: Iterable[Event]) -> Counter[str]:
    """How many tasks each worker completed, by worker id."""
    return Counter(
        str(event.row["last_worker_id"])
        for event in events
        if event.source == "task" and event.became("completed")
    )
