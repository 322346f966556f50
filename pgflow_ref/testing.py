"""Test flows in memory: no database, no waiting.

`InMemory` runs flows on the executable model of pgflow's core (`pgflow_ref.model`), handlers as a
worker runs them (`execute.py`), and has a clock that moves only when it is told to.

What is other than with a database and a worker:

- Each flow has one worker, which is never asked to stop, and all do one task after the other: what
  goes wrong only when tasks run at once does not go wrong here.
- Time stands still but for `advance` and `drain(until_idle=True)`: handlers and calls take none. So
  a task is out of time only when its handler moves the clock, and fails then when its handler
  returns. A handler that never returns, or sleeps, keeps the test waiting.
- As ever, whatever a handler raises fails its task and not the test; an `assert` in it, too.
- JSON is kept as written, not as jsonb: keys stay in order, 1e16 a float, depth has no limit.
- A result that the core refuses to record ends `drain` with `CoreRefused`; a worker goes on.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from pgflow_ref import calls, execute, profiles
from pgflow_ref.compare import unsupported
from pgflow_ref.compile import check, in_order
from pgflow_ref.config import WorkerConfig
from pgflow_ref.errors import CoreUnsupported, FlowNotFound, InvalidFlow, PgflowError
from pgflow_ref.flow import Flow
from pgflow_ref.machine import Plan
from pgflow_ref.model import State, apply
from pgflow_ref.model import calls as core_calls
from pgflow_ref.model.rows import datetime_of, instant_of
from pgflow_ref.model.state import TICK
from pgflow_ref.task import Completed, Outcome, Task, TaskKey
from pgflow_ref.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pgflow_ref.calls import Call
    from pgflow_ref.flow import AnyStep
    from pgflow_ref.model import Refusal
    from pgflow_ref.model.rows import Event
    from pgflow_ref.operations import Row, Run

log: Final = logging.getLogger("pgflow_ref.testing")


class CoreRefused(PgflowError):
    """The core refused what no error of this library stands for.

    Attributes:
        refusal: its SQLSTATE, and its constraint's name, which is empty where it is none.
    """

    def __init__(self, call: object, refusal: Refusal) -> None:
        constraint = f", constraint {refusal.constraint}" if refusal.constraint else ""
        super().__init__(f"the core refused {call}: SQLSTATE {refusal.sqlstate}{constraint}")
        self.refusal = refusal


class NeverIdle(PgflowError):
    """There was still work to do when `drain` had done as much as it may."""


class QueuedTask(NamedTuple):
    """A task that waits in a queue.

    Attributes:
        flow_slug: its flow.
        run_id: its run.
        step_slug: its step.
        task_index: which task of the step, from 0.
        attempt: which attempt it will be, from 1.
        message_id: its message in the flow's queue.
        visible_at: `drain` takes it when `InMemory.now` is this or later.
    """

    flow_slug: str
    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    message_id: int
    visible_at: datetime


class _Core(NamedTuple):
    core: str
    start_delay: bool
    map_steps: bool


class _Worker(NamedTuple):
    worker_id: UUID
    steps: Mapping[str, AnyStep]
    plan: Plan


class InMemory:
    """A core, and a worker for each flow, in memory.

    Args:
        flows: the flows, or jobs, with the steps that they have by now; they are compiled.
        core: the version of the core, such as 0.8.1 (default: the newest that is known).

    Attributes:
        core: the version of the core.
        state: all that the model's database holds, as a value; its ids are the same every time.
        events: the realtime events that the core has sent so far, oldest first.

    Raises:
        InvalidFlow: a flow has no steps, its graph is wrong, or two have the same slug.
        CoreUnsupported: a flow needs what this version of the core does not have.
        CoreRefused: the core does not take a flow beside the others.
        ProfileError: nothing is known of this version of the core.

    Example:
        >>> order = Flow("order", base_delay=5)
        >>> @order.step()
        ... def pay(order, ctx):
        ...     if ctx.attempt == 1:
        ...         raise ConnectionError("no answer")
        ...     return {"paid": order["total"]}
        >>> pgflow = InMemory(order, core="0.8.1")
        >>> run_id = pgflow.start_flow(order, {"total": 18.8})
        >>> pgflow.drain()
        1
        >>> [(task.attempt, task.visible_at - pgflow.now) for task in pgflow.queued(order)]
        [(2, datetime.timedelta(seconds=10))]
        >>> pgflow.advance(seconds=10)
        >>> pgflow.drain(until_idle=True)
        1
        >>> pgflow.get_run(run_id).output
        {'pay': {'paid': 18.8}}
    """

    def __init__(self, *flows: Flow, core: str | None = None) -> None:
        self.core = profiles.known()[-1] if core is None else core
        self._profile = profiles.load(self.core).profile
        self.state = State()
        self.events: list[Event] = []
        self._workers: dict[str, _Worker] = {}
        self._is_draining = False
        self._stopping = asyncio.Event()  # is never set
        for flow in flows:
            self._add(flow)

    @property
    def now(self) -> datetime:
        """What time it is, in UTC; at first the new year of 2026."""
        return datetime_of(self.state.clock)

    def start_flow(
        self, flow: Flow | str, run_input: object, *, run_id: UUID | None = None
    ) -> UUID:
        """Start a run; see `PgFlow.start_flow`."""
        operation: Any = next(calls.start_flow(flow, run_input, run_id))
        rows = self._apply(core_calls.StartFlow(**operation.params), operation.refusals)
        started: UUID = operation.read(rows)
        return started

    def get_run(self, run_id: UUID | str) -> Run:
        """One run; see `PgFlow.get_run`."""
        return self._look(calls.get_run(run_id))

    def get_run_with_states(self, run_id: UUID | str) -> Run:
        """One run with the states of its steps; see `PgFlow.get_run_with_states`."""
        return self._look(calls.get_run_with_states(run_id))

    def queued(self, flow: Flow | str) -> list[QueuedTask]:
        """The flow's tasks that wait in its queue, in the order in which they become visible.

        Raises:
            FlowNotFound: this flow was not given to `InMemory`.
        """
        slug = flow.slug if isinstance(flow, Flow) else flow
        if slug not in self._workers:
            raise FlowNotFound(slug)
        messages = self.state.queues[slug.lower()].messages
        found = [
            QueuedTask(
                slug,
                *task[1:4],  # run_id, step_slug, task_index
                task.attempts_count + 1,
                task.message_id,
                datetime_of(messages[task.message_id].vt - TICK),  # a read looks a tick later
            )
            for run in self.state.runs.values()
            if run.row.flow_slug == slug
            for task in run.tasks.values()
            if task.status == "queued" and task.message_id in messages
        ]
        return sorted(found, key=lambda task: (task.visible_at, task.message_id))

    def advance(self, seconds: float | timedelta) -> None:
        """Let time pass; nothing else happens. A handler may do so too, to take its time.

        Args:
            seconds: how long; at least 0.

        Raises:
            ValueError, OverflowError: it is less than 0, no number, or beyond Python's calendar.
        """
        duration = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        if duration < timedelta():
            raise ValueError(f"time does not go back: {seconds}")
        passing = instant_of(self.now + duration) - self.state.clock - TICK  # a call takes a tick
        self.state = apply(self.state, core_calls.Pass(passing), self._profile).state

    def drain(self, *, until_idle: bool = False, limit: int = 10_000) -> int:
        """Run all tasks that are visible, and those that become visible by that.

        Args:
            until_idle: whether to let time pass as well, to the end of all retries and delays.
            limit: how many tasks are run at most.

        Returns:
            How many tasks were run; each attempt counts.

        Raises:
            NeverIdle: there was more to do than `limit` tasks.
            CoreRefused: the core did not take a result.
            RuntimeError: called by a handler, or in a coroutine; that awaits `drain_async`.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.drain_async(until_idle=until_idle, limit=limit))
        raise RuntimeError("drain() cannot be called in a coroutine; await drain_async()")

    async def drain_async(self, *, until_idle: bool = False, limit: int = 10_000) -> int:
        """As `drain`, in an event loop of yours."""
        if self._is_draining:
            raise RuntimeError("a handler cannot drain the queue that it came from")
        self._is_draining = True
        threads = Threads("pgflow-in-memory")
        ran = 0
        try:
            while (due := self._next()) and (until_idle or due.visible_at <= self.now):
                if ran >= limit:
                    raise NeverIdle(f"after {limit} tasks there is still {due}")
                self.advance(max(timedelta(), due.visible_at - self.now))
                if (task := self._claim(due.flow_slug)) is not None:
                    self._record(task, await self._run(task, threads))
                    ran += 1
        finally:
            threads.close()
            self._is_draining = False
        return ran

    def _apply(self, call: core_calls.Call, errors: Mapping[Any, PgflowError] | None = None) -> Any:
        """Do one call, in no time: its rows. `errors` are the refusals that have their own."""
        reply = apply(self.state, call, self._profile)
        self.state = reply.state._replace(clock=self.state.clock)
        if reply.refusal is not None:
            raise (errors or {}).get(reply.refusal) or CoreRefused(call, reply.refusal)
        self.events.extend(reply.events)
        return reply.rows

    def _add(self, flow: Flow) -> None:
        """Compile a flow, and register its worker."""
        shape, slug = flow.shape, flow.slug
        check(shape)
        if not shape.steps:
            raise InvalidFlow("it has no steps, so there is nothing to work on", flow=slug)
        if slug in self._workers:
            raise InvalidFlow("it is given twice", flow=slug)
        behaviours = self._profile.behaviours
        core = _Core(self.core, "start_delay" in behaviours, "map_steps" in behaviours)
        lacking = unsupported(shape, core)
        if lacking:
            raise CoreUnsupported(lacking)
        self._apply(core_calls.CreateFlow(slug, **shape.options.given()))
        for step in in_order(shape):
            options: dict[str, Any] = step.options.given()
            if step.is_map:
                options["step_type"] = step.step_type
            self._apply(core_calls.AddStep(slug, step.slug, step.depends_on, **options))
        stored = self.state.flows[slug]
        timeouts = {name: stored.timeout(name) for name in stored.steps}
        plan = Plan(WorkerConfig(), timeouts, frozenset(timeouts))
        worker_id = UUID(int=(0xF10 << 112) | (len(self._workers) + 1))
        self._apply(core_calls.RegisterWorker(worker_id, slug, slug))
        self._workers[slug] = _Worker(worker_id, flow.steps, plan)

    def _look(self, call: Call[Run]) -> Run:
        """Perform a client's call that looks at a run."""
        operation: Any = next(call)  # it takes this one
        try:
            raise AssertionError(call.send(operation.read(self._rows(operation.params["run_id"]))))
        except StopIteration as end:
            found: Run = end.value
        return found

    def _rows(self, run_id: object) -> Sequence[Row]:
        """What `operations.get_run_with_states` selects; `operations.get_run`, less of it."""
        run = self.state.runs.get(run_id)  # type: ignore[call-overload]
        rows: list[Row] = []
        for slug in self.state.flows[run.row.flow_slug].steps if run else ():
            state = run.states[slug]
            tasks = [task for (name, _), task in run.tasks.items() if name == slug]
            attempts = max((task.attempts_count for task in tasks), default=0)
            errors = (task.error_message for task in tasks if task.error_message is not None)
            error = max(errors, default=state.error_message)
            columns = (slug, state.status, state.remaining_deps, attempts, error)
            moments = (*run.row[6:], *state[8:])  # of the run, then of the step
            times = [None if moment is None else datetime_of(moment) for moment in moments]
            rows.append((*run.row[:6], *times[:3], *columns, *times[3:]))
        return rows

    def _next(self) -> QueuedTask | None:
        """The task that is, or will be, visible first; with several, of the flow given first."""
        firsts = (queued[0] for slug in self._workers if (queued := self.queued(slug)))
        return min(firsts, key=lambda task: task.visible_at, default=None)

    def _claim(self, slug: str) -> Task | None:
        """Read a message, and claim its task."""
        worker = self._workers[slug]
        messages = self._apply(core_calls.Read(slug, worker.plan.visibility_timeout, 1))
        numbers = tuple(message.msg_id for message in messages)
        for record in self._apply(core_calls.StartTasks(slug, numbers, worker.worker_id)):
            run = self.state.runs[record.run_id]
            row = run.tasks[record.step_slug, record.task_index]
            key = TaskKey(row.run_id, row.step_slug, row.task_index, row.attempts_count)
            is_map = self.state.flows[slug].steps[row.step_slug].step_type == "map"
            beside = run.row.input if is_map else None
            return Task(key, slug, record.msg_id, record.input, beside)
        return None  # a message of another flow, whose slug differs only by case

    async def _run(self, task: Task, threads: Threads) -> Outcome:
        """Perform a task's handler, as the worker does."""
        worker, slug = self._workers[task.flow_slug], task.key.step_slug
        step, timeout = worker.steps[slug], worker.plan.timeouts[slug]
        argument, context = execute.prepare(step.shape, task, worker.worker_id, self._stopping)
        deadline = self.now + timedelta(seconds=timeout)
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
        return execute.timed_out(timeout) if self.now >= deadline else work.result()

    def _record(self, task: Task, outcome: Outcome) -> None:
        if isinstance(outcome, Completed):
            self._apply(core_calls.CompleteTask(*task.key[:3], outcome.output))
        else:
            log.warning("%s failed: %s", task, outcome.message)
            self._apply(core_calls.FailTask(*task.key[:3], outcome.message))
