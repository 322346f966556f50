"""The database that the simulated workers share: one state of the model, and what it was before.

What a worker asks of it is in `operations.py`. `recover` is what its own statement does there, and
no part of the core.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from conformance.simulation import log
from conformance.simulation import operations as ops
from conformance.simulation.flows import GRACE
from conformance.simulation.log import Noted
from conformance.simulation.operations import Done
from pgflow_ref.model import calls
from pgflow_ref.model.rows import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from conformance.harness.eventlog import Event
    from conformance.simulation.flows import Opening
    from conformance.simulation.operations import Transaction
    from pgflow_ref.model import Profile, State
    from pgflow_ref.model.rows import Instant, TaskRow
    from pgflow_ref.task import Result, Task

T = TypeVar("T")


class Database:
    """One database, as workers, clients and recovery see it.

    Attributes:
        state: how it is.
        recoveries: the transactions of `recover`.
    """

    def __init__(self, opening: Opening, profile: Profile) -> None:
        self.state: State = opening.state
        self.profile = profile
        self.recoveries: set[int] = set()
        self._slug = opening.flow.shape.slug
        self._timeout = opening.flow.timeout
        self._noted: list[Noted] = list(opening.noted)
        self._shown = opening.shown
        self._txid = len(self._noted)

    def events(self, sources: frozenset[str] = log.SOURCES) -> list[Event]:
        """All that has changed since the beginning, of these sources."""
        return log.events(self._noted, self.profile, sources, self._shown)

    @property
    def is_idle(self) -> bool:
        """Whether all runs are over."""
        return all(run.row.status != "started" for run in self.state.runs.values())

    def set_clock(self, clock: Instant) -> None:
        """It is that late on the server; a server's clock may also go back."""
        self.state = self.state._replace(clock=clock)

    def transact(self, work: Callable[[Transaction], T]) -> Done[T]:
        """Do this work in one transaction, and note what it changes."""
        before, done = self.state, ops.transact(self.state, self.profile, work)
        self._txid += 1
        for after in done.states:
            changed = log.changes(before, after)
            if changed:
                self._noted.append(Noted(self._txid, after.clock, changed))
            before = after
        self.state = done.state
        return done

    # What is asked of it

    def start_flow(self, given: str) -> Done[Any]:
        """A client starts a run."""
        return self.transact(lambda tx: tx.call(calls.StartFlow(self._slug, given)))

    def register_worker(self, worker_id: UUID) -> Done[None]:
        """A worker inserts its row."""
        return self.transact(lambda tx: ops.register_worker(tx, worker_id, self._slug, self._slug))

    def heartbeat(self, worker_id: UUID) -> Done[None]:
        """A worker gives a sign of life."""
        return self.transact(lambda tx: ops.heartbeat(tx, worker_id))

    def mark_stopped(self, worker_id: UUID) -> Done[None]:
        """A worker says that it is over."""
        return self.transact(lambda tx: ops.mark_stopped(tx, worker_id))

    def read_messages(self, visibility_timeout: int, quantity: int) -> Done[tuple[int, ...]]:
        """A worker reads."""
        return self.transact(
            lambda tx: ops.read_messages(tx, self._slug, visibility_timeout, quantity)
        )

    def claim(self, message_ids: tuple[int, ...], worker_id: UUID) -> Done[tuple[Task, ...]]:
        """A worker claims what it has read."""
        return self.transact(lambda tx: ops.claim(tx, self._slug, message_ids, worker_id))

    def record(self, results: tuple[Result, ...], worker_id: UUID) -> Done[tuple[bool, ...]]:
        """A worker records results: all of them, or none."""
        return self.transact(lambda tx: ops.record_together(tx, results, worker_id))

    def record_and_claim(
        self, results: tuple[Result, ...], worker_id: UUID, visibility_timeout: int, quantity: int
    ) -> Done[tuple[Task, ...]]:
        """A worker records results and then, if they are not refused, reads and claims."""
        done = self.record(results, worker_id)
        if done.refusal is not None:
            return Done(done.state, done.states, None, done.refusal)
        read = worker_id, visibility_timeout, quantity
        claimed = self.transact(lambda tx: self._read_and_claim(tx, *read))
        return Done(claimed.state, claimed.states, claimed.value or ())

    def _read_and_claim(
        self, tx: Transaction, worker_id: UUID, visibility_timeout: int, quantity: int
    ) -> tuple[Task, ...]:
        found = ops.read_messages(tx, self._slug, visibility_timeout, quantity)
        return ops.claim(tx, self._slug, found, worker_id) if found else ()

    # Not part of the core

    def recover(self) -> Done[int]:
        """A worker takes tasks back of which nobody has spoken for long; how many."""
        done = self.transact(self._recover)
        self.recoveries.add(self._txid)
        return done

    def _recover(self, tx: Transaction) -> int:
        count = 0
        for _, tasks in groupby(list(self._stalled(tx)), key=lambda task: task.run_id):
            stalled = list(tasks)
            last = [task for task in stalled if task.attempts_count >= self._max_attempts(task)]
            # One fails the run, and what becomes of the others then is the core's to say.
            for task in last[:1] or stalled:
                self._requeue(task, tx)
                count += 1
        return count

    def _stalled(self, tx: Transaction) -> Iterator[TaskRow]:
        latest = tx.state.clock - (self._timeout + GRACE) * SECOND
        for run in tx.state.runs.values():
            if run.row.status != "started":
                continue
            for task in run.tasks.values():
                if task.status == "started" and (task.started_at or 0) < latest:
                    yield task

    def _requeue(self, task: TaskRow, tx: Transaction) -> None:
        """Queue a task again; a last attempt is failed."""
        state = tx.state
        if task.attempts_count >= self._max_attempts(task):
            tx.call(calls.FailTask(task.run_id, task.step_slug, task.task_index, "stalled"))
            return
        run, queue = state.runs[task.run_id], state.queues[self._slug]
        queued = task._replace(status="queued", started_at=None)
        run = run._replace(tasks={**run.tasks, (task.step_slug, task.task_index): queued})
        message = queue.messages[task.message_id]._replace(vt=state.clock)
        queue = queue._replace(messages={**queue.messages, message.msg_id: message})
        tx.put(
            state._replace(
                runs={**state.runs, task.run_id: run}, queues={**state.queues, self._slug: queue}
            )
        )

    def _max_attempts(self, task: TaskRow) -> int:
        return self.state.flows[task.flow_slug].row.opt_max_attempts
