"""Where handlers run: coroutines in the loop, plain functions in threads or processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgflow_ref import execute
from pgflow_ref.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from pgflow_ref.flow import Context, Flow, Handler, Stopping
    from pgflow_ref.json_contract import Json
    from pgflow_ref.processes import Processes
    from pgflow_ref.task import Outcome, Task, TaskKey
    from pgflow_ref.worker.mailbox import Mailbox


class Handlers:
    """The handlers of one worker.

    Args:
        flow: the flow, with its handlers.
        worker_id: whose handlers they are.
        stopping: what contexts hold.
        mailbox: leads from other threads into the loop.
        ended: is told, in the loop, what came of a task.
        processes: where plain functions run; None: in threads.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what handlers need
        self,
        flow: Flow,
        worker_id: UUID,
        stopping: Stopping,
        mailbox: Mailbox,
        ended: Callable[[Task, Outcome], None],
        processes: Processes | None,
    ) -> None:
        self._steps = flow.steps
        self._worker_id = worker_id
        self._stopping = stopping
        self._mailbox = mailbox
        self._ended = ended
        self._processes = processes
        self._threads = Threads(f"pgflow-{flow.slug}")
        self._running: dict[TaskKey, asyncio.Task[None]] = {}

    def run(self, task: Task) -> None:
        """Call the task's handler; what comes of it is told later, or at once."""
        step = self._steps.get(task.key.step_slug)
        if step is None:
            self._ended(task, execute.unknown_step(task.key.step_slug, task.flow_slug))
            return
        handler = step.handler
        if self._processes is not None and not execute.is_async(handler):
            processes = self._processes
            self._threads.submit(lambda: self._report(task, processes.perform(task)))
            return
        try:
            argument, context = execute.prepare(step.shape, task, self._worker_id, self._stopping)
        except Exception as error:  # noqa: BLE001  # an input of another form fails its task only
            self._ended(task, execute.failed(error))
            return
        if execute.is_async(handler):
            running = asyncio.ensure_future(self._await(task, handler, argument, context))
            self._running[task.key] = running
            running.add_done_callback(lambda _: self._running.pop(task.key, None))
        else:
            self._threads.submit(
                lambda: self._report(task, execute.call(handler, argument, context))
            )

    def cancel(self, task: Task) -> None:
        """End the task's handler, if it can be ended; a thread cannot."""
        running = self._running.get(task.key)
        if running is not None:
            running.cancel()
        elif self._processes is not None:
            self._processes.end(task.key)

    async def close(self) -> None:
        """End what still runs, without waiting for what does not heed that."""
        self._threads.close()
        await end(set(self._running.values()))
        if self._processes is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._processes.close)

    async def _await(self, task: Task, handler: Handler, argument: Json, context: Context) -> None:
        # Called here and not before: what is cancelled before it begins leaves nothing unawaited.
        self._ended(task, await execute.call_async(handler, argument, context))

    def _report(self, task: Task, outcome: Outcome) -> None:
        """Say from a thread what came of a handler."""
        self._mailbox.call(self._ended, task, outcome)


async def end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel what still runs, without waiting for what does not heed that."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)
