"""What a worker asks of its database, and what it makes of the answers: events for the machine.

Three connections or more: whatever a claim or a record waits for, a sign of life is given in time.
Reads, claims and recoveries share one, since the machine sends one at a time; each recorder has one
to itself, on which it also reads and claims what is to take the place of what it records.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from psycopg import errors as pg

from pgflow_ref import operations as ops
from pgflow_ref import protocol
from pgflow_ref.capabilities import probe
from pgflow_ref.connection import Line, execute_async, execute_in_turn, execute_together, is_passing
from pgflow_ref.task import Failed, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    import psycopg

    from pgflow_ref.config import WorkerConfig
    from pgflow_ref.task import Result, Task
    from pgflow_ref.telling import Telling

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
        self._recorders = [Line(url, prepare=prepare) for _ in range(config.recorders)]
        self._flow_slug = flow_slug
        self._worker_id = worker_id
        self._config = config
        self._happened = happened
        self._telling = telling
        self._beats = False
        self._polled_at = 0.0
        self._sent: set[TaskKey] = set()  # results of which it is not known whether they arrived
        self._reads = False
        self._is_cancelled = False
        self._cancelling: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close all connections."""
        for line in (self.pulse, self._reader, *self._recorders):
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
        self._beats = True
        try:
            pulse = await execute_async(await self.pulse.open(), ops.heartbeat(self._worker_id))
            if not pulse.is_there:
                log.warning("the row of worker %s is gone; it registers again", self._worker_id)
                await self.register()
            if pulse.is_deprecated:
                self._happened(protocol.Deprecated(time.monotonic()))
        except Exception as error:  # noqa: BLE001  # the next one is due soon
            log.warning("%s", _trouble("give a sign of life", error))
        finally:
            self._beats = False

    async def mark_stopped(self) -> None:
        """Mark the worker's row, where it can be."""
        try:
            connection = await self.pulse.open()
            if (await execute_async(connection, probe())).stopped_at:
                await execute_async(connection, ops.mark_stopped(self._worker_id))
        except Exception as error:  # noqa: BLE001  # the worker is over anyway
            log.warning("%s", _trouble("mark the worker as stopped", error))

    # Reading

    async def read(self, command: protocol.Read) -> None:
        """Read messages, or wait for some in the server."""
        self._polled_at = self._telling.poll_started()
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
                self._telling.poll_stopped(self._polled_at, 0)
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
            self._telling.poll_stopped(self._polled_at, len(tasks))
            self._happened(protocol.TasksClaimed(time.monotonic(), tasks))

    def _poll_failed(self, what: str, error: Exception) -> None:
        log.warning("%s; trying again", _trouble(what, error))
        self._telling.poll_stopped(self._polled_at, 0)
        self._happened(protocol.PollFailed(time.monotonic()))

    # Recovery

    async def recover(self) -> None:
        """Put stalled tasks back, or fail them."""
        count = 0
        try:
            recovered, ended = await self._recover()
        except Exception as error:  # noqa: BLE001  # the next one comes in its time
            log.warning("%s; trying again later", _trouble("recover stalled tasks", error))
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
        connection = await self._reader.open()
        # Each time: the core may have been upgraded since the last one.
        core = await execute_async(connection, probe())
        operation = ops.recover_stalled_tasks(
            self._flow_slug, self._config.stale_grace, by_core=core.requeue_stalled_tasks
        )
        if not self._telling:
            return await execute_async(connection, operation), []
        async with connection.transaction():
            recovered = await execute_async(connection, operation)
            ends = ops.runs_failed_here(self._flow_slug)
            ended = await execute_async(connection, ends) if recovered.failed else []
        return recovered, ended

    # Results

    async def record(self, command: protocol.Record) -> None:
        """Record results in one transaction, and claim others in the next, if asked to."""
        results, line = command.results, self._recorders[command.lane]
        keys = [result.task.key for result in results]
        try:
            was, given, ends, tasks = await self._record(line, command)
        except Exception as error:  # noqa: BLE001  # the machine decides what becomes of results
            log.warning("%s", _trouble(f"record {len(results)} results", error))
            refusal = None if is_passing(error) else _first_line(error)
            if refusal is None:  # then they may be in the database for all that
                self._sent.update(keys)
            self._happened(protocol.NotRecorded(time.monotonic(), refusal, command.lane))
            return
        was_going = {run_id for run_id, status in was.items() if status == "started"}
        ends = [end for end in ends if end.run_id in was_going]
        now = {key: one for key, one in given.items() if one}
        unclear = [key for key in keys if key not in now and (key in given or key in self._sent)]
        if unclear:
            more, ended = await self._look(line, unclear)
            now.update(more)
            ends.extend(end for end in ended if end.run_id not in was_going)
        self._happened(protocol.Recorded(time.monotonic(), command.lane, tasks))
        for result in results:
            self._report(result, now.get(result.task.key))
        for end in ends:
            self._telling.run_ended(end)

    async def _record(self, line: Line, command: protocol.Record) -> _Kept:
        results, connection = command.results, await line.open()
        run_ids = sorted({result.task.key.run_id for result in results})
        operations: list[ops.Operation[Any]] = [
            ops.hold_runs(run_ids),
            ops.hold_tasks(run_ids, self._worker_id),
            ops.record(results, self._worker_id),
        ]
        if self._telling:
            operations.append(ops.ended_runs(run_ids))
        tasks: tuple[Task, ...] = ()
        if command.read is None:
            was, _, given, *ends = await execute_together(connection, operations)
        else:
            (was, _, given, *ends), tasks = await self._replace(
                connection, operations, command.read
            )
        return _Kept(was, given, ends[0] if ends else [], tasks)

    async def _replace(
        self,
        connection: psycopg.AsyncConnection[tuple[object, ...]],
        operations: Sequence[ops.Operation[Any]],
        read: protocol.Read,
    ) -> tuple[list[Any], tuple[Task, ...]]:
        """Record results, then read and claim; what the database says to both.

        That nothing could be claimed is no matter of the results: the reader finds out soon.
        """
        began = self._telling.poll_started()
        tasks: tuple[Task, ...] = ()
        try:
            answers, claimed = await execute_in_turn(
                connection,
                operations,
                [
                    ops.read_and_start(
                        self._flow_slug, read.visibility_timeout, read.quantity, self._worker_id
                    ),
                    ops.tasks_just_claimed(self._flow_slug, self._worker_id),
                ],
            )
            if isinstance(claimed, Exception):
                log.warning("%s; trying again", _trouble("claim tasks", claimed))
            else:
                tasks = ops.claim(self._flow_slug, *claimed)
        finally:
            self._telling.poll_stopped(began, len(tasks))
        return answers, tasks

    async def _look(
        self, line: Line, keys: Sequence[TaskKey]
    ) -> tuple[dict[TaskKey, ops.Now], list[ops.RunEnd]]:
        """What became of results, where the database did not say, and the runs that they ended."""
        try:
            connection = await line.open()
            now = await execute_async(connection, ops.attempts_now(keys, self._worker_id))
            if not now or not self._telling:
                return now, []
            return now, await execute_async(connection, ops.runs_ended_by(sorted(now)))
        except Exception as error:  # noqa: BLE001  # they are recorded or not; people are told
            log.warning("%s", _trouble(f"see what became of {len(keys)} results", error))
            return {}, []

    def _report(self, result: Result, now: ops.Now | None) -> None:
        """Tell people, and those who listen, what became of a result."""
        task, outcome = result.task, result.outcome
        self._sent.discard(task.key)
        if now is None:
            self._drop(result, "the task is no longer ours")
        elif now.has(outcome):
            self._accepted(result)
        elif now.status == "failed":
            # A map step waits for this output, and it is no array.
            failures.warning("%s failed: %s", task, now.error_message)
            self._telling.recorded(result, now.error_message or "")
        else:
            self._drop(result, "its run is over")

    def _accepted(self, result: Result) -> None:
        if isinstance(result.outcome, Failed):
            failures.warning("%s failed: %s", result.task, result.outcome.message)
        self._telling.recorded(result)

    def _drop(self, result: Result, why: str) -> None:
        log.warning("result of %s is dropped: %s", result.task, why)
        self._telling.dropped(result.task)


class _Kept(NamedTuple):
    """What the database said to results.

    Attributes:
        was: how their runs were before, by id.
        given: how each task is now, or None where the core did not say.
        ends: the runs of theirs that are over, if somebody listens.
        tasks: what was claimed afterwards.
    """

    was: dict[UUID, str]
    given: dict[TaskKey, ops.Now | None]
    ends: list[ops.RunEnd]
    tasks: tuple[Task, ...]


def _trouble(what: str, error: Exception) -> str:
    """What did not work, and why, in one line; some errors say both."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if said.startswith(f"cannot {what}") else f"cannot {what}: {said}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
