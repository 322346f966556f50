"""The workers of the flows in memory: one for each flow, and one task at a time."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from pgflow_ref import execute
from pgflow_ref.compile import check, in_order
from pgflow_ref.config import WorkerConfig
from pgflow_ref.errors import InvalidFlow
from pgflow_ref.machine import Plan
from pgflow_ref.model import calls
from pgflow_ref.model.rows import SECOND
from pgflow_ref.operations import RunEnd
from pgflow_ref.task import Completed, Result, Task, TaskKey
from pgflow_ref.telling import Telling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgflow_ref.flow import AnyStep, Flow
    from pgflow_ref.task import Outcome
    from pgflow_ref.telemetry import Listener
    from pgflow_ref.testing.database import Database, Due
    from pgflow_ref.threads import Threads

log: Final = logging.getLogger("pgflow_ref.testing")


class _Worker(NamedTuple):
    worker_id: UUID
    steps: Mapping[str, AnyStep]
    plan: Plan
    telling: Telling


class Workers:
    """The workers on a database; none of them is ever asked to stop."""

    def __init__(self, database: Database, listeners: Sequence[Listener]) -> None:
        self._database = database
        self._listeners = listeners
        self._workers: dict[str, _Worker] = {}
        self._stopping = asyncio.Event()  # is never set

    @property
    def slugs(self) -> tuple[str, ...]:
        """The flows that have one, in the order in which they were added."""
        return tuple(self._workers)

    def add(self, flow: Flow) -> None:
        """Compile a flow into the database, and register its worker."""
        shape, slug = flow.shape, flow.slug
        check(shape)
        if not shape.steps:
            raise InvalidFlow("it has no steps, so there is nothing to work on", flow=slug)
        if slug in self._workers:
            raise InvalidFlow("it is given twice", flow=slug)
        self._database.define(calls.CreateFlow(slug, **shape.options.given()))
        for step in in_order(shape):
            options: dict[str, Any] = step.options.given()
            if step.is_map:
                options["step_type"] = step.step_type
            self._database.define(calls.AddStep(slug, step.slug, step.depends_on, **options))
        stored = self._database.flows[slug]
        timeouts = {name: stored.timeout(name) for name in stored.steps}
        plan = Plan(WorkerConfig(), timeouts, frozenset(timeouts))
        worker_id = UUID(int=(0xF10 << 112) | (len(self._workers) + 1))
        self._database.define(calls.RegisterWorker(worker_id, slug, slug))
        telling = Telling(
            self._listeners, worker_id, slug, slug, clock=self._seconds, timer=self._seconds
        )
        self._workers[slug] = _Worker(worker_id, flow.steps, plan, telling)

    def first(self) -> Due | None:
        """The task that is, or will be, visible first; with several, of the flow added first."""
        firsts = (due for slug in self._workers if (due := self._database.first(slug)))
        return min(firsts, key=lambda due: due.visible_at, default=None)

    async def work(self, slug: str, threads: Threads) -> bool:
        """Perform the first task that a read of this flow's queue finds; whether it found one."""
        task = self._claim(slug)
        if task is None:
            return False
        worker = self._workers[slug]
        timeout = worker.plan.timeouts[task.key.step_slug]
        deadline = self._database.clock + timeout * SECOND
        worker.telling.task_started(task)
        outcome = await self._run(task, threads)
        if self._database.clock >= deadline:
            outcome = execute.timed_out(timeout)
        worker.telling.task_ended(task)
        self._record(Result(task, outcome), worker.telling)
        return True

    def _seconds(self) -> float:
        return self._database.clock / SECOND

    def _claim(self, slug: str) -> Task | None:
        """Read a message, and claim its task."""
        worker, database = self._workers[slug], self._database
        for number in database.read(slug, worker.plan.visibility_timeout):
            for record in database.start_task(slug, number, worker.worker_id):
                run = database.runs[record.run_id]
                row = run.tasks[record.step_slug, record.task_index]
                key = TaskKey(row.run_id, row.step_slug, row.task_index, row.attempts_count)
                is_map = database.flows[slug].steps[row.step_slug].step_type == "map"
                beside = run.row.input if is_map else None
                return Task(key, slug, record.msg_id, str(record.input), beside)
        return None  # a message of another flow, whose slug differs only by case

    async def _run(self, task: Task, threads: Threads) -> Outcome:
        """Perform a task's handler, as the worker does."""
        worker = self._workers[task.flow_slug]
        step = worker.steps[task.key.step_slug]
        argument, context = execute.prepare(step.shape, task, worker.worker_id, self._stopping)
        handler = step.handler
        work: asyncio.Future[Outcome]
        if execute.is_async(handler):
            work = asyncio.ensure_future(execute.call_async(handler, argument, context))
        else:
            given: Future[Outcome] = Future()
            given.set_running_or_notify_cancel()  # from now on nobody can cancel it
            threads.submit(lambda: given.set_result(execute.call(handler, argument, context)))
            work = asyncio.wrap_future(given)
        try:
            await asyncio.wait([work])  # unlike `await work`, it ends when it is cancelled
        finally:
            work.cancel()
        return work.result()

    def _record(self, result: Result, telling: Telling) -> None:
        task, outcome = result.task, result.outcome
        run_id, step, index, _ = task.key
        was_over = self._database.runs[run_id].row.status != "started"
        if isinstance(outcome, Completed):
            self._database.finish(calls.CompleteTask(run_id, step, index, outcome.output))
        else:
            log.warning("%s failed: %s", task, outcome.message)
            self._database.finish(calls.FailTask(run_id, step, index, outcome.message))
        run = self._database.runs[run_id]
        row = run.tasks[step, index]
        # An output that a map step waits for, and that is no array, fails the task all the same.
        refused = row.error_message if row.status == "failed" else None
        telling.recorded(result, refused)
        if telling and run.row.status != "started" and not was_over:
            failures = [task for task in run.tasks.values() if task.status == "failed"]
            first = min(failures, key=lambda task: task.failed_at or 0, default=None)
            reason = None if first is None else first.error_message
            telling.run_ended(RunEnd(run_id, run.row.status, run.row.output, reason))
