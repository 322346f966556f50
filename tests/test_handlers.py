"""Handlers of a worker, without a worker."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING
from uuid import UUID

from pgflow_ref import Flow
from pgflow_ref.task import Task, TaskKey
from pgflow_ref.worker.handlers import Handlers
from pgflow_ref.worker.mailbox import Mailbox

if TYPE_CHECKING:
    from pgflow_ref.task import Outcome


def test_what_is_cancelled_before_it_begins_leaves_nothing_unawaited() -> None:
    """A worker with no time to stop gives tasks back in the moment in which they were claimed."""
    began: list[object] = []
    told: list[Outcome] = []
    flow = Flow("flow")

    @flow.step()
    async def work(given: object, _ctx: object) -> None:
        began.append(given)

    async def cancel_at_once() -> None:
        handlers = Handlers(
            flow,
            UUID(int=1),
            threading.Event(),
            Mailbox(),
            lambda _task, outcome: told.append(outcome),
            None,
        )
        task = Task(TaskKey(UUID(int=2), "work", 0, 1), "flow", 1, '{"run": 1}')
        handlers.run(task)
        handlers.cancel(task)
        await handlers.close()

    asyncio.run(cancel_at_once())
    gc.collect()  # a coroutine that nobody awaited is a warning here, and so an error
    assert (began, told) == ([], [])
