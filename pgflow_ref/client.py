"""The synchronous client: start runs, look at them, define flows, run workers beside it."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from pgflow_ref import calls
from pgflow_ref.capabilities import OLDEST_CORE
from pgflow_ref.client_calls import ClientCalls
from pgflow_ref.perform import Performer
from pgflow_ref.registry import Registry, slug_of
from pgflow_ref.supervisor import Background, Supervisor, asked_by_signals
from pgflow_ref.targets import target_of
from pgflow_ref.telemetry import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from uuid import UUID

    import psycopg
    from typing_extensions import Self

    from pgflow_ref.calls import Health
    from pgflow_ref.config import WorkerConfig
    from pgflow_ref.flow import Flow
    from pgflow_ref.targets import Pool
    from pgflow_ref.telemetry import Listener


class PgFlow(ClientCalls):
    """A client of the pgflow core in one database. Several threads may share it.

    Args:
        target: a connection URL, a psycopg connection of yours, or a `psycopg_pool.ConnectionPool`.
            On a connection of yours a call joins the transaction that is open there, so a run
            starts exactly when you commit; and a call that fails leaves that transaction as it was.
            With a URL there is one connection; with a pool, one for each call while it lasts.
        flows: flows to register: `list_flows` and `get_flow` know them, and `with` or `run` start
            a worker for each.
        prepare: whether statements may be prepared in the server; not behind PgBouncer in
            transaction mode before its version 1.21.
        listeners: who is told of events; see `pgflow_ref.telemetry`.
        config: the options of workers that are started here.

    Raises:
        TypeError: the target is none of these.
        DatabaseUnavailable: at the first call, where the database cannot be reached.

    Example:
        with PgFlow("postgresql://user:password@localhost/app") as pgflow:
            run = pgflow.start_flow_sync("order", {"id": 7}, timeout=30)
            print(run.output)
    """

    def __init__(
        self,
        target: str | psycopg.Connection[Any] | Pool,
        *,
        flows: Iterable[Flow] = (),
        prepare: bool = True,
        listeners: Iterable[Listener] = (),
        config: WorkerConfig | None = None,
    ) -> None:
        self._target = target_of(target, prepare=prepare)
        self._registry = Registry(flows)
        listeners = tuple(listeners)
        self._supervisor = Supervisor(config, prepare=prepare, listeners=listeners)
        self._background = Background()
        super().__init__(Performer(self._target, Listeners(listeners), prepare=prepare))

    def list_flows(self) -> tuple[Flow, ...]:
        """The flows that were registered here, in their order.

        Example:
            [flow.slug for flow in pgflow.list_flows()]
        """
        return self._registry.flows

    def get_flow(self, flow: Flow | str) -> Flow:
        """A flow that was registered here.

        Raises:
            FlowNotFound: there is none of this slug; the database may have one (`flow_exists`).

        Example:
            pgflow.get_flow("order").steps
        """
        return self._registry.get(flow)

    def core_version(self) -> str:
        """The oldest version of pgflow's core that this library works with: 0.5.0.

        What the core in the database can do say `capabilities`.

        Example:
            >>> PgFlow("postgresql://localhost/app").core_version()
            '0.5.0'
        """
        return OLDEST_CORE

    def health_check(self) -> Health:
        """How the database, its workers and its queues are. It answers whatever is the matter.

        Returns:
            `down` where nothing can run: no database, no core. `degraded` where a flow has no
            queue, is registered here and not there, has stalled tasks, or has messages and no
            worker that gave a sign of life in the last minute. `ok` else.

        Example:
            health = pgflow.health_check()
            print(health.status, *health.problems, sep="; ")
        """
        slugs = [flow.slug for flow in self._registry.flows]
        return self._performer.perform(calls.health_check(slugs))

    def start_worker(self, flow: Flow | str, **options: object) -> UUID:
        """Start a worker for a flow, in a thread of its own that all workers share.

        It opens connections of its own to the target's database. It works until it is stopped, or
        the client is closed.

        Args:
            flow: the flow, which is registered by that, or the slug of a registered one.
            options: the fields of `WorkerConfig`, over those of the client's `config`.

        Returns:
            The worker's id, once it is ready.

        Raises:
            FlowNotFound: no such flow is registered here, or the database has none.
            WorkerExists: a worker for this flow runs here already.
            ConfigError: an option is unknown or out of range.
            FlowMismatch, CoreMissing, CoreUnsupported, DatabaseUnavailable: as `Worker.run`.

        Example:
            pgflow.start_worker(order, max_concurrency=20)
        """
        found = self._registry.take(flow)
        url = self._target.url()
        return self._background.call(self._supervisor.start(found, url, options))

    def stop_worker(self, flow: Flow | str) -> None:
        """Stop a flow's worker: it reads no more, and ends when its tasks are over.

        Raises:
            WorkerNotFound: none for this flow was started here.
            BaseException: what the worker had died of.

        Example:
            pgflow.stop_worker(order)
        """
        self._background.call(self._supervisor.stop(slug_of(flow)))

    def run(self, *, signals: bool = True) -> None:
        """Start a worker for each registered flow, and work until asked to stop.

        It ends when SIGTERM or SIGINT comes, when all workers have left because the database asked
        them to, and when one of them dies. All are stopped then, each when its tasks are over; a
        second signal makes them give back what still runs at once.

        Args:
            signals: whether SIGTERM and SIGINT ask for the end; only in the main thread.

        Raises:
            BaseException: what a worker could not start for, or has died of.

        Example:
            PgFlow("postgresql://localhost/app", flows=[order, refund]).run()
        """
        try:
            ask = lambda: self._background.soon(self._supervisor.ask)  # noqa: E731
            with asked_by_signals(ask) if signals else nullcontext():
                work = self._supervisor.serve(self._registry.flows, self._target.url())
                self._background.call(work)
        finally:
            self._background.close()

    def close(self) -> None:
        """Stop all workers, and close the client's connection. It may go on afterwards.

        A connection or a pool of yours stays open.

        Raises:
            BaseException: what a worker had died of.

        Example:
            pgflow = PgFlow(url)
            atexit.register(pgflow.close)
        """
        try:
            if self._background.is_running:
                self._background.call(self._supervisor.stop_all())
        finally:
            self._background.close()
            self._target.close()

    def __enter__(self) -> Self:
        try:
            for flow in self._registry.flows:
                self.start_worker(flow)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What the block raised goes before what a worker died of, which is in the log.
        with nullcontext() if error is None else suppress(Exception):
            self.close()
