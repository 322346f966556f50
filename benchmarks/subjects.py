"""Who is measured: worker processes in two languages, with what they are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from conformance.harness.adapters import deno
from conformance.harness.kin import Kin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.workloads import Workload
    from conformance.harness.databases import Connection

_TYPESCRIPT: Final = Path(__file__).parents[1] / "conformance/workers/typescript"
_STOP_WITHIN: Final = 15.0  # seconds from SIGTERM to the end of a worker that has nothing to do
LOOK_EVERY: Final = 0.05
"""Seconds between two looks at a worker; what is measured comes from the server, not from this."""


class SubjectFailed(Exception):
    """A worker that was measured ended, or did not do its work."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A worker and its settings.

    Attributes:
        name: in tables and plots.
        language: whose worker it is.
        options: the worker's own names for what it is told; what is not in it has its default.
        handlers: of Python: coroutines, or plain functions, which run in threads.
        connections: of Deno: how many it may have; Python has four, and one more to listen.
        trial: of Python: how it differs from pgflow_ref's worker (`benchmarks.trials`); empty: not.
    """

    name: str
    language: Literal["python", "deno"]
    options: dict[str, Any] = field(default_factory=dict)
    handlers: Literal["async", "sync"] = "async"
    connections: int = 4
    trial: str = ""

    def order(self, workload: Workload) -> str:
        """What its process is told to do, as JSON."""
        return json.dumps(
            {
                "flow": workload.slug,
                "steps": workload.steps,
                "returns": workload.returns,
                "options": self.options,
                "handlers": self.handlers,
                "connections": self.connections,
                "trial": self.trial,
            }
        )

    def told(self, **options: Any) -> Subject:
        """The same with more options."""
        return replace(self, options={**self.options, **options})

    @property
    def _command(self) -> list[str]:
        if self.language == "python":
            return [sys.executable, "-m", "benchmarks.python_worker"]
        allowed = ("--allow-env=PG*", "--allow-net=127.0.0.1", "--no-prompt")
        script = str(_TYPESCRIPT / "bench.ts")
        return [deno(), "run", "--quiet", "--frozen", "--cached-only", *allowed, script]

    @contextmanager
    def at_work(self, url: str, workload: Workload) -> Iterator[AtWork]:
        """The worker's process; it is asked to end afterwards, and gone in any case.

        Raises:
            SubjectFailed: it did not end in time, or not with 0.
        """
        environ = {**os.environ, "PGFLOW_DATABASE_URL": url, "DENO_NO_UPDATE_CHECK": "1"}
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as order:
            # Not an argument: the system limits those, to what some thousand steps take.
            order.write(self.order(workload).encode())
            order.seek(0)
            kin = Kin(self._command, environ, stdin=order, stdout=said, stderr=said)
            worker = AtWork(self.name, kin, said)
            try:
                yield worker
                worker.stop()
            finally:
                kin.end()


@dataclass(frozen=True, slots=True)
class AtWork:
    """A worker that runs.

    Attributes:
        name: its subject's.
        kin: its process.
        said: what it says to people.
    """

    name: str
    kin: Kin
    said: IO[bytes]

    @property
    def pid(self) -> int:
        """Of its process."""
        return self.kin.process.pid

    def until(self, done: Callable[[], bool], within: float) -> None:
        """Wait until something holds, while the worker runs.

        Raises:
            SubjectFailed: the worker ended, or the time is over.
        """
        began = time.monotonic()
        while not self.has(done, began, within):
            time.sleep(LOOK_EVERY)

    def has(self, done: Callable[[], bool], began: float, within: float) -> bool:
        """Whether something holds already, of a worker that runs.

        Args:
            done: what is to hold.
            began: since when it is waited for, by `time.monotonic`.
            within: seconds for it.

        Raises:
            SubjectFailed: it does not hold, and the worker ended or the time is over.
        """
        if done():
            return True
        if self.kin.process.poll() is not None:
            raise self._failed("ended in mid-work")
        if time.monotonic() > began + within:
            raise self._failed(f"was not done within {within:g} s")
        return False

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.kin.process.terminate()
        try:
            code = self.kin.process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise self._failed(f"was asked to stop and did not within {_STOP_WITHIN:g} s") from None
        if code != 0:
            raise self._failed(f"was asked to stop and ended with {code}")

    def _failed(self, what: str) -> SubjectFailed:
        self.said.seek(0)
        end = self.said.read()[-2000:].decode(errors="replace").strip()
        return SubjectFailed(f"{self.name} {what}; it said: {end or 'nothing'}")


def are_there(connection: Connection, workers: int = 1) -> bool:
    """Whether so many workers are registered: from then on they hear SIGTERM."""
    row = connection.execute("SELECT count(*) FROM pgflow.workers").fetchone()
    assert row is not None, "a count has one row"
    return row[0] == workers


def prepare_deno() -> None:
    """Get the modules of the Deno worker, whose versions are locked.

    Raises:
        SubjectFailed: they are not to be had.
    """
    script = str(_TYPESCRIPT / "bench.ts")
    command = [deno(), "install", "--quiet", "--frozen", "--entrypoint", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SubjectFailed(f"the modules of the Deno worker are not to be had: {done.stderr}")


PYTHON: Final = Subject("python, defaults", "python")
TUNED: Final[dict[str, Any]] = {"max_concurrency": 200, "batch_size": 100}
_RECORDERS: Final[dict[str, Any]] = {**TUNED, "recorders": 2}
PYTHON_TUNED: Final = Subject("python, tuned", "python", _RECORDERS)
PYTHON_SYNC: Final = Subject("python, tuned, plain functions", "python", _RECORDERS, "sync")
DENO: Final = Subject("deno, defaults", "deno")
DENO_TUNED: Final = Subject("deno, the same settings", "deno", TUNED, connections=10)
SUBJECTS: Final = (PYTHON, PYTHON_TUNED, PYTHON_SYNC, DENO, DENO_TUNED)
