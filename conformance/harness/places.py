"""One database in the place of many: each case finds pgflow fresh in it, and leaves nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from conformance.harness import eventlog
from conformance.harness.databases import CORE, Cluster, Database
from conformance.harness.leavings import remove_schemas
from pgflow_ref.install import install

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS_IN_PLACE: Final = ("conformance", "pgflow", "pgmq", "realtime")
"""The schemas that a run makes and removes; a database that has one of them is not touched."""


class InPlace(Cluster):
    """The one database of a run that may make no others; for one process.

    Args:
        url: the database.
        patch: SQL to run after the core's own, or None.
    """

    def __init__(self, url: str, patch: str | None = None) -> None:
        super().__init__(url)
        self._patch = patch

    @contextmanager
    def database(self, core: str = CORE) -> Iterator[Database]:
        """The database with this core and an event log; empty again at the end."""
        remove_schemas(self.url, OURS_IN_PLACE)
        database = Database(self.url)
        try:
            install(self.url, core)
            if self._patch is not None:
                database.connection.execute(self._patch.encode())
            eventlog.install(database.connection)
            yield database
        finally:
            database.close()
            remove_schemas(self.url, OURS_IN_PLACE)
