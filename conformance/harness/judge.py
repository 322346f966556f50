"""Judge what happened: the database, the event log and the workers' own lines against the case."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from conformance.harness import attempts, eventlog, invariants, lines, records, trespass
from conformance.harness.acts import is_calm
from conformance.harness.invariants import History, TaskId
from conformance.harness.values import same, show
from pgflow_ref.json_contract import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conformance.harness.cases import Case, RunOf
    from conformance.harness.databases import Connection
    from conformance.harness.eventlog import Event
    from conformance.harness.processes import WorkerProcess

_STEP_STARTED: Final = re.compile(r"step:.*:started")


@dataclass(frozen=True)
class Seen:
    """What happened in a case.

    Attributes:
        case: what was tried.
        workers: who took part.
        run_ids: its runs, in the order of the case.
        runs: status and output of each run, by id.
        tasks: the rows of `step_tasks`, with their outputs as JSON values.
        steps: the status of each step, by run and slug.
        stopped: whether each worker's row says that it stopped, by worker id.
        history: the event log with what it is judged by.
        sent: the events that were sent about each run, by id, in the order of sending.
        roles: the worker id of each role, and of the worker that the harness plays.
        trespasses: what workers wrote that no worker may write.
    """

    case: Case
    workers: Sequence[WorkerProcess]
    run_ids: Sequence[str]
    runs: Mapping[str, tuple[str, Any]]
    tasks: Mapping[TaskId, Mapping[str, Any]]
    steps: Mapping[tuple[str, str], str]
    stopped: Mapping[str, bool]
    history: History
    sent: Mapping[str, Sequence[str]] = field(default_factory=dict)
    roles: Mapping[str, str | None] = field(default_factory=dict)
    trespasses: Sequence[str] = ()

    def names(self) -> dict[str, str]:
        """The workers' names by their ids."""
        return {str(worker.worker_id): worker.name for worker in self.workers}

    def shares(self) -> dict[str, int]:
        """How many tasks each worker completed, by name."""
        done = invariants.completed_by(self.history.events)
        return {name: done[worker_id] for worker_id, name in self.names().items()}

    def timeline(self) -> tuple[records.Span, ...]:
        """Who had which task when."""
        return tuple(_spans(self.history.events, self.names()))


def see(
    case: Case,
    workers: Sequence[WorkerProcess],
    run_ids: Sequence[str],
    connection: Connection,
    roles: Mapping[str, str | None],
) -> Seen:
    """Read what is to be judged: of the case's own flow, whatever others there are beside it."""
    flow = [case.shape.slug]
    runs = connection.execute(
        "SELECT run_id::text, status, output::text FROM pgflow.runs WHERE flow_slug = %s", flow
    )
    tasks = connection.execute(
        "SELECT run_id::text, step_slug, task_index, status, attempts_count, error_message,"
        " output::text, last_worker_id::text FROM pgflow.step_tasks WHERE flow_slug = %s"
        " ORDER BY run_id, step_slug, task_index",
        flow,
    )
    steps = connection.execute(
        "SELECT run_id::text, step_slug, status FROM pgflow.step_states WHERE flow_slug = %s", flow
    )
    most_attempts = connection.execute(
        "SELECT s.step_slug, coalesce(s.opt_max_attempts, f.opt_max_attempts)"
        " FROM pgflow.steps s JOIN pgflow.flows f USING (flow_slug) WHERE s.flow_slug = %s",
        flow,
    )
    workers_rows = connection.execute(
        "SELECT w.worker_id::text, to_jsonb(w) ->> 'stopped_at' IS NOT NULL FROM pgflow.workers w"
    )
    sent = connection.execute(
        "SELECT payload ->> 'run_id', event FROM realtime.messages_sent ORDER BY id"
    )
    limits: dict[str, int] = dict(most_attempts.fetchall())  # type: ignore[arg-type]
    events: dict[str, list[str]] = {}
    for run_id, event in sent:
        events.setdefault(str(run_id), []).append(str(event))
    return Seen(
        case=case,
        workers=workers,
        run_ids=run_ids,
        runs={str(run_id): (str(status), _json(output)) for run_id, status, output in runs},
        tasks={
            TaskId(str(run_id), str(slug), int(str(index))): {
                "status": status,
                "attempts": attempts_count,
                "error": error,
                "output": _json(output),
                "worker": worker_id,
            }
            for run_id, slug, index, status, attempts_count, error, output, worker_id in tasks
        },
        steps={(str(run_id), str(slug)): str(status) for run_id, slug, status in steps},
        stopped={str(worker_id): bool(stopped) for worker_id, stopped in workers_rows},
        history=History(case.stored, limits, eventlog.of_flow(connection, case.shape.slug)),
        sent=events,
        roles=roles,
        trespasses=trespass.problems(connection, recovers=case.recovers),
    )


