"""A server with both cores, and the workers that are tried on them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from conformance.harness.adapters import AdapterError
from conformance.harness.session import Choice, open_session
from conformance.regress.findings import CannotRun
from conformance.regress.sides import distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conformance.harness.databases import Cluster
    from conformance.harness.session import Session
    from conformance.regress.sides import Side

PATIENCE = 2.0
"""How much longer than the suite to wait: what is slow here is not the candidate's fault."""


@dataclass(frozen=True)
class Ground:
    """Where both cores are tried.

    Attributes:
        cores: the two cores, or the one that both are.
        cluster: the server that has them.
        session: the workers.
        folder: a directory for files.
    """

    cores: tuple[Side, ...]
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
    base: Side,
    candidate: Side,
    workers: Sequence[str],
    say: Callable[[str], None],
    pgmq: str | None = None,
) -> Iterator[Ground]:
    """Start a server with both cores, which is gone at the end.

    Args:
        base: the one core.
        candidate: the other.
        workers: names of adapters.
        say: is told what takes long.
        pgmq: the pgmq that both get, or None for the usual one.

    Raises:
        CannotRun: a worker is not there.
        PgflowError: a core cannot be installed.
    """
    both = distinct(base, candidate)
    named = tuple(one.core for one in both)
    choice = Choice(tuple(workers), PATIENCE, cores=named, pgmq=pgmq)
    try:
        session, server = open_session(choice, say)
    except AdapterError as error:
        raise CannotRun(str(error)) from None
    try:
        with TemporaryDirectory(prefix="pgflow-regress-") as folder:
            yield Ground(both, session.cluster(), session, Path(folder))
    finally:
        server.stop()
