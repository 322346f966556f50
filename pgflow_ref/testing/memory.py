"""A core, and a worker for each flow, in memory."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pgflow_ref import calls, profiles
from pgflow_ref.calls import Atomic, Clock, NewIds, Sleep, Tell
from pgflow_ref.calls.names import flow_slug
from pgflow_ref.client_calls import RunCalls
from pgflow_ref.compare import unsupported
from pgflow_ref.errors import CoreUnsupported, FlowNotFound, PgflowError, shown
from pgflow_ref.json_contract import decode
from pgflow_ref.model.rows import SECOND, datetime_of, instant_of
from pgflow_ref.operations import Operation
from pgflow_ref.telemetry import Event, Listeners
from pgflow_ref.testing.answers import answer
from pgflow_ref.testing.database import Database
from pgflow_ref.testing.queued import ANYTHING, QueuedTask, listed, wanted
from pgflow_ref.testing.workers import Workers
from pgflow_ref.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from pgflow_ref.calls import Call, Request
    from pgflow_ref.flow import AnyStep, Flow
    from pgflow_ref.model import State
    from pgflow_ref.model.rows import Event as CoreEvent
    from pgflow_ref.operations import Run
    from pgflow_ref.telemetry import Listener
    from pgflow_ref.testing.database import Due

T = TypeVar("T")

_LIMIT: Final = 10_000


class NeverIdle(PgflowError):
    """There was still work to do when `drain` had done as much as it may.

    Example:
        with pytest.raises(NeverIdle):  # each run starts the next one
            pgflow.drain(until_idle=True, limit=100)
    """


class _Core(NamedTuple):
    core: str
    start_delay: bool
    map_steps: bool


class InMemory(RunCalls):
    """A core, and a worker for each flow, in memory.

    Runs are started and looked at as with `PgFlow`.

    Args:
        flows: the flows, or jobs, with the steps that they have by now; they are compiled.
        core: the version of the core, such as 0.8.1 (default: the newest that is known).
        listeners: are told of tasks and runs (`pgflow_ref.telemetry`), with the time of this clock.

    Attributes:
        core: the version of the core.

    Raises:
        InvalidFlow: a flow has no steps, its graph is wrong, or two have the same slug.
        CoreUnsupported: a flow needs what this version of the core does not have.
        CoreRefused: the core does not take a flow beside the others.
        ProfileError: nothing is known of this version of the core.

    Example:
        >>> from pgflow_ref import Flow
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

    def __init__(
        self, *flows: Flow, core: str | None = None, listeners: Iterable[Listener] = ()
    ) -> None:
        self.core: str = profiles.known()[-1] if core is None else core
        profile = profiles.load(self.core).profile
        has = profile.behaviours
        can = _Core(self.core, "start_delay" in has, "map_steps" in has)
        self._database = Database(profile)
        given = tuple(listeners)
        self._listeners = Listeners(given)
        self._workers = Workers(self._database, given)
        self._is_draining = False
        super().__init__(self)
        for flow in flows:
            lacking = unsupported(flow.shape, can)
            if lacking:
                raise CoreUnsupported(lacking)
            self._workers.add(flow)

    @property
    def now(self) -> datetime:
        """What time it is, in UTC; at first the new year of 2026."""
        return datetime_of(self._database.clock)

    @property
    def state(self) -> State:
        """All that the model's database holds, as a value; its ids are the same every time."""
        return self._database.state

    @property
    def events(self) -> list[CoreEvent]:
        """The realtime events that the core has sent so far, oldest first."""
        return list(self._database.events)

    def start_flow_sync(
        self,
        flow: Flow | str,
        run_input: object,
        *,
        timeout: float = 60.0,
        poll_interval: float = 0.5,
    ) -> Run:
        """Start a run and wait for its end, by this clock; see `PgFlow.start_flow_sync`.

        Meanwhile all is done that is to be done in that time, also of other runs and flows.

        Raises:
            RuntimeError: called by a handler, or in a coroutine; that uses `start_flow`, and awaits
                `drain_async`.
            RunFailed, RunTimeout, FlowNotFound, NotJson: as `PgFlow.start_flow_sync`.
        """
        self._check_free("start_flow_sync")
        return super().start_flow_sync(
            flow, run_input, timeout=timeout, poll_interval=poll_interval
        )

    # What waits

    def queued(self, flow: Flow | str) -> list[QueuedTask]:
        """The flow's tasks that wait in its queue, in the order in which they become visible.

        Raises:
            FlowNotFound: this flow was not given to `InMemory`.

        Example:
            steps = [task.step_slug for task in pgflow.queued(order)]
        """
        slug = flow_slug(flow)
        if slug not in self._workers.slugs:
            raise self._not_found(slug)
        return [self._queued(due) for due in self._database.queued(slug)]

    def assert_enqueued(
        self,
        flow: Flow | str,
        *,
        input: object = ANYTHING,  # noqa: A002  # what it is, for whoever writes the test
        step: AnyStep | str | None = None,
        in_: float | timedelta | None = None,
        at: datetime | None = None,
    ) -> QueuedTask:
        """Assert that a task of this flow, or job, waits in its queue; the first of that kind.

        Args:
            flow: the flow or its slug.
            input: what its run was started with (default: anything).
            step: the step, or its slug (default: any).
            in_: how long it still waits, in seconds; 0: it is visible now (default: ever so long).
                To the second, because messages wait for whole ones.
            at: when it is visible, in place of `in_`; a time that has passed: it is visible now.

        Raises:
            AssertionError: there is none; the message lists what is queued instead.
            FlowNotFound: this flow was not given to `InMemory`.
            NotJson: the input is none that a run could have been started with.
            InvalidDelay, InvalidSchedule: `in_` or `at` is none that a job could have been given.
            ValueError: both of them are given.

        Example:
            >>> from pgflow_ref import Job
            >>> mail = Job("mail")
            >>> @mail.perform()
            ... def send(mail, ctx):
            ...     return None
            >>> pgflow = InMemory(mail)
            >>> run_id = pgflow.enqueue_in(mail, {"to": "Ada"}, 60)
            >>> pgflow.assert_enqueued(mail, input={"to": "Ada"}, in_=60).attempt
            1
            >>> pgflow.assert_enqueued(mail, input={"to": "Bob"})
            Traceback (most recent call last):
                ...
            AssertionError: nothing is enqueued for flow 'mail', input {"to": "Bob"}; queued are:
              mail of run 5eed0000-0000-0000-0000-000000000001, attempt 1, visible in 60 s, \
input {"to": "Ada"}
        """
        looked_for = wanted(flow, input, step, in_, at, now=self.now)
        tasks = self.queued(flow)
        for task in tasks:
            if looked_for.is_met_by(task):
                return task
        raise AssertionError(
            f"nothing is enqueued for {looked_for}; queued are:\n{listed(tasks, self.now)}"
        )

    def refute_enqueued(
        self,
        flow: Flow | str,
        *,
        input: object = ANYTHING,  # noqa: A002
        step: AnyStep | str | None = None,
        in_: float | timedelta | None = None,
        at: datetime | None = None,
    ) -> None:
        """Assert that no such task waits; see `assert_enqueued` for arguments and errors.

        Raises:
            AssertionError: there is one; the message lists all of them.
        """
        looked_for = wanted(flow, input, step, in_, at, now=self.now)
        found = [task for task in self.queued(flow) if looked_for.is_met_by(task)]
        if found:
            raise AssertionError(f"enqueued for {looked_for}:\n{listed(found, self.now)}")

    def describe_queues(self) -> str:
        """What waits in the queues of all flows, in words; empty where nothing does.

        Example:
            >>> from pgflow_ref import Job
            >>> mail = Job("mail")
            >>> send = mail.perform()(lambda mail, ctx: None)
            >>> pgflow = InMemory(mail)
            >>> run_id = pgflow.enqueue_in(mail, 7, 60)
            >>> print(pgflow.describe_queues())
            mail:
              mail of run 5eed0000-0000-0000-0000-000000000001, attempt 1, visible in 60 s, input 7
        """
        queues = ((slug, self.queued(slug)) for slug in self._workers.slugs)
        return "\n".join(f"{slug}:\n{listed(tasks, self.now)}" for slug, tasks in queues if tasks)

    # Time and work

    def advance(self, seconds: float | timedelta) -> None:
        """Let time pass; nothing else happens. A handler may do so too, to take its time.

        Args:
            seconds: how many, at least 0; or a timedelta.

        Raises:
            ValueError, OverflowError: it is less than 0, no number, or beyond Python's calendar.

        Example:
            >>> pgflow = InMemory()
            >>> pgflow.advance(90)
            >>> pgflow.now.isoformat()
            '2026-01-01T00:01:30+00:00'
        """
        duration = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        if duration < timedelta():
            raise ValueError(f"time does not go back: {seconds}")
        self._database.advance(instant_of(self.now + duration) - self._database.clock)

    def drain(self, *, until_idle: bool = False, limit: int = _LIMIT) -> int:
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

        Example:
            >>> from pgflow_ref import Flow
            >>> echo = Flow("echo")
            >>> _ = echo.step("say")(lambda word, ctx: word)
            >>> pgflow = InMemory(echo)
            >>> run_id = pgflow.start_flow(echo, "hello")
            >>> pgflow.drain(), pgflow.drain()
            (1, 0)
        """
        self._check_free("drain")
        return asyncio.run(self.drain_async(until_idle=until_idle, limit=limit))

    async def drain_async(self, *, until_idle: bool = False, limit: int = _LIMIT) -> int:
        """As `drain`, in an event loop of yours."""
        return await self._drain(math.inf if until_idle else 0, limit)

    async def _drain(self, until: float, limit: int) -> int:
        """Run what is visible, and what will be until that instant."""
        self._check_idle()
        self._is_draining = True
        threads = Threads("pgflow-in-memory")
        ran, database = 0, self._database
        try:
            while (due := self._workers.first()) and due.visible_at <= max(until, database.clock):
                if ran >= limit:
                    raise NeverIdle(f"after {limit} tasks there is still {self._queued(due)}")
                database.advance(max(0, due.visible_at - database.clock))
                ran += await self._workers.work(due.task.flow_slug, threads)
        finally:
            threads.close()
            self._is_draining = False
        return ran

    def _wait(self, seconds: float) -> None:
        """Let time pass, and run what is to be run in it."""
        until = self._database.clock + math.ceil(seconds * SECOND)
        asyncio.run(self._drain(until, _LIMIT))
        self._database.advance(max(0, until - self._database.clock))

    # Parts

    def perform(self, call: Call[T], /) -> T:
        """Perform a call of `pgflow_ref.calls`; the methods that start runs and look at them do.

        Args:
            call: what such a function returns.

        Example:
            pgflow.perform(calls.get_run(run_id))
        """
        try:
            return calls.perform(call, self._answer)
        except FlowNotFound as error:
            raise self._not_found(error.flow) from None

    def _answer(self, request: Request) -> Any:
        match request:
            case Operation():
                return request.read(answer(self._database, request))
            case Atomic(call=call):
                with self._database.transaction():
                    return calls.perform(call, self._answer)
            case NewIds(count=count):
                return self._database.new_ids(count)
            case Clock():
                return self._database.clock / SECOND
            case Sleep(seconds=seconds):
                return self._wait(seconds)
            case _:
                return self._tell(request)

    def _tell(self, what: Tell) -> None:
        name, slug, at = what.name, what.flow_slug, self._database.clock / SECOND
        told = Event(name=name, at=at, flow_slug=slug, run_id=what.run_id, count=what.count)
        self._listeners.tell(told)

    def _check_idle(self) -> None:
        if self._is_draining:
            raise RuntimeError("a handler cannot drain the queue that it came from")

    def _check_free(self, name: str) -> None:
        """Check that what is called blocks neither a handler nor an event loop."""
        self._check_idle()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise RuntimeError(f"{name}() cannot be called in a coroutine; await drain_async()")

    def _queued(self, due: Due) -> QueuedTask:
        task = due.task
        given = self._database.runs[task.run_id].row.input
        return QueuedTask(
            *task[:4],  # flow_slug, run_id, step_slug, task_index
            task.attempts_count + 1,
            task.message_id,
            datetime_of(due.visible_at),
            decode(given),
        )

    def _not_found(self, slug: str) -> FlowNotFound:
        given = ", ".join(repr(slug) for slug in self._workers.slugs) or "none"
        return FlowNotFound(
            slug, f"flow {shown(slug)} was not given to InMemory; given were: {given}"
        )
