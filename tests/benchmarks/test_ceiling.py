"""The loop inside the server does the whole work of a worker."""

from __future__ import annotations

import pytest

from benchmarks.ceiling import drain
from pgflow_ref import EmbeddedPostgres
from pgflow_ref.connection import connect
from pgflow_ref.install import install, wanted


@pytest.mark.parametrize("quantity", [2, 100])
def test_the_ceiling_completes_every_run(quantity: int) -> None:
    with EmbeddedPostgres() as server, connect(server.url()) as connection:
        install(connection, wanted("0.5.0"))
        connection.execute("SELECT pgflow.create_flow('f', timeout => 60)")
        connection.execute("SELECT pgflow.add_step('f', 'a')")
        connection.execute("SELECT pgflow.add_step('f', 'b', ARRAY['a'])")
        connection.execute("SELECT pgflow.start_flow('f', '1') FROM generate_series(1, 5)")
        drain(connection, "f", quantity=quantity)
        counted = "SELECT status, count(*) FROM pgflow.runs GROUP BY status"
        assert connection.execute(counted).fetchall() == [("completed", 5)]
        assert connection.execute("SELECT count(*) FROM pgmq.q_f").fetchone() == (0,)
