"""What a worker asks of its database, and what it makes of the answers: events for the machine.

Three connections: whatever a claim or a record waits for, a sign of life is given in time. Reads,
claims and recoveries share one, since the machine sends one at a time; results have their own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from psycopg import errors as pg

from pgflow_ref import operations as ops
from pgflow_ref import protocol
from pgflow_ref.connection import Line, execute_async, execute_together, is_passing
from pgflow_ref.task import Failed, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from pgflow_ref.capabilities import Capabilities
    from pgflow_ref.config import WorkerConfig
    from pgflow_ref.task import Result
    from pgflow_ref.worker.telling import Telling

log: Final = logging.getLogger("pgflow_ref.worker")
failures: Final = logging.getLogger("pgflow_ref.worker.failures")  # who listens hears of them too


class Database:
    """The connections of one worker.

    Args:
        url: where the database is.
        prepare: whether statements may be prepared in the server.
        flow_slug: whose queue is read.
        worker_id: who reads.
        config: the worker's options.
        happened: is told what happened.
        telling: is told what listeners may want to know.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what a worker is
        self,
        url: str,
        prepare: bool,
        flow_slug: str,
        worker_id: UUID,
        config: WorkerConfig,
        happened: Callable[[protocol.Event], None],
        telling: Telling,
    ) -> None:
        self.pulse = Line(url, prepare=prepare)
        self._reader = Line(url, prepare=prepare)
        self._recorder = Line(url, prepare=prepare)
        self._flow_slug = flow_slug
        self._worker_id = worker_id
        self._config = config
        self._happened = happened
        self._telling = telling
        self.capabilities: Capabilities | None = None
        self._beats = False
        self._sent: set[TaskKey] = set()  # results of which it is not known whether they arrived
        self._reads = False
        self._is_cancelled = False
        self._cancelling: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close all connections."""
        for line in (self.pulse, self._reader, self._recorder):
            await line.close()

    # The worker's row

    async def register(self) -> None:
        """Insert the worker's row."""
        name = self._config.worker_name or self._flow_slug
        operation = ops.register_worker(self._worker_id, self._flow_slug, name)
        await execute_async(await self.pulse.open(), operation)

    async def heartbeat(self) -> None:
        """Give a sign of life, unless the last one is still under way."""
        if self._beats:
            return
        assert self.capabilities is not None
        self._beats = True
        try:
            operation = ops.heartbeat(self._worker_id, deprecation=self.capabilities.deprecated_at)
            if await execute_async(await self.pulse.open(), operation):
                self._happened(protocol.Deprecated(time.monotonic()))
        except Exception as error:  # noqa: BLE001  # the next one is due soon
            log.warning("cannot give a sign of life: %s", error)
        finally:
            self._beats = False

    async def mark_stopped(self) -> None:
        """Mark the worker's row, where it can be."""
        if self.capabilities is None or not self.capabilities.stopped_at:
            return
        try:
            await execute_async(await self.pulse.open(), ops.mark_stopped(self._worker_id))
        except Exception as error:  # noqa: BLE001  # the worker is over anyway
            log.warning("cannot mark the worker as stopped: %s", error)

    # Reading

    async def read(self, command: protocol.Read) -> None:
        """Read messages, or wait for some in the server."""
        self._telling.poll_started()
        visible_in: float | None = None
        self._reads, self._is_cancelled = True, False
        try:
            message_ids = await self._read(command)
            if not message_ids and self._config.signal_strategy == "notify":
                connection = await self._reader.open()
                visible_in = await execute_async(connection, ops.visible_in(self._flow_slug))
        except Exception as error:  # noqa: BLE001  # whatever it is, the next poll tries again
            self._poll_failed("read messages", error)
        else:
            if not message_ids:
                self._telling.poll_stopped(0)
            now, chance = time.monotonic(), random.random()  # noqa: S311  # no secret
            self._happened(protocol.MessagesRead(now, tuple(message_ids), chance, visible_in))

    async def _read(self, command: protocol.Read) -> list[int]:
        asked = (self._flow_slug, command.visibility_timeout, command.quantity)
        try:
            connection = await self._reader.open()
            if self._is_cancelled:
                return []
            if not command.wait:
                return await execute_async(connection, ops.read_messages(*asked))
            return await execute_async(connection, ops.read_with_poll(*asked, command.wait))
        except pg.QueryCanceled:
            if not self._is_cancelled:
                raise
            return []  # it is rolled back: what it may have found is as visible as before
        finally:
            self._reads = False
            if self._cancelling is not None:
                # A request that is still on its way would hit the next statement.
                await self._cancelling
                self._cancelling = None

    def cancel_read(self) -> None:
        """End a read that waits in the server."""
        self._is_cancelled = True
        if self._reads and self._cancelling is None:
            self._cancelling = asyncio.ensure_future(self._cancel())

    async def _cancel(self) -> None:
        connection = await self._reader.current()
        while self._reads and connection is not None:
            # Again and again: the first may have come before the statement.
            with suppress(Exception):
                await connection.cancel_safe(timeout=5.0)
            await asyncio.sleep(0.05)

    async def claim(self, message_ids: tuple[int, ...]) -> None:
        """Claim the tasks of these messages."""
        asked = (self._flow_slug, message_ids, self._worker_id)
        operations: list[ops.Operation[Any]] = [ops.start_tasks(*asked), ops.claimed_tasks(*asked)]
        try:
            inputs, keys = await execute_together(await self._reader.open(), operations)
        except Exception as error:  # noqa: BLE001  # the messages come back in their time
            self._poll_failed("claim tasks", error)
        else:
            tasks = ops.claim(self._flow_slug, inputs, keys)
            self._telling.poll_stopped(len(tasks))
            self._happened(protocol.TasksClaimed(time.monotonic(), tasks))

    def _poll_failed(self, what: str, error: Exception) -> None:
        log.warning("cannot %s: %s; trying again", what, error)
        self._telling.poll_stopped(0)
        self._happened(protocol.PollFailed(time.monotonic()))

    # Recovery

    async def recover(self) -> None:
        """Put stalled tasks back, or fail them."""
        count = 0
        try:
            recovered, ended = await self._recover()
        except Exception as error:  # noqa: BLE001  # the next one comes in its time
            log.warning("cannot recover stalled tasks: %s; trying again later", error)
        else:
            count = recovered.requeued + recovered.failed
            if count:
                log.warning(
                    "stalled tasks: %d put back, %d failed", recovered.requeued, recovered.failed
                )
                self._telling.recovered(count)
            for end in ended:
                self._telling.run_ended(end)
        chance = random.random()  # noqa: S311  # no secret
        self._happened(protocol.Recovered(time.monotonic(), count, chance))

    async def _recover(self) -> tuple[ops.Recovered, list[ops.RunEnd]]:
        assert self.capabilities is not None
        operation = ops.recover_stalled_tasks(
            self._flow_slug,
            self._config.stale_grace,
            by_core=self.capabilities.requeue_stalled_tasks,
        )
        connection = await self._reader.open()
        if not self._telling:
            return await execute_async(connection, operation), []
        async with connection.transaction():
            recovered = await execute_async(connection, operation)
            ends = ops.runs_failed_here(self._flow_slug)
            ended = await execute_async(connection, ends) if recovered.failed else []
        return recovered, ended

    # Results

    async def record(self, results: tuple[Result, ...]) -> None:
        """Record results in one transaction."""
        # In the order of runs, so that two workers that record results of the same runs lock them
        # in the same order and never wait for each other in a circle.
        ordered = sorted(results, key=lambda result: result.task.key)
        operations: list[ops.Operation[Any]] = [
            ops.record(result, self._worker_id) for result in ordered
        ]
        if self._telling:
            operations.append(ops.ended_runs(_runs(ordered)))
        try:
            answers = await execute_together(await self._recorder.open(), operations)
        except Exception as error:  # noqa: BLE001  # the machine decides what becomes of results
            log.warning("cannot record %d results: %s", len(results), error)
            refusal = None if is_passing(error) else _first_line(error)
            if refusal is None:
                self._sent.update(result.task.key for result in results)
            self._happened(protocol.NotRecorded(time.monotonic(), refusal))
            return
        ends: list[ops.RunEnd] = answers.pop() if self._telling else []
        pairs: list[tuple[Result, ops.Answer | None]] = list(zip(ordered, answers, strict=True))
        not_ours = [result for result, answer in pairs if answer is None]
        if not_ours:
            await self._settle(not_ours)
        self._happened(protocol.Recorded(time.monotonic()))
        self._report(pairs)
        was_going = {r.task.key.run_id for r, a in pairs if a and a.run_status == "started"}
        for end in ends:
            if end.run_id in was_going:
                self._telling.run_ended(end)

    def _report(self, pairs: Iterable[tuple[Result, ops.Answer | None]]) -> None:
        """Tell people, and those who listen, what the database made of results."""
        for result, answer in pairs:
            if answer is None:
                continue
            self._sent.discard(result.task.key)
            if answer.accepts(result.outcome):
                self._accepted(result)
            elif answer.status == "failed":
                # A map step waits for this output, and it is no array.
                failures.warning("%s failed: %s", result.task, answer.error_message)
                self._telling.recorded(result, answer.error_message or "")
            else:
                self._drop(result, f"its run has {answer.run_status}")

    async def _settle(self, results: Sequence[Result]) -> None:
        """What becomes of results that are not this worker's to give, or no longer."""
        sent = [result for result in results if result.task.key in self._sent]
        before: set[TaskKey] = set()
        ends: list[ops.RunEnd] = []
        with suppress(Exception):  # then nobody knows, and it is said that they are dropped
            connection = await self._recorder.open()
            if sent:
                look = ops.recorded_before(sent, self._worker_id)
                before = await execute_async(connection, look)
            if before and self._telling:
                ends = await execute_async(connection, ops.runs_ended_by(sorted(before)))
        for result in results:
            self._sent.discard(result.task.key)
            if result.task.key in before:
                self._accepted(result)
            else:
                self._drop(result, "the task is no longer ours")
        for end in ends:
            self._telling.run_ended(end)

    def _accepted(self, result: Result) -> None:
        if isinstance(result.outcome, Failed):
            failures.warning("%s failed: %s", result.task, result.outcome.message)
        self._telling.recorded(result)

    def _drop(self, result: Result, why: str) -> None:
        log.warning("result of %s is dropped: %s", result.task, why)
        self._telling.dropped(result.task)


def _runs(results: Sequence[Result]) -> list[UUID]:
    return sorted({result.task.key.run_id for result in results})


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