def problems(seen: Seen) -> list[str]:
    """Everything that is not as the case, the contract or the invariants say."""
    found = list(seen.trespasses)
    found += invariants.broken(seen.history, seen.case.suspends)
    excused = not all(map(is_calm, seen.case.acts))
    unknown = [act["add"]["slug"] for act in seen.case.acts if "add" in act]
    found.extend(
        lines.problems(
            seen.workers, seen.history.events, seen.tasks, excused=excused, unknown=unknown
        )
    )
    found.extend(_runs(seen))
    for number, (run_id, run) in enumerate(zip(seen.run_ids, seen.case.runs, strict=True), 1):
        found.extend(f"run {number}: {problem}" for problem in _run(seen, run_id, run))
    found.extend(_whole(seen))
    return found


def _runs(seen: Seen) -> Iterator[str]:
    """The runs in the database are those that were asked for, each for itself."""
    for run_id, count in Counter(seen.run_ids).items():
        if count > 1:
            yield f"run {run_id[:8]} was given out as {count} runs"
    for run_id in seen.runs.keys() - set(seen.run_ids):
        yield f"run {run_id[:8]} is there, and nobody asked for it"


def _run(seen: Seen, run_id: str, run: RunOf) -> Iterator[str]:
    status, output = seen.runs.get(run_id, ("missing", None))
    expect = run.expect
    if "status" in expect and status != expect["status"]:
        yield f"it is {status}, not {expect['status']}{_why(seen, run_id)}"
    if "output" in expect and not same(output, expect["output"]):
        yield f"its output is {show(output)}, not {show(expect['output'])}"
    if "events" in expect:
        # That a step has started is sent from core 0.7 on alone.
        sent = [one for one in seen.sent.get(run_id, ()) if not _STEP_STARTED.fullmatch(one)]
        if sent != expect["events"]:
            yield f"the events {show(sent)} were sent, not {show(expect['events'])}"
    for slug, wanted in expect.get("steps", {}).items():
        for problem in _step(seen, run_id, slug, wanted):
            yield f"step {slug}: {problem}"


def _step(seen: Seen, run_id: str, slug: str, wanted: Mapping[str, Any]) -> Iterator[str]:
    status = seen.steps.get((run_id, slug))
    if status is None:
        yield "the run has no such step"
        return
    if "status" in wanted and status != wanted["status"]:
        yield f"it is {status}, not {wanted['status']}"
    rows = [row for task, row in seen.tasks.items() if task[:2] == (run_id, slug)]
    if "output" in wanted:
        is_map = any(step.is_map for step in seen.case.shape.steps if step.slug == slug)
        outputs = [row.get("output") for row in rows]
        output = outputs if is_map else (outputs or [None])[0]
        if not same(output, wanted["output"]):
            yield f"its output is {show(output)}, not {show(wanted['output'])}"
    yield from _task(seen, TaskId(run_id, slug, 0), wanted)
    if "input" in wanted:
        yield from _input(seen, (run_id, slug), wanted["input"])
    if "tasks" not in wanted:
        return
    if len(rows) != len(wanted["tasks"]):
        yield f"it has {len(rows)} tasks, not {len(wanted['tasks'])}"
    for index, of_task in enumerate(wanted["tasks"]):
        for problem in _one_of_many(seen, TaskId(run_id, slug, index), of_task):
            yield f"task {index}: {problem}"


