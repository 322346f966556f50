"""A worker of a schedule: performs what the machine commands, until it stops or vanishes.

It is to `machine/` what `pgflow_ref/worker/` is, with a simulated network and handlers that do
whatever comes to their mind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from conformance.simulation.schedule import likely
from pgflow_ref import machine, protocol
from pgflow_ref.machine import Phase, Plan, State
from pgflow_ref.task import Completed, Failed, Outcome, Task, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from conformance.simulation import Step
    from conformance.simulation.flows import SimulatedFlow
    from conformance.simulation.operations import Done
    from conformance.simulation.schedule import Life
    from conformance.simulation.world import World
    from pgflow_ref.config import WorkerConfig

UNSTORABLE: Final = Completed('"\\u0000"')
"""JSON, and yet refused by the database."""


class TwiceRun(AssertionError):
    """Two handlers were called for one attempt."""


@dataclass(eq=False)
class SimulatedWorker:
    """One worker.

    Attributes:
        world: where it works.
        worker_id: what it calls itself.
        life: its options, and what happens to it.
        step: the machine.
        is_gone: whether it has stopped, or vanished.
        vanished: whether it is gone without having stopped.
        ran: the attempts that its handlers were called for.
        sent: the results that it tried to record, by attempt.
        told: the last of them, once it was told that they are recorded.
        abandoned: the attempts whose results it gave up, and said so.
    """

    world: World
    worker_id: UUID
    life: Life
    step: Step
    is_gone: bool = False
    vanished: bool = False
    ran: set[TaskKey] = field(default_factory=set)
    sent: dict[TaskKey, list[Outcome]] = field(default_factory=dict)
    told: dict[TaskKey, Outcome] = field(default_factory=dict)
    abandoned: set[TaskKey] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.state = State(_plan(self.life.config, self.world.schedule.flow))
        self._commands_left = self.life.crashes_after
        self._frozen_until = 0.0
        self._alarm_at = float("inf")

    def begin(self) -> None:
        """Make its life happen."""
        world, life = self.world, self.life
        world.after(life.begins_at, lambda: self._hear(protocol.Started))
        for at in life.stops_at:
            world.after(at, self.stop)
        if life.crashes_at is not None:
            world.after(life.crashes_at, self._vanish)
        if life.freezes is not None:
            world.after(life.freezes[0], self._freeze)

    def stop(self) -> None:
        """Somebody wants it to stop."""
        self._hear(protocol.StopRequested)

    def _vanish(self) -> None:
        if not self.is_gone:
            self.vanished = True
            self._leave()

    def _leave(self) -> None:
        self.is_gone = True
        self.world.working -= 1

    def _freeze(self) -> None:
        assert self.life.freezes is not None
        self._frozen_until = self.world.now + self.life.freezes[1]

    def _hear(self, event: Callable[[float], protocol.Event]) -> None:
        """Something happens; a process that stands still hears of it later."""
        if self.is_gone or self.state.phase is Phase.STOPPED:
            return
        now = self.world.now
        if now < self._frozen_until:
            self.world.after(self._frozen_until - now, lambda: self._hear(event))
            return
        self.state, commands = self.step(self.state, event(now))
        for command in commands:
            if self._commands_left is not None:
                self._commands_left -= 1
                if self._commands_left < 0:
                    self._vanish()
                    return
            self._perform(command)
        self._set_alarm()

    def _set_alarm(self) -> None:
        at = machine.wake_at(self.state)
        if at is not None and at < self._alarm_at:
            self._alarm_at = at
            self.world.after(max(0.0, at - self.world.now), lambda: self._wake(at))

    def _wake(self, at: float) -> None:
        if at != self._alarm_at:
            return  # an earlier alarm was set since
        self._alarm_at = float("inf")
        due = machine.wake_at(self.state)
        if due is None:
            return
        if due <= self.world.now:
            self._hear(protocol.Woke)
        else:
            self._set_alarm()

    # Commands

    def _perform(self, command: protocol.Command) -> None:
        if isinstance(command, protocol.Read):
            self._read(command)
        elif isinstance(command, protocol.Claim):
            self._claim(command.message_ids)
        elif isinstance(command, protocol.Run):
            self._run(command.task)
        elif isinstance(command, protocol.Record):
            self._record(command)
        elif isinstance(command, protocol.Recover):
            self._recover()
        elif isinstance(command, protocol.Cancel):
            self._cancel(command.task)
        elif isinstance(command, protocol.Abandon):
            self.abandoned.update(result.task.key for result in command.results)
        else:
            self._sign(command)

    def _sign(self, command: protocol.Command) -> None:
        """Register, give a sign of life, or mark the end."""
        world, database, worker_id = self.world, self.world.database, self.worker_id
        if isinstance(command, protocol.Register):
            world.call(lambda: database.register_worker(worker_id), self._registered)
        elif isinstance(command, protocol.Heartbeat):
            world.call(lambda: database.heartbeat(worker_id), _nothing)
        else:
            assert isinstance(command, protocol.MarkStopped)
            world.call(lambda: database.mark_stopped(worker_id), self._marked)

    def _registered(self, done: Done[None] | None) -> None:
        if done is None or done.refusal is not None:
            self._vanish()  # a worker that cannot register does not begin
        else:
            self._hear(protocol.Registered)

    def _marked(self, _done: object) -> None:
        if not self.is_gone:
            self._leave()

    def _read(self, command: protocol.Read) -> None:
        database = self.world.database

        def heard(done: Done[tuple[int, ...]] | None) -> None:
            found = None if done is None else done.value
            if found is None:
                self._hear(protocol.PollFailed)
            else:
                chance = self.world.chance.random()
                self._hear(lambda now: protocol.MessagesRead(now, found, chance))

        self.world.call(
            lambda: database.read_messages(command.visibility_timeout, command.quantity), heard
        )

    def _claim(self, message_ids: tuple[int, ...]) -> None:
        def heard(done: Done[tuple[Task, ...]] | None) -> None:
            tasks = None if done is None else done.value
            if tasks is None:
                self._hear(protocol.PollFailed)
            else:
                self._hear(lambda now: protocol.TasksClaimed(now, tasks))

        self.world.call(lambda: self.world.database.claim(message_ids, self.worker_id), heard)

    def _recover(self) -> None:
        def heard(done: Done[int] | None) -> None:
            count = 0 if done is None else done.value or 0
            chance = self.world.chance.random()
            self._hear(lambda now: protocol.Recovered(now, count, chance))

        self.world.call(self.world.database.recover, heard)

    def _record(self, command: protocol.Record) -> None:
        world, results, read = self.world, command.results, command.read
        for result in results:
            self.sent.setdefault(result.task.key, []).append(result.outcome)
        if read is None:
            world.call(
                lambda: world.database.record(results, self.worker_id),
                lambda done: self._recorded(command, done, ()),
            )
            return
        asked = read.visibility_timeout, read.quantity
        world.call(
            lambda: world.database.record_and_claim(results, self.worker_id, *asked),
            lambda done: self._recorded(command, done, (done and done.value) or ()),
        )

    def _recorded(
        self, command: protocol.Record, done: Done[Any] | None, tasks: tuple[Task, ...]
    ) -> None:
        """What the database said to results, and what was claimed then."""
        if self.is_gone:
            return
        lane = command.lane
        if done is None or done.refusal is not None:
            refusal = None if done is None or done.refusal is None else done.refusal.sqlstate
            self._hear(lambda now: protocol.NotRecorded(now, refusal, lane))
        else:
            self.told.update((result.task.key, result.outcome) for result in command.results)
            self._hear(lambda now: protocol.Recorded(now, lane, tasks))

    # Handlers

    def _run(self, task: Task) -> None:
        key, world = task.key, self.world
        if key in world.attempts:
            raise TwiceRun(f"two handlers were called for {task}")
        world.attempts.add(key)
        self.ran.add(key)
        seconds = self._handler_takes(world.schedule.flow.timeout)
        if seconds is not None:
            outcome = self._outcome(key)
            world.after(
                seconds, lambda: self._hear(lambda now: protocol.Finished(now, key, outcome))
            )

    def _handler_takes(self, timeout: float) -> float | None:
        """Seconds until a handler is over; None: it never ends."""
        chance = self.world.chance
        if likely(chance, 0.8):
            return chance.random()
        return chance.choice((2.0, timeout, 2 * timeout * chance.random(), None))

    def _outcome(self, key: TaskKey) -> Outcome:
        """What a handler gives: something that no other attempt does."""
        flow, luck = self.world.schedule.flow, self.world.chance.random()
        name = f"{key.step_slug}{key.task_index} {key.run_id.int % 1000}.{key.attempt}"
        trouble = self.world.schedule.trouble
        if luck < trouble:
            return UNSTORABLE if luck < trouble / 4 else Failed(f"no {name}")
        if key.step_slug in flow.arrays and key.step_slug not in flow.maps:
            items = (f'["{name}"]', f'["{name}", 2]', "[]", f'"{name}"')
            return Completed(self.world.chance.choice(items))
        return Completed(f'"{name}"')

    def _cancel(self, task: Task) -> None:
        if likely(self.world.chance, 0.5):  # some handlers heed it, with an outcome of no account
            ended = Failed("CancelledError")
            self.world.after(
                self.world.delay(),
                lambda: self._hear(lambda now: protocol.Finished(now, task.key, ended)),
            )


@lru_cache(maxsize=1024)
def _plan(config: WorkerConfig, flow: SimulatedFlow) -> Plan:
    return Plan(config, flow.timeouts, flow.with_dependents)


def _nothing(_done: Any) -> None:
    """Nobody waits for this reply."""
