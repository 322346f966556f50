"""The client: start runs and look at them.

Nothing is decided here. What a call does stands in `calls.py`, the SQL in `operations/`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from pgflow_ref import calls
from pgflow_ref.connection import connect, execute
from pgflow_ref.operations import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType
    from uuid import UUID

    from typing_extensions import Self

    from pgflow_ref.calls import Call
    from pgflow_ref.flow import Flow
    from pgflow_ref.operations import Run

T = TypeVar("T")


class PgFlow:
    """A client of the pgflow core in one database.

    Args:
        target: a connection URL, or a psycopg connection of yours. On a connection of yours a call
            joins the transaction that is open there, so a run starts exactly when you commit; and a
            call that fails leaves that transaction as it was.
        prepare: whether statements may be prepared in the server; not behind PgBouncer in
            transaction mode before its version 1.21.

    Raises:
        DatabaseUnavailable: at the first call, where the target is a URL and cannot be reached.

    Example:
        with PgFlow("postgresql://user:password@localhost/app") as pgflow:
            run = pgflow.start_flow_sync("order", {"id": 7}, timeout=30)
            print(run.output)
    """

    def __init__(self, target: str | psycopg.Connection[Any], *, prepare: bool = True) -> None:
        self._url = target if isinstance(target, str) else None
        self._connection = None if isinstance(target, str) else target
        self._prepare = prepare

    def start_flow(
        self, flow: Flow | str, run_input: object, *, run_id: UUID | None = None
    ) -> UUID:
        """Start a run of a flow; neither its code nor a worker needs to be here.

        Args:
            flow: the flow or its slug.
            run_input: any JSON value.
            run_id: the id that the run is to have (default: a new one).

        Returns:
            The run's id.

        Raises:
            FlowNotFound: the database has no such flow.
            RunExists: the database has a run with this id.
            NotJson: the input cannot be stored, and where in it.
        """
        return self._perform(calls.start_flow(flow, run_input, run_id))

    def start_flow_sync(
        self,
        flow: Flow | str,
        run_input: object,
        *,
        timeout: float = 60.0,
        poll_interval: float = 0.5,
    ) -> Run:
        """Start a run and wait until it is completed.

        Not on a connection of yours with an open transaction: there the run starts when you commit.

        Args:
            flow: the flow or its slug.
            run_input: any JSON value.
            timeout: seconds to wait; even with 0 there is one look.
            poll_interval: seconds between two looks.

        Returns:
            The completed run, with its step states.

        Raises:
            RunFailed: the run failed; the error has the run.
            RunTimeout: it was not over in time; it goes on.
            FlowNotFound, NotJson: as `start_flow`.
        """
        return self._perform(
            calls.start_flow_sync(flow, run_input, timeout=timeout, poll_interval=poll_interval)
        )

    def get_run(self, run_id: UUID | str) -> Run:
        """One run.

        Raises:
            RunNotFound: there is none; also where the text is no UUID.
        """
        return self._perform(calls.get_run(run_id))

    def get_run_with_states(self, run_id: UUID | str) -> Run:
        """One run with the states of its steps.

        Raises:
            RunNotFound: there is none; also where the text is no UUID.
        """
        return self._perform(calls.get_run_with_states(run_id))

    def close(self) -> None:
        """Close the connection, unless it is yours."""
        if self._url is not None and self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _perform(self, call: Call[T]) -> T:
        answer: object = None
        while True:
            try:
                request = call.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            match request:
                case Operation():
                    answer = self._execute(request)
                case calls.Sleep(seconds=seconds):
                    time.sleep(seconds)
                    answer = None
                case calls.Clock():
                    answer = time.monotonic()

    def _execute(self, operation: Operation[T]) -> T:
        if self._url is not None and (self._connection is None or self._connection.closed):
            self._connection = connect(self._url, prepare=self._prepare)
        assert self._connection is not None
        with self._guard(self._connection):
            return execute(self._connection, operation)

    def _guard(self, connection: psycopg.Connection[Any]) -> AbstractContextManager[object]:
        """Keep a failing call from spoiling the transaction that it runs in."""
        status = connection.info.transaction_status
        if status is psycopg.pq.TransactionStatus.INTRANS:
            return connection.transaction()  # a savepoint
        if status is psycopg.pq.TransactionStatus.IDLE and not connection.autocommit:
            return _undoing(connection)
        return nullcontext()


@contextmanager
def _undoing(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Roll back the transaction that a failing call has opened itself."""
    try:
        yield
    except BaseException:
        with suppress(psycopg.Error):  # a connection that is lost has nothing to roll back
            connection.rollback()
        raise
