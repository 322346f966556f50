"""The asynchronous client: `PgFlow` in asyncio, with the same methods, to be awaited."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from pgflow_ref import calls
from pgflow_ref.capabilities import OLDEST_CORE
from pgflow_ref.perform import AsyncPerformer
from pgflow_ref.registry import Registry, slug_of
from pgflow_ref.supervisor import Supervisor, asked_by_signals
from pgflow_ref.targets import async_target_of
from pgflow_ref.telemetry import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType
    from uuid import UUID

    import psycopg
    from typing_extensions import Self

    from pgflow_ref.calls import FlowUpserted, Health, Pruned
    from pgflow_ref.capabilities import Capabilities
    from pgflow_ref.config import WorkerConfig
    from pgflow_ref.flow import Flow, Step
    from pgflow_ref.json_contract import Json
    from pgflow_ref.operations import Recovered, Run
    from pgflow_ref.targets import AsyncPool
    from pgflow_ref.telemetry import Listener


class AsyncPgFlow:
    """A client of the pgflow core in one database, in asyncio. Several tasks may share it.

    Its methods are those of `PgFlow`, and do the same; all but `list_flows`, `get_flow` and
    `core_version`, which ask nobody, are awaited. A call that is cancelled leaves neither an open
    transaction nor a connection behind; what it had begun is rolled back.

    Args:
        target: a connection URL, a `psycopg.AsyncConnection` of yours, or a
            `psycopg_pool.AsyncConnectionPool`; as for `PgFlow`. One event loop at a time.
        flows: flows to register, as for `PgFlow`.
        prepare: whether statements may be prepared in the server, as for `PgFlow`.
        listeners: who is told of events, as for `PgFlow`.
        config: the options of workers that are started here.

    Raises:
        TypeError: the target is none of these.
        DatabaseUnavailable: at the first call, where the database cannot be reached.

    Example:
        async with AsyncPgFlow("postgresql://user:password@localhost/app") as pgflow:
            run = await pgflow.start_flow_sync("order", {"id": 7}, timeout=30)
            print(run.output)
    """

    def __init__(
        self,
        target: str | psycopg.AsyncConnection[Any] | AsyncPool,
        *,
        flows: Iterable[Flow] = (),
        prepare: bool = True,
        listeners: Iterable[Listener] = (),
        config: WorkerConfig | None = None,
    ) -> None:
        self._target = async_target_of(target, prepare=prepare)
        self._registry = Registry(flows)
        listeners = tuple(listeners)
        self._supervisor = Supervisor(config, prepare=prepare, listeners=listeners)
        self._performer = AsyncPerformer(self._target, Listeners(listeners), prepare=prepare)

    # Start

    async def start_flow(
        self, flow: Flow | str, run_input: object, *, run_id: UUID | None = None
    ) -> UUID:
        """See `PgFlow.start_flow`."""
        return await self._performer.perform(calls.start_flow(flow, run_input, run_id))

    async def start_flow_sync(
        self,
        flow: Flow | str,
        run_input: object,
        *,
        timeout: float = 60.0,
        poll_interval: float = 0.5,
    ) -> Run:
        """See `PgFlow.start_flow_sync`."""
        return await self._performer.perform(
            calls.start_flow_sync(flow, run_input, timeout=timeout, poll_interval=poll_interval)
        )

    async def start_flows(self, flow: Flow | str, inputs: Iterable[object]) -> list[UUID]:
        """See `PgFlow.start_flows`."""
        return await self._performer.perform(calls.start_flows(flow, inputs))

    async def enqueue(
        self,
        job: Flow | str,
        run_input: object,
        *,
        delay: float | timedelta | None = None,
        scheduled_at: datetime | None = None,
    ) -> UUID:
        """See `PgFlow.enqueue`."""
        return await self._performer.perform(calls.enqueue(job, run_input, delay, scheduled_at))

    async def enqueue_in(
        self, job: Flow | str, run_input: object, seconds: float | timedelta
    ) -> UUID:
        """See `PgFlow.enqueue_in`."""
        return await self._performer.perform(calls.enqueue_in(job, run_input, seconds))

    async def enqueue_at(self, job: Flow | str, run_input: object, at: datetime) -> UUID:
        """See `PgFlow.enqueue_at`."""
        return await self._performer.perform(calls.enqueue_at(job, run_input, at))

    # Look

    async def get_run(self, run_id: UUID | str) -> Run:
        """See `PgFlow.get_run`."""
        return await self._performer.perform(calls.get_run(run_id))

    async def get_run_with_states(self, run_id: UUID | str) -> Run:
        """See `PgFlow.get_run_with_states`."""
        return await self._performer.perform(calls.get_run_with_states(run_id))

    async def get_step_output(self, run_id: UUID | str, step: Step[..., object] | str) -> Json:
        """See `PgFlow.get_step_output`."""
        return await self._performer.perform(calls.get_step_output(run_id, step))

    async def get_flow_input(self, run_id: UUID | str) -> Json:
        """See `PgFlow.get_flow_input`."""
        return await self._performer.perform(calls.get_flow_input(run_id))

    # Define

    async def flow_exists(self, flow: Flow | str) -> bool:
        """See `PgFlow.flow_exists`."""
        return await self._performer.perform(calls.flow_exists(flow))

    async def ensure_flow(self, flow: Flow) -> tuple[str, ...]:
        """See `PgFlow.ensure_flow`."""
        return await self._performer.perform(calls.ensure_flow(flow))

    async def upsert_flow(
        self,
        slug: str,
        *,
        steps: Sequence[Mapping[str, object]],
        max_attempts: int = 3,
        base_delay: int = 1,
        timeout: int = 60,
    ) -> FlowUpserted:
        """See `PgFlow.upsert_flow`."""
        return await self._performer.perform(
            calls.upsert_flow(
                slug, steps, max_attempts=max_attempts, base_delay=base_delay, timeout=timeout
            )
        )

    async def delete_flow(self, flow: Flow | str) -> bool:
        """See `PgFlow.delete_flow`."""
        return await self._performer.perform(calls.delete_flow(flow))

    # Look after

    async def recover_stalled_tasks(
        self, flow: Flow | str | None = None, *, grace: float | timedelta = 30.0
    ) -> Recovered:
        """See `PgFlow.recover_stalled_tasks`."""
        return await self._performer.perform(calls.recover_stalled_tasks(flow, grace))

    async def prune_data(
        self, older_than: float | timedelta, flow: Flow | str | None = None
    ) -> Pruned:
        """See `PgFlow.prune_data`."""
        return await self._performer.perform(calls.prune_data(older_than, flow))

    async def capabilities(self) -> Capabilities:
        """See `PgFlow.capabilities`."""
        return await self._performer.perform(calls.capabilities())

    async def health_check(self) -> Health:
        """See `PgFlow.health_check`."""
        slugs = [flow.slug for flow in self._registry.flows]
        return await self._performer.perform(calls.health_check(slugs))

    # What is here

    def list_flows(self) -> tuple[Flow, ...]:
        """See `PgFlow.list_flows`."""
        return self._registry.flows

    def get_flow(self, flow: Flow | str) -> Flow:
        """See `PgFlow.get_flow`."""
        return self._registry.get(flow)

    def core_version(self) -> str:
        """See `PgFlow.core_version`."""
        return OLDEST_CORE

    # Workers

    async def start_worker(self, flow: Flow | str, **options: object) -> UUID:
        """See `PgFlow.start_worker`; the worker runs in this event loop."""
        found = self._registry.take(flow)
        return await self._supervisor.start(found, await self._target.url(), options)

    async def stop_worker(self, flow: Flow | str) -> None:
        """See `PgFlow.stop_worker`."""
        await self._supervisor.stop(slug_of(flow))

    async def run(self, *, signals: bool = True) -> None:
        """See `PgFlow.run`; the workers run in this event loop."""
        loop = asyncio.get_running_loop()
        ask = lambda: loop.call_soon_threadsafe(self._supervisor.ask)  # noqa: E731
        with asked_by_signals(ask) if signals else nullcontext():
            await self._supervisor.serve(self._registry.flows, await self._target.url())

    async def close(self) -> None:
        """See `PgFlow.close`."""
        try:
            await self._supervisor.stop_all()
        finally:
            await self._target.close()

    async def __aenter__(self) -> Self:
        try:
            for flow in self._registry.flows:
                await self.start_worker(flow)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with nullcontext() if error is None else suppress(Exception):
            await self.close()
