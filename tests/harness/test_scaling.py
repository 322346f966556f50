"""What docs/scaling.md says of an unlogged queue after a crash, and the way back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from conformance.harness.databases import template_of
from conformance.harness.servers import RestartableServer
from pgflow_ref import Flow, PgFlow, Worker
from tests.conftest import wait_until
from tests.pages import DOCS, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

CORE = "0.5.0"
PUT_BACK = next(
    block.code for block in blocks(DOCS / "scaling.md") if block.title == "put-back.sql"
)

order = Flow("order")


@order.step()
def pay(run_input: object, ctx: object) -> object:  # noqa: ARG001  # as handlers are
    return run_input


@pytest.fixture
def server() -> Iterator[RestartableServer]:
    with RestartableServer([CORE]) as server:
        yield server


def _crashed(server: RestartableServer) -> tuple[str, list[UUID]]:
    """A database with three runs that waited in an unlogged queue; its URL and their ids."""
    server.cluster.create("app", template_of(CORE))
    url = server.cluster.url_of("app")
    with PgFlow(url) as pgflow, psycopg.connect(url, autocommit=True) as connection:
        pgflow.ensure_flow(order)
        connection.execute("ALTER TABLE pgmq.q_order SET UNLOGGED")
        run_ids = [pgflow.start_flow(order, number) for number in range(3)]
    server.restart("immediate")
    return url, run_ids


def test_a_crash_empties_an_unlogged_queue_and_its_ids_begin_again(
    server: RestartableServer,
) -> None:
    url, (first, *_) = _crashed(server)
    with PgFlow(url) as pgflow, psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM pgmq.q_order").fetchone() == (0,)
        waiting = "SELECT count(*) FROM pgflow.step_tasks WHERE status = 'queued'"
        assert connection.execute(waiting).fetchone() == (3,)
        new = pgflow.start_flow(order, 3)
        share = (
            "SELECT array_agg(run_id) FROM pgflow.step_tasks"
            " WHERE message_id = (SELECT msg_id FROM pgmq.q_order)"
        )
        row = connection.execute(share).fetchone()
        assert row is not None
        assert set(row[0]) == {first, new}


def test_what_the_page_says_puts_all_back(server: RestartableServer) -> None:
    url, run_ids = _crashed(server)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(PUT_BACK.encode())
        connection.execute(PUT_BACK.encode())  # once more changes nothing
        messages = "SELECT count(*), count(DISTINCT msg_id) FROM pgmq.q_order"
        assert connection.execute(messages).fetchone() == (3, 3)
    with PgFlow(url) as pgflow:
        run_ids.append(pgflow.start_flow(order, 3))
        worker = Worker(order, url)
        at_work = threading.Thread(target=worker.run, kwargs={"signals": False})
        at_work.start()
        try:
            wait_until(lambda: all(pgflow.get_run(one).status == "completed" for one in run_ids))
        finally:
            worker.stop()
            at_work.join()
        assert [pgflow.get_run(one).output for one in run_ids] == [{"pay": n} for n in range(4)]
    with psycopg.connect(url) as connection:
        once = "SELECT max(attempts_count), count(*) FROM pgflow.step_tasks"
        assert connection.execute(once).fetchone() == (1, 4)
