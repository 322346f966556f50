"""Daemon threads for handlers that are plain functions.

Not a `ThreadPoolExecutor`: Python waits for its threads when it exits, and a handler that never
ends, whose task has long been failed for it, must not keep a stopped worker's process alive.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Threads:
    """As many threads as there are jobs at once; a thread whose job is over takes the next."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._idle = 0  # threads less jobs that are not over
        self._is_closed = False

    def submit(self, job: Callable[[], None]) -> None:
        """Perform a job, which must not raise, in some thread, at once.

        Raises:
            RuntimeError: the threads are closed.
        """
        with self._lock:
            if self._is_closed:
                raise RuntimeError("these threads are closed")
            if self._idle > 0:
                self._idle -= 1
            else:
                self._count += 1
                name = f"{self._name}-{self._count}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
        self._jobs.put(job)

    def close(self) -> None:
        """Let every thread end, once its job is over."""
        with self._lock:
            self._is_closed = True
            for _ in range(self._count):
                self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            with self._lock:
                self._idle += 1
