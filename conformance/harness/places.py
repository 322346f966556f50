"""One database in the place of many: each case finds pgflow fresh in it, and leaves nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from conformance.harness import cores, eventlog
from conformance.harness.databases import CORE, Cluster, Database
from conformance.harness.leavings import remove_schemas
from conformance.harness.ways import DIRECT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.harness.ways import Way
    from pgflow_ref.install import Report

OURS_IN_PLACE: Final = ("conformance", "pgflow", "pgmq", "realtime")
"""The schemas that a run makes and removes; a database that has one of them is not touched."""


class InPlace(Cluster):
    """The one database of a run that may make no others; for one process.

    Args:
        url: the database.
        patch: SQL to run after the core's own, or None.
        pgmq: the version or path of pgmq, or None for the usual one.
        way: how workers come to it.
    """

    def __init__(
        self,
        url: str,
        patch: str | None = None,
        pgmq: str | None = None,
        way: Way = DIRECT,
    ) -> None:
        super().__init__(url, way=way)
        self._patch = patch
        self._pgmq = pgmq

    @contextmanager
    def database(self, core: str = CORE) -> Iterator[Database]:
        """The database with this core and an event log; empty again at the end."""
        with self._emptied():
            database = Database(self.url, self.way)
            try:
                cores.put(self.url, core, self._pgmq)
                if self._patch is not None:
                    database.connection.execute(self._patch.encode())
                eventlog.install(database.connection)
                yield database
            finally:
                database.close()

    def attempt(self, core: str, say: Callable[[str], None]) -> Report:
        """Install a core, say what that gave, and take it away again.

        Raises:
            PgflowError: it cannot be had, or the server refuses it.
        """
        with self._emptied():
            return cores.put(self.url, core, self._pgmq, say)

    @contextmanager
    def _emptied(self) -> Iterator[None]:
        remove_schemas(self.url, OURS_IN_PLACE)
        try:
            yield
        finally:
            remove_schemas(self.url, OURS_IN_PLACE)
