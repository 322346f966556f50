"""A server that is restarted is the same one afterwards, on the same port."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from conformance.harness.servers import MODES, RestartableServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[RestartableServer]:
    def patch(connection: psycopg.Connection[tuple[object, ...]]) -> None:
        connection.execute("CREATE TABLE public.patched ()")

    with RestartableServer(["0.5.0"], patch) as made:
        yield made


@pytest.mark.parametrize("mode", MODES)  # for the second, one that was restarted before
def test_what_was_committed_is_there_and_who_was_connected_is_not(
    mode: str, server: RestartableServer
) -> None:
    with server.cluster.database("0.5.0") as database:
        database.connection.execute("CREATE TABLE public.kept (n integer)")
        database.connection.execute("INSERT INTO public.kept VALUES (1)")
        before, pid = database.connection, server.pid
        other = psycopg.connect(database.url)
        other.execute("INSERT INTO public.kept VALUES (2)")  # not committed
        meanwhile: list[str] = []

        def find_it_gone() -> None:
            with pytest.raises(psycopg.OperationalError, match="refused"):
                psycopg.connect(database.url)
            meanwhile.append(mode)

        server.restart(mode, find_it_gone)
        assert meanwhile == [mode]
        other.close()
        assert server.pid != pid
        with pytest.raises(psycopg.OperationalError):
            before.execute("SELECT 1")
        kept = database.connection.execute("SELECT n FROM public.kept, public.patched").fetchall()
        assert kept == []  # the patch made an empty table, in each copy
        assert database.connection.execute("SELECT n FROM public.kept").fetchall() == [(1,)]


@pytest.mark.parametrize("restarts", [0, 1])
def test_nothing_is_left_of_it(restarts: int) -> None:
    with RestartableServer([]) as server:
        for _ in range(restarts):
            server.restart("fast")
        pid, directory = server.pid, server.directory
        assert directory.exists()
    assert not Path("/proc", str(pid)).exists()
    assert not directory.exists()
