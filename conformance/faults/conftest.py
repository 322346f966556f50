"""Fixtures for faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.harness.servers import RestartableServer
from conformance.harness.session import apply_patch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.harness.databases import Connection
    from conformance.harness.session import Session


@pytest.fixture(scope="session")
def restartable(session: Session) -> Iterator[RestartableServer]:
    """A server for the cases that restart theirs; one for each process of a parallel run."""

    def patch(connection: Connection) -> None:
        if session.patch is not None:
            apply_patch(connection, session.patch, "the patch")

    with RestartableServer(session.named, patch, session.pgmq, session.way) as server:
        yield server
