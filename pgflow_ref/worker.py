"""The worker: performs what its machine commands, and tells it what came of that.

    from pgflow_ref import Worker

    Worker(flow, "postgresql://…", max_concurrency=20).run()

What to do when is decided in `machine.py`; what a handler gets and gives, in `execute.py`; what is
asked of the database, in `operations/`. This module holds the connections, the event loop, the
threads and the signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from pgflow_ref import execute, machine, protocol
from pgflow_ref import operations as ops
from pgflow_ref.capabilities import probe
from pgflow_ref.compare import mismatch, unsupported
from pgflow_ref.compile import check
from pgflow_ref.config import WorkerConfig
from pgflow_ref.connection import (
    Line,
    execute_async,
    execute_together,
    is_passing,
)
from pgflow_ref.errors import CoreUnsupported, FlowMismatch, FlowNotFound, InvalidFlow
from pgflow_ref.task import Failed, Outcome, Result, Task, TaskKey
from pgflow_ref.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pgflow_ref.capabilities import Capabilities
    from pgflow_ref.flow import Flow

log: Final = logging.getLogger("pgflow_ref.worker")


class Worker:
    """Works on the tasks of one flow.

    Args:
        flow: the flow, with a handler for each step. It must be in the database, in this shape.
        url: where the database is.
        config: the options; or give them by name.
        prepare: whether statements may be prepared in the server.
        on_ready: called, once the worker is registered, with its id.
        options: the fields of `WorkerConfig`.

    Raises:
        ConfigError: an option is unknown or out of range.
        InvalidFlow: the flow has no steps, or its graph is wrong.
    """

    def __init__(
        self,
        flow: Flow,
        url: str,
        config: WorkerConfig | None = None,
        *,
        prepare: bool = True,
        on_ready: Callable[[UUID], None] | None = None,
        **options: object,
    ) -> None:
        check(flow.shape)
        if not flow.steps:
            raise InvalidFlow("it has no steps, so there is nothing to work on", flow=flow.slug)
        self.flow = flow
        self.config = WorkerConfig.of(**options) if config is None else config
        self.worker_id = uuid4()
        self._steps = flow.steps
        # Three lines: whatever a claim or a record waits for, a sign of life is given in time.
        self._pulse = Line(url, prepare=prepare)
        self._reader = Line(url, prepare=prepare)
        self._recorder = Line(url, prepare=prepare)
        self._on_ready = on_ready
        self._events: asyncio.Queue[protocol.Event] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: set[asyncio.Task[None]] = set()
        self._handlers: dict[TaskKey, asyncio.Task[None]] = {}
        self._threads = Threads(f"pgflow-{flow.slug}")
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # over `_loop` and `_stopping`
        self._capabilities: Capabilities | None = None
        self._fault: BaseException | None = None

    def run(self, *, signals: bool = True) -> None:
        """Work until asked to stop.

        Args:
            signals: whether SIGTERM and SIGINT ask for it; only in the main thread.

        Raises:
            DatabaseUnavailable, CoreMissing, CoreUnsupported, FlowNotFound, FlowMismatch: at the
                start. Later the worker waits for a database that goes away.
        """
        # Not asyncio.run: it waits for every task to end, and a handler may refuse to.
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self.run_async(signals=signals))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    async def run_async(self, *, signals: bool = False) -> None:
        """As `run`, in an event loop of yours."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._loop = loop
            if self._stopping.is_set():  # asked before it began
                self._happened(protocol.StopRequested(time.monotonic()))
        try:
            with self._signals(loop) if signals else contextlib.nullcontext():
                await self._work(await self._prepare())
        finally:
            with self._lock:
                self._loop = None
            self._threads.close()
            await _end(self._jobs | set(self._handlers.values()))
            await self._pulse.close()
            await self._reader.close()
            await self._recorder.close()

    def stop(self) -> None:
        """Ask the worker to stop: it reads no more, and ends when its tasks are over.

        May be called from any thread. A second call makes it give back what still runs at once.
        """
        with self._lock:
            self._stopping.set()
            if self._loop is not None:
                event = protocol.StopRequested(time.monotonic())
                self._loop.call_soon_threadsafe(self._happened, event)

    @contextlib.contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Any:  # a generator; see contextlib
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    # Before the first message

    async def _prepare(self) -> machine.State:
        """Look at the database, and make the machine's first state from what it says."""
        connection = await self._pulse.open()
        self._capabilities = await execute_async(connection, probe())
        stored = await execute_async(connection, ops.stored_flow(self.flow.slug))
        if stored is None:
            raise FlowNotFound(self.flow.slug)
        self._check(stored, self._capabilities)
        needed = {slug for step in stored.shape.steps for slug in step.depends_on}
        timeouts = {slug: float(seconds) for slug, seconds in stored.timeouts.items()}
        return machine.State(machine.Plan(self.config, timeouts, frozenset(needed)))

    def _check(self, stored: ops.StoredFlow, capabilities: Capabilities) -> None:
        lacking = unsupported(self.flow.shape, capabilities)
        if lacking:
            raise CoreUnsupported(lacking)
        problem = mismatch(self.flow.shape, stored.shape)
        if problem:
            raise FlowMismatch(problem)

    # The loop

    async def _work(self, state: machine.State) -> None:
        state, commands = machine.step(state, protocol.Started(time.monotonic()))
        while True:
            for command in commands:
                if isinstance(command, protocol.Register):
                    await self._register()
                else:
                    self._perform(command)
            if state.phase is machine.Phase.STOPPED:
                break
            event = await self._next_event(state)
            if self._fault is not None:
                raise self._fault
            state, commands = machine.step(state, event)
        # What is still under way belongs to the end: the last heartbeat, the mark.
        await asyncio.gather(*self._jobs)

    async def _next_event(self, state: machine.State) -> protocol.Event:
        wake_at = machine.wake_at(state)
        timeout = None if wake_at is None else max(0.0, wake_at - time.monotonic())
        try:
            return await asyncio.wait_for(self._events.get(), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            return protocol.Woke(time.monotonic())

    def _happened(self, event: protocol.Event) -> None:
        self._events.put_nowait(event)

    def _perform(self, command: protocol.Command) -> None:
        match command:
            case protocol.Run(task=task):
                self._run(task)
            case protocol.Cancel(task=task):
                handler = self._handlers.get(task.key)
                if handler is not None:
                    handler.cancel()
            case protocol.Abandon(results=results):
                for result in results:
                    log.error("result of %s is lost: it cannot be recorded", result.task)
            case _:
                self._begin(self._perform_async(command))

    async def _perform_async(self, command: protocol.Command) -> None:
        match command:
            case protocol.Read(quantity=quantity, visibility_timeout=visibility_timeout):
                await self._read(quantity, visibility_timeout)
            case protocol.Claim(message_ids=message_ids):
                await self._claim(message_ids)
            case protocol.Record(results=results):
                await self._record(results)
            case protocol.Heartbeat():
                await self._try(ops.heartbeat(self.worker_id))
            case protocol.MarkStopped():
                if self._capabilities is not None and self._capabilities.stopped_at:
                    await self._try(ops.mark_stopped(self.worker_id))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.ensure_future(work)
        self._jobs.add(job)
        job.add_done_callback(self._ended)

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and job.exception() is not None:
            # A mistake of ours, since every call to the database is caught: better loud than hung.
            self._fault = job.exception()
            self._happened(protocol.Woke(time.monotonic()))

    # Commands to the database

    async def _register(self) -> None:
        name = self.config.worker_name or self.flow.slug
        operation = ops.register_worker(self.worker_id, self.flow.slug, name)
        await execute_async(await self._pulse.open(), operation)
        log.info("worker %s is ready for flow %s", self.worker_id, self.flow.slug)
        if self._on_ready is not None:
            self._on_ready(self.worker_id)
        self._happened(protocol.Registered(time.monotonic()))

    async def _read(self, quantity: int, visibility_timeout: int) -> None:
        operation = ops.read_messages(self.flow.slug, visibility_timeout, quantity)
        try:
            message_ids = await execute_async(await self._reader.open(), operation)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next poll tries again
            self._poll_failed("read messages", error)
        else:
            now, chance = time.monotonic(), random.random()  # noqa: S311  # no secret
            self._happened(protocol.MessagesRead(now, tuple(message_ids), chance))

    async def _claim(self, message_ids: tuple[int, ...]) -> None:
        asked = (self.flow.slug, message_ids, self.worker_id)
        operations: list[ops.Operation[Any]] = [ops.start_tasks(*asked), ops.claimed_tasks(*asked)]
        try:
            inputs, keys = await execute_together(await self._reader.open(), operations)
        except Exception as error:  # noqa: BLE001  # the messages come back in their time
            self._poll_failed("claim tasks", error)
        else:
            tasks = ops.claim(self.flow.slug, inputs, keys)
            self._happened(protocol.TasksClaimed(time.monotonic(), tasks))

    def _poll_failed(self, what: str, error: Exception) -> None:
        log.warning("cannot %s: %s; trying again", what, error)
        self._happened(protocol.PollFailed(time.monotonic()))

    async def _record(self, results: tuple[Result, ...]) -> None:
        # In the order of runs, so that two workers that record results of the same runs lock them
        # in the same order and never wait for each other in a circle.
        ordered = sorted(results, key=lambda result: result.task.key)
        operations = [ops.record(result, self.worker_id) for result in ordered]
        try:
            taken = await execute_together(await self._recorder.open(), operations)
        except Exception as error:  # noqa: BLE001  # the machine decides what becomes of results
            log.warning("cannot record %d results: %s", len(results), error)
            refusal = None if is_passing(error) else _first_line(error)
            self._happened(protocol.NotRecorded(time.monotonic(), refusal))
            return
        for result, was_ours in zip(ordered, taken, strict=True):
            if not was_ours:
                log.warning("result of %s is dropped: the task is no longer ours", result.task)
            elif isinstance(result.outcome, Failed):
                log.warning("%s failed: %s", result.task, result.outcome.message)
        self._happened(protocol.Recorded(time.monotonic()))

    async def _try(self, operation: ops.Operation[None]) -> None:
        """Run an operation that the worker can do without."""
        try:
            await execute_async(await self._pulse.open(), operation)
        except Exception as error:  # noqa: BLE001
            log.warning("cannot %s: %s", operation.name, error)

    # Handlers

    def _run(self, task: Task) -> None:
        step = self._steps.get(task.key.step_slug)
        if step is None:
            outcome = execute.unknown_step(task.key.step_slug, task.flow_slug)
            self._finished(task, outcome)
            return
        try:
            argument, context = execute.prepare(step.shape, task, self.worker_id, self._stopping)
        except Exception as error:  # noqa: BLE001  # an input of another form fails its task only
            self._finished(task, execute.failed(error))
            return
        handler = step.handler
        if execute.is_async(handler):
            work = self._await(task, execute.call_async(handler, argument, context))
            running = asyncio.ensure_future(work)
            self._handlers[task.key] = running
            running.add_done_callback(lambda _: self._handlers.pop(task.key, None))
        else:
            self._threads.submit(
                lambda: self._report(task, execute.call(handler, argument, context))
            )

    async def _await(self, task: Task, work: Coroutine[Any, Any, Outcome]) -> None:
        self._finished(task, await work)

    def _report(self, task: Task, outcome: Outcome) -> None:
        """Say from a thread what came of a handler."""
        with self._lock:
            if self._loop is not None:  # else nobody waits any more
                self._loop.call_soon_threadsafe(self._finished, task, outcome)

    def _finished(self, task: Task, outcome: Outcome) -> None:
        self._happened(protocol.Finished(time.monotonic(), task.key, outcome))


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel what still runs, without waiting for what does not heed that."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
