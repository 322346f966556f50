"""Processes for handlers that are plain functions: unlike a thread, a process can be ended.

Each runs one task at a time (`handler_process.py`); there are as many as there are tasks at once,
and one whose task is over takes the next. A process imports the module in which the flow is, as the
worker's own process did, and finds the handlers there: nothing of them is sent, so it does not
matter what they are or whether they can be pickled. Tasks and outcomes go through a socket as JSON.

A process leads a session of its own, so that what a handler has started is ended with it, and ends
when the worker's process does, even if that is killed: then its socket is closed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from pgflow_ref import handler_process
from pgflow_ref.errors import ConfigError
from pgflow_ref.execute import is_async
from pgflow_ref.task import Completed, Failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from pgflow_ref.flow import Flow, Stopping
    from pgflow_ref.task import Outcome, Task, TaskKey

_PATIENCE: Final = 1.0  # seconds for a process without a task to end by itself


class Broken(Exception):
    """A process that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a process finds the flow.

    Attributes:
        module: the module to import; None: the script at `path` is run as one.
        path: that script.
        attribute: the flow's name there.
        slug: the flow's slug.
        steps: the steps whose handlers it runs.
    """

    module: str | None
    path: str | None
    attribute: str
    slug: str
    steps: tuple[str, ...]


def find(flow: Flow) -> Reference:
    """Find the variable of a module that holds this flow.

    Raises:
        ConfigError: there is none that another process could find as well.
    """
    steps = tuple(slug for slug, step in flow.steps.items() if not is_async(step.handler))
    for name, attribute in _places(flow):
        if name != "__main__":
            return Reference(name, None, attribute, flow.slug, steps)
        main = sys.modules["__main__"]
        spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None:  # python -m package.module
            return Reference(spec.name, None, attribute, flow.slug, steps)
        if path is not None:
            return Reference(None, os.path.abspath(path), attribute, flow.slug, steps)  # noqa: PTH100
    raise _refusal(
        f"flow {flow.slug!r} is no variable of a module that other processes can import; "
        "move it there, or use 'threads'"
    )


def _refusal(reason: str) -> ConfigError:
    return ConfigError([f"sync_handlers='processes': {reason}"])


def _places(flow: Flow) -> Iterator[tuple[str, str]]:
    """Modules and variables that hold the flow; where its handlers are is the likeliest place."""
    likely = [getattr(step.handler, "__module__", None) for step in flow.steps.values()]
    for name in dict.fromkeys([*likely, *sys.modules]):
        module = sys.modules.get(name) if isinstance(name, str) else None
        if isinstance(module, ModuleType):
            for attribute, value in list(vars(module).items()):
                if value is flow:
                    yield str(name), attribute


class Processes:
    """The processes of one worker. All but `end` and `stop` wait, and are for threads.

    Args:
        flow: the flow, whose variable is looked for when the first process is started.
        worker_id: whose tasks they perform.
        stopping: set when the worker is asked to stop.
    """

    def __init__(self, flow: Flow, worker_id: UUID, stopping: Stopping) -> None:
        self._flow = flow
        self._worker_id = worker_id
        self._stopping = stopping
        self._reference: Reference | None = None
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: dict[TaskKey, _Process] = {}
        self._ended: set[TaskKey] = set()  # whose processes were not there yet
        self._is_closed = False

    def start(self) -> None:
        """Start the first process, to see that it finds the handlers.

        Raises:
            ConfigError: it does not, and why.
        """
        if handler_process.is_one:
            raise _refusal(
                "this is a process for handlers; a script starts its worker under "
                "if __name__ == '__main__'"
            )
        self._reference = find(self._flow)
        process = self._new()
        try:
            process.wait_until_ready()
        except Broken as error:
            process.kill()
            raise _refusal(str(error)) from None
        with self._lock:
            self._idle.append(process)

    def perform(self, task: Task) -> Outcome:
        """Run a task's handler in a process, and wait for its outcome."""
        try:
            process = self._take(task.key)
        except (Broken, OSError) as error:
            return Failed(f"The handler's process could not be started: {error}")
        try:
            outcome = process.perform(task, self._worker_id, is_stopping=self._stopping.is_set())
        except Broken as error:
            process.kill()
            outcome, is_fine = Failed(f"The handler's process {error} before it returned"), False
        else:
            is_fine = True
        self._give_back(task.key, process if is_fine else None)
        return outcome

    def end(self, key: TaskKey) -> None:
        """End the process that performs this task."""
        with self._lock:
            process = self._busy.get(key)
            if process is None:
                self._ended.add(key)
            else:
                process.signal()

    def stop(self) -> None:
        """Let handlers know that the worker has been asked to stop."""
        with self._lock:
            for process in self._busy.values():
                process.stop()

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy.values())
        for process in busy:
            process.signal()
        for process in idle:
            process.hang_up()
        for process in idle:
            process.wait()

    def _take(self, key: TaskKey) -> _Process:
        """A process for this task: one that is idle, or a new one."""
        while True:
            with self._lock:
                is_new = not self._idle
                process = self._new() if is_new else self._idle.pop()
                self._busy[key] = process
                if key in self._ended or self._is_closed:
                    process.signal()
            try:
                if is_new:
                    process.wait_until_ready()
                elif not process.is_alive():  # a thread that a handler left has ended it
                    raise Broken("has ended")  # noqa: TRY301
            except Broken:
                process.kill()
                self._give_back(key, None)
                if is_new:
                    raise
            else:
                return process

    def _new(self) -> _Process:
        assert self._reference is not None, "it is started"
        return _Process(self._reference)

    def _give_back(self, key: TaskKey, process: _Process | None) -> None:
        with self._lock:
            self._busy.pop(key, None)
            self._ended.discard(key)
            if process is None:
                return
            if not self._is_closed:
                self._idle.append(process)
                return
        process.kill()


