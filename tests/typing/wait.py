"""The client in asyncio, as a type checker sees it; see `declare.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from typing_extensions import assert_type

from pgflow_ref import AsyncPgFlow, Flow, FlowUpserted, Health, Pruned, Run
from pgflow_ref.json_contract import Json

order = Flow("order")


def targets(
    url: str,
    ours: psycopg.AsyncConnection[Any],
    pool: AsyncConnectionPool[Any],
    blocking: psycopg.Connection[Any],
    blocking_pool: ConnectionPool[Any],
) -> None:
    AsyncPgFlow(url, flows=[order])
    AsyncPgFlow(ours)
    AsyncPgFlow(pool)
    AsyncPgFlow(blocking)  # type: ignore[arg-type]
    AsyncPgFlow(blocking_pool)  # type: ignore[arg-type]


async def calls(url: str, run_id: UUID) -> None:
    async with AsyncPgFlow(url) as pgflow:
        assert_type(pgflow, AsyncPgFlow)
        assert_type(await pgflow.start_flow(order, {}), UUID)
        assert_type(await pgflow.start_flow_sync(order, {}, timeout=1), Run)
        assert_type(await pgflow.start_flows(order, [1, 2]), list[UUID])
        assert_type(await pgflow.enqueue_in("send", {}, timedelta(hours=1)), UUID)
        assert_type(await pgflow.get_run(run_id), Run)
        assert_type(await pgflow.get_step_output(run_id, "pay"), Json)
        assert_type(await pgflow.upsert_flow("order", steps=[]), FlowUpserted)
        assert_type(await pgflow.flow_exists("order"), bool)
        assert_type(await pgflow.health_check(), Health)
        assert_type(await pgflow.prune_data(60), Pruned)
        assert_type(await pgflow.start_worker(order), UUID)
        assert_type(await pgflow.run(), None)
        status: str = pgflow.get_run(run_id).status  # type: ignore[attr-defined]  # not awaited
        await pgflow.get_run(1)  # type: ignore[arg-type]
        del status
    with AsyncPgFlow(url):  # type: ignore[attr-defined]
        pass
