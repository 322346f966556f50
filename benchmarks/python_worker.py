"""The worker of pgflow_ref that is measured: `python -m benchmarks.python_worker`.

Its order comes on stdin, as JSON that `benchmarks.subjects.Subject.order` writes; the database's
URL is in the environment, where nobody else sees it.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks import trials
from pgflow_ref import Flow, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_ref import Context

_PR_SET_PTRACER: Final = 0x59616D61  # of prctl(2)


def main() -> None:
    """Serve the flow until SIGTERM."""
    order = json.load(sys.stdin)
    trials.apply(order["trial"])
    _let_look()
    Worker(flow_of(order), os.environ["PGFLOW_DATABASE_URL"], **order["options"]).run()


def _let_look() -> None:
    """Let other processes of this user look into this one, where Linux lets only a parent do so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)


def flow_of(order: dict[str, Any]) -> Flow:
    """The flow, with handlers that do nothing."""
    flow = Flow(order["flow"])
    handler = _handler(order["returns"], order["handlers"])
    for slug, needs in order["steps"].items():
        flow.step(slug, depends_on=needs)(handler)
    return flow


def _handler(returns: str, kind: str) -> Callable[[Any, Context], object]:
    made: dict[str, Callable[[Any], object]] = {
        "nothing": lambda _: {},
        "input": lambda given: given,
        "time": lambda _: time.time(),
        # A handler that is a coroutine runs in the worker's own loop.
        "tasks": lambda _: {"at": time.time(), "tasks": len(asyncio.all_tasks())},
    }
    make = made[returns]

    def handle(given: Any, ctx: Context) -> object:  # noqa: ARG001  # as handlers are
        return make(given)

    async def handle_async(given: Any, ctx: Context) -> object:  # noqa: ARG001
        return make(given)

    return handle_async if kind == "async" else handle


if __name__ == "__main__":
    main()
