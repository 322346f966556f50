"""A process that calls handlers for a worker (`processes.py`), one task at a time.

It ends when the worker hangs up: at once, if a handler runs, since nobody waits for it any more.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
import threading
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pgflow_ref import execute
from pgflow_ref.flow import Flow
from pgflow_ref.task import Completed, Outcome, Task, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Messages = SimpleQueue[dict[str, Any] | None]

_SCRIPT: Final = "__pgflow_main__"
"""What a script's `__name__` is here, so that what it does as a program is not done."""

is_one = False
"""Whether this process is one, in which no worker can be started."""


def main(descriptor: int) -> None:
    """Serve the worker at the other end of this socket.

    Args:
        descriptor: the socket's number.
    """
    global is_one  # noqa: PLW0603  # a process is one, or is not
    is_one = True
    os.set_inheritable(descriptor, False)  # what a handler starts is not to hold it open
    for number in (signal.SIGINT, signal.SIGTERM):
        # A terminal and a service manager signal all processes; what is to end, the worker decides.
        # Not SIG_IGN, which what a handler starts would inherit.
        signal.signal(number, _nothing)
    serve(Connection(descriptor))


def serve(connection: Connection, leave: Callable[[int], object] = os._exit) -> None:
    """Find the handlers, and call them, until the other end hangs up.

    Args:
        connection: leads to the worker.
        leave: ends this process at once, with an exit code.
    """
    reference = json.loads(connection.recv_bytes())["reference"]
    try:
        flow = find(reference)
    except BaseException as error:  # noqa: BLE001  # also SystemExit: a script that is no module
        connection.send_bytes(json.dumps({"problem": _problem(reference, error)}).encode())
        return
    connection.send_bytes(b'{"problem": null}')
    messages: Messages = SimpleQueue()
    stopping, is_busy = threading.Event(), threading.Event()
    threading.Thread(
        target=_listen, args=(connection, messages, stopping, is_busy, leave), daemon=True
    ).start()
    me = os.getpid()
    while (message := messages.get()) is not None:
        outcome = perform(flow, message, stopping)
        if os.getpid() != me:
            leave(0)  # a handler that forked returns twice, and the task has one outcome
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        is_busy.clear()
        answer = (
            {"output": outcome.output}
            if isinstance(outcome, Completed)
            else {"message": outcome.message}
        )
        try:
            connection.send_bytes(json.dumps(answer).encode())
        except OSError:  # the worker is gone, or the handler has closed what is not its own
            return


def find(reference: dict[str, Any]) -> Flow:
    """The flow that a reference names, as this process has it.

    Raises:
        LookupError: it is not there, or another one is.
    """
    if reference["module"] is None:
        names = runpy.run_path(reference["path"], run_name=_SCRIPT)
    else:
        names = vars(importlib.import_module(reference["module"]))
    flow = names.get(reference["attribute"])
    if not isinstance(flow, Flow) or flow.slug != reference["slug"]:
        raise LookupError(f"{reference['attribute']} is no flow {reference['slug']!r} there")
    missing = [slug for slug in reference["steps"] if slug not in flow.steps]
    if missing:
        raise LookupError(f"{reference['attribute']} has no step {', '.join(missing)} there")
    return flow


def perform(flow: Flow, message: dict[str, Any], stopping: threading.Event) -> Outcome:
    """Call the handler of one task."""
    run_id, step_slug, task_index, attempt = message["key"]
    task = Task(TaskKey(UUID(run_id), step_slug, task_index, attempt), **message["task"])
    if message["is_stopping"]:
        stopping.set()
    step = flow.steps[step_slug]
    try:
        argument, context = execute.prepare(step.shape, task, UUID(message["worker_id"]), stopping)
    except Exception as error:  # noqa: BLE001  # an input of another form fails its task only
        return execute.failed(error)
    return execute.call(step.handler, argument, context)


def _listen(
    connection: Connection,
    messages: Messages,
    stopping: threading.Event,
    is_busy: threading.Event,
    leave: Callable[[int], object],
) -> None:
    while True:
        try:
            message: dict[str, Any] = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            break
        if "key" in message:
            is_busy.set()
            messages.put(message)
        else:
            stopping.set()
    stopping.set()
    if is_busy.is_set():
        leave(1)
    messages.put(None)


def _problem(reference: dict[str, Any], error: BaseException) -> str:
    where = reference["module"] or reference["path"]
    return (
        f"a process for handlers cannot import {where}: {execute.failed(error).message}; flows are "
        "declared at the top of a module, and a script starts its worker under "
        "if __name__ == '__main__'"
    )


def _nothing(_signal: int, _frame: FrameType | None) -> None:
    """Leave it to the worker."""
