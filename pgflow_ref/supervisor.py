"""Workers of several flows in one process: started, watched and stopped together.

They share one event loop: that of the caller (`AsyncPgFlow`), or that of a thread in the background
(`PgFlow`). A worker that dies says so: in the log at once, and by an exception to whoever stops it,
leaves the `with` block, or waits in `run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pgflow_ref.config import WorkerConfig
from pgflow_ref.errors import WorkerExists, WorkerNotFound
from pgflow_ref.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
    from uuid import UUID

    from pgflow_ref.flow import Flow
    from pgflow_ref.telemetry import Listener

T = TypeVar("T")

log: Final = logging.getLogger("pgflow_ref.supervisor")
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class _Running:
    worker: Worker
    task: asyncio.Task[None]


class Supervisor:
    """Workers by flow, in the event loop in which it is used.

    Args:
        config: the options of workers, where a worker is not given its own.
        prepare: whether statements may be prepared in the server.
        listeners: who is told of events.
    """

    def __init__(
        self, config: WorkerConfig | None, *, prepare: bool, listeners: Iterable[Listener]
    ) -> None:
        self._config = config
        self._prepare = prepare
        self._listeners = tuple(listeners)
        self._running: dict[str, _Running] = {}
        self._asked = asyncio.Event()

    async def start(self, flow: Flow, url: str, options: Mapping[str, object]) -> UUID:
        """Start a worker, and wait until it is registered; its id.

        Raises:
            WorkerExists: one for this flow runs here.
            PgflowError: whatever keeps it from starting; see `Worker`.
        """
        there = self._running.get(flow.slug)
        if there is not None and not there.task.done():
            raise WorkerExists(flow.slug)
        ready: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()
        worker = self._worker(flow, url, options, ready.set_result)
        running = _Running(worker, asyncio.ensure_future(worker.run_async()))
        self._running[flow.slug] = running
        try:
            either: set[asyncio.Future[Any]] = {ready, running.task}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            worker.stop()
            worker.stop()
            raise
        if not ready.done():
            del self._running[flow.slug]
            running.task.result()
            raise WorkerNotFound(flow.slug)  # stopped before it had begun
        running.task.add_done_callback(lambda task: _tell(flow.slug, task))
        return ready.result()

    async def stop(self, slug: str) -> None:
        """Stop a flow's worker, once its tasks are over.

        Raises:
            WorkerNotFound: none was started here.
            BaseException: what the worker had died of.
        """
        running = self._running.get(slug)
        if running is None:
            raise WorkerNotFound(slug)
        running.worker.stop()
        await asyncio.wait({running.task})
        if self._running.get(slug) is running:
            del self._running[slug]
        running.task.result()

    async def stop_all(self) -> None:
        """Ask all workers to stop, the last one first, and wait for them.

        Raises:
            BaseException: what the first of those had died of that are not well.
        """
        stopping = list(self._running.items())
        for _, running in reversed(stopping):
            running.worker.stop()
        for slug, running in reversed(stopping):
            await asyncio.wait({running.task})
            self._running.pop(slug, None)
        for _, running in stopping:
            running.task.result()

    async def serve(self, flows: Iterable[Flow], url: str) -> None:
        """Start a worker for each flow that has none, and stop all once one dies or it is asked to.

        It ends, too, when all workers have left because the database asked them to.
        """
        self._asked = asyncio.Event()  # of this loop
        try:
            for flow in flows:
                if flow.slug not in self._running or self._running[flow.slug].task.done():
                    await self.start(flow, url, {})
            asked = asyncio.ensure_future(self._asked.wait())
            tasks = {running.task for running in self._running.values()}
            while tasks and not asked.done():
                await asyncio.wait({asked, *tasks}, return_when=asyncio.FIRST_COMPLETED)
                if any(task.done() and task.exception() is not None for task in tasks):
                    break
                tasks = {task for task in tasks if not task.done()}
            asked.cancel()
        finally:
            await self.stop_all()

    def ask(self) -> None:
        """Ask `serve` to end; a second time, not to wait for what still runs."""
        if self._asked.is_set():
            for running in self._running.values():
                running.worker.stop()
        self._asked.set()

    def _worker(
        self, flow: Flow, url: str, options: Mapping[str, object], on_ready: Callable[[UUID], None]
    ) -> Worker:
        given = {} if self._config is None else asdict(self._config)
        config = WorkerConfig.of(**{**given, **options})
        return Worker(
            flow,
            url,
            config,
            prepare=self._prepare,
            on_ready=on_ready,
            listeners=self._listeners,
        )


class Background:
    """An event loop in a thread, begun when it is first needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._calls = 0
        self._changed = threading.Condition()

    @property
    def is_running(self) -> bool:
        """Whether it was begun."""
        return self._loop is not None

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there, and wait for it."""
        with self._changed:
            future = asyncio.run_coroutine_threadsafe(work, self._begun())
            self._calls += 1
        try:
            return future.result()
        except BaseException:
            future.cancel()  # where it was not the coroutine that raised, but a Ctrl-C
            raise
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def soon(self, call: Callable[[], None]) -> None:
        """Call a function there, without waiting."""
        with self._changed:
            self._begun().call_soon_threadsafe(call)

    def close(self) -> None:
        """End the loop and its thread, once nobody waits for an answer any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._calls == 0)
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _begun(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = loop = asyncio.new_event_loop()
            # A daemon: a client that nobody closed must not keep the process alive.
            self._thread = threading.Thread(
                target=_run, args=[loop], name="pgflow-workers", daemon=True
            )
            self._thread.start()
        return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


@contextlib.contextmanager
def asked_by_signals(ask: Callable[[], object]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call a function, in a thread of its own; entered in the main thread.

    Python runs the handlers of signals in the main thread, but the system may deliver a signal to
    any thread (libpq changes signal masks, and takes what is pending when it does). Then a main
    thread that waits for a lock, or for sockets, does not wake up. Python's wake-up descriptor is
    written to wherever the signal arrives, so that is what is listened to.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(
        target=_listen, args=[reader, previous, ask], name="pgflow-signals", daemon=True
    )
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()
        listener.join()
        reader.close()


def _listen(reader: socket.socket, previous: int, ask: Callable[[], object]) -> None:
    """Call the function for each of our signals, until the other end is closed."""
    while numbers := reader.recv(64):
        if previous >= 0:  # somebody else's event loop, for instance
            with contextlib.suppress(OSError):
                os.write(previous, numbers)
        for number in numbers:
            if number in SIGNALS:
                ask()


def _tell(slug: str, task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("the worker of flow %r has died: %s", slug, error, exc_info=error)