def _one_of_many(seen: Seen, task: TaskId, wanted: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one task of a step."""
    row = seen.tasks.get(task, {})
    if "status" in wanted and row.get("status") != wanted["status"]:
        yield f"it is {row.get('status', 'missing')}, not {wanted['status']}"
    if "output" in wanted and not same(row.get("output"), wanted["output"]):
        yield f"its output is {show(row.get('output'))}, not {show(wanted['output'])}"
    yield from _task(seen, task, wanted)
    if "input" in wanted:
        yield from _input(seen, task, wanted["input"])


def _task(seen: Seen, task: TaskId, wanted: Mapping[str, Any]) -> Iterator[str]:
    """What may be expected of a task, and of a step that has but one."""
    row = seen.tasks.get(task, {"attempts": 0, "error": None})
    if "attempts" in wanted and row["attempts"] != wanted["attempts"]:
        yield f"it took {row['attempts']} attempts, not {wanted['attempts']}"
    if "error" in wanted and row["error"] != wanted["error"]:
        yield f"its error is {show(row['error'])}, not {show(wanted['error'])}"
    if "error_holds" in wanted and wanted["error_holds"] not in (row["error"] or ""):
        yield f"its error is {show(row['error'])}, without {show(wanted['error_holds'])}"
    if "error_holds" in wanted and not row["error"]:
        yield "it has no error text"
    if "statuses" in wanted:
        went = [
            event.row["status"]
            for event in seen.history.of("task")
            if invariants.task_of(event.row) == task and event.became(event.row["status"])
        ]
        if went != wanted["statuses"]:
            yield f"it was {', then '.join(went)}, not {', then '.join(wanted['statuses'])}"
    yield from attempts.problems(seen, task, wanted)


def _input(seen: Seen, task: tuple[object, ...], wanted: Mapping[str, Any]) -> Iterator[str]:
    """What the handler saw in all calls for a task, or for all tasks of a step."""
    called = False
    for worker in seen.workers:
        for call in worker.of("call"):
            names = (call.get("run_id"), call.get("step_slug"), call.get("task_index", 0))
            if names[: len(task)] != task:
                continue
            called = True
            # A form that the contract does not have is a problem of its own.
            expected = wanted.get(worker.handler_input)
            if worker.handler_input in wanted and not same(call.get("input"), expected):
                yield f"its handler saw {show(call.get('input'))}, not {show(expected)}"
    if not called:
        yield "its handler was not called"


def _whole(seen: Seen) -> Iterator[str]:
    expect = seen.case.expect
    if "at_once" in expect:
        most = invariants.most_at_once(seen.history.events)
        if most > expect["at_once"]:
            yield f"{most} tasks ran at the same time, not {expect['at_once']}"
    if expect.get("stopped"):
        for worker in seen.workers:
            if not seen.stopped.get(str(worker.worker_id), False):
                yield f"{worker.name}: its row in pgflow.workers does not say that it stopped"
    if "finished" in expect:
        yield from _finished(seen, expect["finished"])
    yield from _messages(seen, expect)
    if "share" in expect:
        yield from _share(seen, expect["share"])


def _messages(seen: Seen, expect: Mapping[str, Any]) -> Iterator[str]:
    """For how long reads hid messages, and where they are."""
    if "hidden" in expect:
        yield from attempts.hidden(seen.history.events, expect["hidden"])
    for key, source in (("messages", "message"), ("archived", "archive")):
        count = sum((e.old is None) - (e.new is None) for e in seen.history.of(source))
        if key in expect and count != expect[key]:
            where = "the queue" if key == "messages" else "its archive"
            yield f"{count} messages are in {where} at the end, not {expect[key]}"


def _share(seen: Seen, least: float) -> Iterator[str]:
    """Every language did a real part of the work, else a mixed case has proved nothing."""
    languages: Counter[str] = Counter()
    shares = seen.shares()
    for worker in seen.workers:
        languages[worker.adapter.language] += shares.get(worker.name, 0)
    whole = sum(languages.values()) or 1
    for language, count in languages.items():
        if count < least * whole:
            yield (
                f"{language} completed {count} of {whole} tasks, less than {least:.0%}: "
                "this proves nothing about working together"
            )


def _finished(seen: Seen, wanted: int) -> Iterator[str]:
    """What was begun is done, and nothing else: the rest waits for another worker."""
    status = Counter(str(row["status"]) for row in seen.tasks.values())
    if status["started"]:
        yield f"{status['started']} tasks were left started"
    if status["completed"] != wanted:
        yield f"{status['completed']} tasks were completed, not {wanted}"


def _spans(events: Sequence[Event], names: Mapping[str, str]) -> Iterator[records.Span]:
    if not events:
        return
    began = events[0].at
    started: dict[TaskId, tuple[float, str]] = {}
    for event in events:
        if event.source != "task":
            continue
        row, task = event.row, invariants.task_of(event.row)
        at = round((event.at - began).total_seconds(), 4)
        if event.became("started"):
            started[task] = at, names.get(str(row["last_worker_id"]), "?")
        elif task in started and row["status"] != "started":
            since, name = started.pop(task)
            status: records.Status = "completed" if row["status"] == "completed" else "failed"
            yield records.Span(name, task.step_slug, task.run_id[:8], since, at, status)
    for task, (since, name) in started.items():
        yield records.Span(name, task.step_slug, task.run_id[:8], since, None, "started")


def _json(text: object) -> Any:
    return None if text is None else decode(str(text))


def _why(seen: Seen, run_id: str) -> str:
    errors = [
        f"{task.step_slug}: {row['error']}"
        for task, row in seen.tasks.items()
        if task.run_id == run_id and row["error"]
    ]
    return f" ({show('; '.join(errors))})" if errors else ""
