"""A server with both cores, and the workers that are tried on them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from conformance.harness.adapters import AdapterError
from conformance.harness.databases import Cluster
from conformance.harness.session import Choice, open_session
from conformance.regress.findings import CannotRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conformance.harness.session import Session

PATIENCE = 2.0
"""How much longer than the suite to wait: what is slow here is not the candidate's fault."""


@dataclass(frozen=True)
class Ground:
    """Where both cores are tried.

    Attributes:
        base: what the one core is called.
        candidate: what the other is called.
        cluster: the server that has both.
        session: the workers.
        folder: a directory for files.
    """

    base: str
    candidate: str
    cluster: Cluster
    session: Session
    folder: Path

    def place(self, name: str) -> Path:
        """A directory of a trial's own."""
        path = self.folder / name
        path.mkdir()
        return path


@contextmanager
def ground(
    base: str, candidate: str, workers: Sequence[str], say: Callable[[str], None]
) -> Iterator[Ground]:
    """Start a server with both cores, which is gone at the end.

    Raises:
        CannotRun: a worker is not there.
        PgflowError: a core cannot be installed.
    """
    choice = Choice(tuple(workers), PATIENCE, cores=tuple(dict.fromkeys((base, candidate))))
    try:
        session, server = open_session(choice, say)
    except AdapterError as error:
        raise CannotRun(str(error)) from None
    try:
        with TemporaryDirectory(prefix="pgflow-regress-") as folder:
            labels = [core.version for core in session.cores]
            yield Ground(labels[0], labels[-1], Cluster(session.server), session, Path(folder))
    finally:
        server.stop()