class _Process:
    """One process, seen from the worker's."""

    def __init__(self, reference: Reference) -> None:
        self._connection, theirs = Pipe()
        # Its path is ours, whatever ours was made of: the flow's module may import anything.
        # So are the arguments, which a script may read before it knows that it is none.
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; sys.argv[:] = {sys.argv!r}; "
            f"from pgflow_ref.handler_process import main; main({theirs.fileno()})"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()
        self._lock = threading.Lock()  # over its number, which is another's once it is waited for
        self._sending = threading.Lock()
        self._send({"reference": asdict(reference)})

    def wait_until_ready(self) -> None:
        """Wait until it has found the handlers.

        Raises:
            Broken: it has not.
        """
        said = self._receive()
        if said["problem"] is not None:
            raise Broken(str(said["problem"]))

    def perform(self, task: Task, worker_id: UUID, *, is_stopping: bool) -> Outcome:
        """Have it call a handler; what came of it.

        Raises:
            Broken: it is over, and how it ended.
        """
        run_id, *rest = task.key
        named = {"flow_slug": task.flow_slug, "message_id": task.message_id, "input": task.input}
        self._send(
            {
                "key": [str(run_id), *rest],
                "task": {**named, "flow_input": task.flow_input},
                "worker_id": str(worker_id),
                "is_stopping": is_stopping,
            }
        )
        said = self._receive()
        if "message" in said:
            return Failed(str(said["message"]))
        output = said["output"]
        return Completed(None if output is None else str(output))

    def stop(self) -> None:
        """Tell it that the worker has been asked to stop."""
        self._send({"is_stopping": True})

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        with self._lock:
            return self._process.poll() is None

    def signal(self) -> None:
        """Kill it, and whatever its handler has started."""
        with self._lock:
            if self._process.returncode is None:  # else its number may be another's by now
                with suppress(OSError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """The same, and wait until it is gone."""
        self.signal()
        self._connection.close()
        with self._lock:
            self._process.wait()

    def hang_up(self) -> None:
        """Let it end by itself."""
        self._connection.close()

    def wait(self) -> None:
        """Wait for that for a moment, and not longer."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        self.kill()

    def _send(self, message: dict[str, object]) -> None:
        with (
            suppress(OSError),
            self._sending,
        ):  # where it is over, that shows when it ought to answer
            self._connection.send_bytes(json.dumps(message).encode())

    def _receive(self) -> dict[str, Any]:
        try:
            said: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise Broken(self._end()) from None
        return said

    def _end(self) -> str:
        """How it ended, in words; it does not say anything any more."""
        self.signal()  # a handler may have closed what is not its own, and go on
        with self._lock:
            code = self._process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
