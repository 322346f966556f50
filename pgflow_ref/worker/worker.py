"""The worker itself: its loop, its signals, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from pgflow_ref import machine, protocol
from pgflow_ref import operations as ops
from pgflow_ref.calls import ensure_flow
from pgflow_ref.capabilities import probe
from pgflow_ref.compare import mismatch, unsupported
from pgflow_ref.compile import check
from pgflow_ref.config import WorkerConfig
from pgflow_ref.connection import execute_async
from pgflow_ref.errors import (
    ConfigError,
    CoreUnsupported,
    FlowMismatch,
    FlowNotFound,
    InvalidFlow,
    PrivilegeMissing,
)
from pgflow_ref.execute import is_async
from pgflow_ref.perform import AsyncPerformer
from pgflow_ref.processes import Processes
from pgflow_ref.remedies import without
from pgflow_ref.targets import async_target_of
from pgflow_ref.telling import Telling
from pgflow_ref.worker.database import Database
from pgflow_ref.worker.handlers import Handlers, end
from pgflow_ref.worker.listening import check_notify, enable_notify, listen
from pgflow_ref.worker.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    import psycopg

    from pgflow_ref.capabilities import Capabilities
    from pgflow_ref.flow import Flow
    from pgflow_ref.task import Outcome, Task
    from pgflow_ref.telemetry import Listener

log: Final = logging.getLogger("pgflow_ref.worker")


class Worker:
    """Works on the tasks of one flow.

    Args:
        flow: the flow, with a handler for each step. It must be in the database, in this shape;
            `compile_on_start` adds what is missing there.
        url: where the database is.
        config: the options; or give them by name.
        prepare: whether statements may be prepared in the server.
        on_ready: called, once the worker is registered, with its id.
        listeners: are told what happens (`telemetry.Event`).
        options: the fields of `WorkerConfig`.

    Raises:
        ConfigError: an option is unknown or out of range, or given beside a config.
        InvalidFlow: the flow has no steps, or its graph is wrong.

    Example:
        >>> from pgflow_ref import Flow
        >>> greet = Flow("greet")
        >>> @greet.step()
        ... def hello(name, ctx):
        ...     return f"Hello, {name}!"
        >>> worker = Worker(greet, "postgresql://localhost/app", max_concurrency=20)
        >>> worker.run()  # doctest: +SKIP
    """

    def __init__(  # noqa: PLR0913  # all but two by name
        self,
        flow: Flow,
        url: str,
        config: WorkerConfig | None = None,
        *,
        prepare: bool = True,
        on_ready: Callable[[UUID], None] | None = None,
        listeners: Iterable[Listener] = (),
        **options: object,
    ) -> None:
        check(flow.shape)
        if not flow.steps:
            raise InvalidFlow("it has no steps, so there is nothing to work on", flow=flow.slug)
        self.flow: Flow = flow
        if config is None:
            config = WorkerConfig.of(**options)
        elif options:
            raise ConfigError([f"options are given twice: in config, and {', '.join(options)}"])
        self.config: WorkerConfig = config
        self.worker_id: UUID = uuid4()
        self._url = url
        self._on_ready = on_ready
        self._mailbox = Mailbox()
        self._jobs: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._is_registered = False
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # over `_stopping` and whether the mailbox is open
        self._fault: BaseException | None = None
        name = config.worker_name or flow.slug
        self._telling = Telling(listeners, self.worker_id, name, flow.slug)
        self._database = Database(
            url, prepare, flow.slug, self.worker_id, config, self._mailbox.put, self._telling
        )
        self._processes: Processes | None = None
        plain = any(not is_async(step.handler) for step in flow.steps.values())
        if plain and config.sync_handlers == "processes":
            self._processes = Processes(flow, self.worker_id, self._stopping)
        self._handlers = Handlers(
            flow, self.worker_id, self._stopping, self._mailbox, self._ended, self._processes
        )

    def run(self, *, signals: bool = True) -> None:
        """Work until asked to stop.

        Args:
            signals: whether SIGTERM and SIGINT ask for it; only in the main thread.

        Raises:
            DatabaseUnavailable: at the start; later the worker waits for a database that goes away.
            CoreMissing, CoreUnsupported, PrivilegeMissing: likewise, what the database lacks.
            FlowNotFound, FlowMismatch: likewise, what it has of the flow.

        Example:
            Worker(order, url, max_concurrency=50).run()
        """
        # Not asyncio.run: it waits for every task to end, and a handler may refuse to.
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self.run_async(signals=signals))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    async def run_async(self, *, signals: bool = False) -> None:
        """As `Worker.run`, in an event loop of yours; handlers that are coroutines run in it.

        Example:
            await asyncio.gather(Worker(order, url).run_async(), serve())
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            self._mailbox.open()
            if self._stopping.is_set():  # asked before it began
                self._mailbox.put(protocol.StopRequested(time.monotonic()))
        try:
            with self._signals(loop) if signals else contextlib.nullcontext():
                await self._work(await self._prepare())
        finally:
            self._mailbox.close()
            await end(self._jobs | ({self._listening} if self._listening else set()))
            await self._handlers.close()
            await self._database.close()
            if self._is_registered:
                self._telling.worker_stopped()

    def stop(self) -> None:
        """Ask the worker to stop: it reads no more, and ends when its tasks are over.

        May be called from any thread. A second call makes it give back what still runs at once.

        Example:
            atexit.register(worker.stop)
        """
        with self._lock:
            self._stopping.set()
            self._mailbox.call(self._stop_requested)

    def _stop_requested(self) -> None:
        if self._processes is not None:
            self._processes.stop()
        self._mailbox.put(protocol.StopRequested(time.monotonic()))

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
        connection = await self._database.pulse.open()
        capabilities = await execute_async(connection, probe())
        if self.config.compile_on_start:
            await self._compile(connection)
        await self._check_grants(connection)
        stored = await execute_async(connection, ops.stored_flow(self.flow.slug))
        if stored is None:
            raise FlowNotFound(self.flow.slug)
        self._check(stored, capabilities)
        if self._processes is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._processes.start)
        if self.config.signal_strategy == "notify":
            await enable_notify(connection, self.flow.slug, self.config.notify_throttle)
        needed = {slug for step in stored.shape.steps for slug in step.depends_on}
        timeouts = {slug: float(seconds) for slug, seconds in stored.timeouts.items()}
        return machine.State(machine.Plan(self.config, timeouts, frozenset(needed)))

    async def _compile(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        """Add to the database what is missing of the flow."""
        target = async_target_of(connection, prepare=False)
        performer = AsyncPerformer(target, self._telling.listeners, prepare=False)
        for statement in await performer.perform(ensure_flow(self.flow)):
            log.info("the database was missing this: %s", statement)

    async def _check_grants(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        """Find out now what else would go wrong in the middle of a task."""
        strategy = self.config.signal_strategy
        asked = ops.missing_grants(
            [self.flow.slug], hears=strategy == "notify", waits=strategy == "long_poll"
        )
        missing = await execute_async(connection, asked)
        if missing:
            raise PrivilegeMissing(without(missing, connection.info.user, self.flow.slug))

    def _check(self, stored: ops.StoredFlow, capabilities: Capabilities) -> None:
        lacking = unsupported(self.flow.shape, capabilities)
        if lacking:
            raise CoreUnsupported(lacking)
        problem = mismatch(self.flow.shape, stored.shape)
        if problem:
            raise FlowMismatch(problem)
        if self.config.signal_strategy == "notify":
            check_notify(self.flow.slug, capabilities)
        if self.config.signal_strategy == "long_poll" and not capabilities.long_poll:
            raise CoreUnsupported(
                "signal_strategy='long_poll' needs pgmq.read_with_poll, which the database does "
                "not have; use 'polling' there"
            )

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
            events = await self._mailbox.next(machine.wake_at(state))
            if self._fault is not None:
                raise self._fault
            if any(isinstance(event, protocol.Deprecated) for event in events):
                self._deprecated()
            state, commands = machine.step(state, *events)
        # What is still under way belongs to the end: the last heartbeat, the mark.
        await asyncio.gather(*self._jobs)

    async def _register(self) -> None:
        await self._database.register()
        self._is_registered = True
        log.info("worker %s is ready for flow %s", self.worker_id, self.flow.slug)
        self._telling.worker_started()
        if self._on_ready is not None:
            self._on_ready(self.worker_id)
        self._mailbox.put(protocol.Registered(time.monotonic()))

    def _perform(self, command: protocol.Command) -> None:
        match command:
            case protocol.Run(task=task):
                self._telling.task_started(task)
                self._handlers.run(task)
            case protocol.Cancel(task=task):
                self._telling.task_ended(task)
                self._handlers.cancel(task)
            case protocol.Abandon(results=results):
                for result in results:
                    log.error("result of %s is lost: it cannot be recorded", result.task)
                    self._telling.dropped(result.task)
            case protocol.CancelRead():
                self._database.cancel_read()
            case protocol.Listen():
                listening_for = listen(self._url, self.flow.slug, self.config, self._mailbox.put)
                self._listening = self._begin(listening_for)
            case _:
                self._jobs.add(self._begin(self._perform_async(command)))

    async def _perform_async(self, command: protocol.Command) -> None:
        database = self._database
        match command:
            case protocol.Read():
                await database.read(command)
            case protocol.Claim(message_ids=message_ids):
                await database.claim(message_ids)
            case protocol.Record():
                await database.record(command)
            case protocol.Heartbeat():
                await database.heartbeat()
            case protocol.Recover():
                await database.recover()
            case protocol.MarkStopped():
                await database.mark_stopped()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        job = asyncio.ensure_future(work)
        job.add_done_callback(self._is_over)
        return job

    def _is_over(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and job.exception() is not None:
            # A mistake of ours, since every call to the database is caught: better loud than hung.
            self._fault = job.exception()
            self._mailbox.put(protocol.Woke(time.monotonic()))

    def _ended(self, task: Task, outcome: Outcome) -> None:
        """What came of a handler."""
        self._telling.task_ended(task)
        self._mailbox.put(protocol.Finished(time.monotonic(), task.key, outcome))

    def _deprecated(self) -> None:
        """Handlers are to know as well that the worker is to leave."""
        if not self._stopping.is_set():
            log.warning("the database wants worker %s to leave; it stops", self.worker_id)
            self._stopping.set()
            if self._processes is not None:
                self._processes.stop()
