"""The synchronous client: start runs, look at them, define flows, run workers beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgflow_ref import calls
from pgflow_ref.capabilities import OLDEST_CORE
from pgflow_ref.client_calls import ClientCalls
from pgflow_ref.perform import Performer
from pgflow_ref.registry import Registry
from pgflow_ref.targets import target_of
from pgflow_ref.telemetry import Listeners

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

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
        self._listeners = Listeners(listeners)
        self._prepare = prepare
        self._config = config
        self._registry = Registry(flows)
        super().__init__(Performer(self._target, self._listeners, prepare=prepare))

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

    def close(self) -> None:
        """Close the client's connection, if it has one of its own. It may go on afterwards."""
        self._target.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
