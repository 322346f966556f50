"""A worker in the machine's schedules: it performs commands, and checks what must hold.

What a worker may do is worked out here a second time, from its events and commands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pgflow_ref import machine, protocol
from pgflow_ref.config import WorkerConfig
from pgflow_ref.execute import STOPPED, timed_out
from pgflow_ref.machine import Phase, Plan, State
from pgflow_ref.task import Failed, Outcome, Result, Task, TaskKey
from tests.simulated import (
    CURSE,
    FALLBACK,
    FINE,
    FIRST_RETRY,
    LAG,
    LAST_RETRY,
    LATE,
    LOOKS,
    NEXT,
    POISON,
    REFUSAL,
    REFUSED,
    SETTLED,
    SLOW,
    THROTTLE,
    TIMEOUTS,
    Refused,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from tests.simulation import World

AWAITED: Final = (
    protocol.MessagesRead,
    protocol.TasksClaimed,
    protocol.PollFailed,
    protocol.Recovered,
    protocol.Recorded,
    protocol.NotRecorded,
)
"""What a worker waits for before it stops."""


@dataclass
class Handler:
    """A task that a puppet runs."""

    task: Task
    started: float

    @property
    def deadline(self) -> float:
        return self.started + TIMEOUTS[self.task.key.step_slug]


@dataclass
class Polling:
    """When a read may be sent, at the earliest, and when it must have been sent."""

    under_way: bool = False
    earliest: float = 0.0
    latest: float = 0.0
    wait: float = 0.0  # the last one after an empty read

    def between(self, earliest: float, latest: float) -> None:
        self.under_way, self.earliest, self.latest = False, earliest, latest

    def hasten(self, now: float) -> None:
        self.earliest, self.latest = min(self.earliest, now), min(self.latest, now)


@dataclass
class Puppet:
    """Performs the commands of one machine, and holds it to its promises."""

    world: World
    worker_id: UUID
    active: dict[TaskKey, Handler] = field(default_factory=dict)
    outcomes: dict[TaskKey, set[Outcome]] = field(default_factory=dict)  # that may be recorded
    sent: dict[TaskKey, Outcome] = field(default_factory=dict)  # at last
    settled: set[TaskKey] = field(default_factory=set)  # results of which it heard that they are in
    abandoned: set[TaskKey] = field(default_factory=set)
    recording: dict[int, protocol.Record] = field(default_factory=dict)  # by lane
    hopeless: tuple[Result, ...] = ()  # a failure that was refused just now
    polling: Polling = field(default_factory=Polling)
    hears: bool = False
    heard: bool = False  # of something that the read under way may not have seen
    notified_at: float = -1.0
    listens_by: float | None = None  # when it must have tried to listen, at the earliest and latest
    waits: bool = False  # the read under way waits in the server
    recovers: tuple[float, float] | None = None  # when it must look, at the earliest and latest
    beat_at: float | None = None
    stop_by: float | None = None
    stopped_by: float | None = None  # when it must have stopped
    marked: bool = False
    wakes: int = 0

    def __post_init__(self) -> None:
        chance = self.world.chance
        least = chance.choice([0.5, 1])
        self.config = WorkerConfig(
            max_concurrency=chance.choice([1, 2, 5]),
            batch_size=chance.choice([1, 3, 10]),
            recorders=chance.choice([1, 2, 3]),
            min_poll_interval=least,
            max_poll_interval=chance.choice([least, 5]),
            heartbeat_interval=chance.choice([3, 5]),
            stop_timeout=chance.choice([0, 1, 10]),
            signal_strategy=chance.choice(["polling", "polling", "notify", "long_poll"]),
            notify_fallback_interval=FALLBACK,
            notify_throttle=chance.choice([THROTTLE, 0]),
            recovery_interval=chance.choice([None, 4]),
        )
        self.state = State(Plan(self.config, TIMEOUTS, frozenset(NEXT)))
        # None: when all the work is done.
        self.stop_at = chance.choice([None, None, chance.uniform(0, 20), chance.uniform(0, 0.2)])

    @property
    def phase(self) -> Phase:
        return self.state.phase

    @property
    def unrecorded(self) -> int:
        return len(self.outcomes) - len(self.settled) - len(self.abandoned)

    @property
    def free(self) -> int:
        return self.config.max_concurrency - len(self.active) - self.unrecorded

    @property
    def is_gone(self) -> bool:
        """Whether its time to stop is over."""
        return self.stop_by is not None and self.state.now >= self.stop_by

    def begin(self) -> None:
        chance = self.world.chance
        self.world.after(0, lambda: self.take(protocol.Started(self.world.now)))
        if self.stop_at is not None:
            self.world.after(self.stop_at, self.stop)
            if chance.random() < 0.3:
                self.world.after(self.stop_at + chance.uniform(0, 10), self.stop)
        if self.config.signal_strategy == "notify" and chance.random() < 0.3:
            self.world.after(chance.uniform(0, 20), self.lose)

    def stop(self) -> None:
        if self.phase is Phase.STOPPED:
            return
        if self.beat_at is None or self.world.chance.random() < 0.8:
            self.take(protocol.StopRequested(self.world.now))
            return
        for _ in range(2):  # it is told with each sign of life
            self.take(protocol.Deprecated(self.world.now))

    def hear(self) -> None:
        """Something was inserted; a line that is lost meanwhile tells nothing."""
        if self.hears:
            self.see(protocol.Notified(0))

    def lose(self) -> None:
        """The line that it listens on is lost."""
        if self.hears:
            self.see(protocol.NotListening(0))

    def see(self, event: protocol.Event) -> None:
        """Something happens now; the machine hears of it a moment later."""
        event = replace(event, now=self.world.now)
        lag = self.world.chance.choice([0.0, 0.0, self.world.chance.uniform(0, LAG)])
        self.world.after(lag, lambda: self.take(event))

    def take(self, event: protocol.Event) -> None:
        """One step of the machine."""
        if self.phase is Phase.STOPPED:
            assert not isinstance(event, AWAITED), "it did not wait for that"
        before = self.state.now
        self._note(event)
        self.state, commands = self.world.step(self.state, event)
        assert self.state.now == max(before, event.now), "time went back"
        for command in commands:
            self._perform(command)
        assert not self.hopeless, "what is refused for ever is tried for ever"
        self._check()
        self._set_alarm()

    # Events

    def _note(self, event: protocol.Event) -> None:  # noqa: C901, PLR0912  # one case for each
        now = max(self.state.now, event.now)
        match event:
            case protocol.Registered():
                self.polling.between(now, now)
                self.beat_at = now
                self.listens_by = now if self.config.signal_strategy == "notify" else None
                if self.config.recovery_interval is not None:
                    self.recovers = (now + self.config.recovery_interval,) * 2
            case protocol.MessagesRead(message_ids=()):
                wait = self._wait(event)
                self.polling.between(now + wait, now + wait)
            case protocol.MessagesRead():
                self.waits = False
                self.polling.wait = 0.0
                self.polling.earliest = self.polling.latest = now
            case protocol.TasksClaimed():
                self.polling.under_way = False
            case protocol.PollFailed():
                self.polling.between(now + FIRST_RETRY, now + LAST_RETRY)
            case protocol.Finished(key=key, outcome=outcome) if key in self.active:
                handler = self.active.pop(key)
                late = now >= handler.deadline
                self.outcomes[key] = {timed_out(TIMEOUTS[key.step_slug]) if late else outcome}
            case protocol.Recorded() | protocol.NotRecorded():
                self._note_reply(event)
            case protocol.Recovered(count=count):
                assert self.config.recovery_interval is not None
                interval = self.config.recovery_interval
                self.polling.under_way = False
                self.recovers = now + 0.75 * interval, now + 1.25 * interval
                if count:
                    self.polling.hasten(now)
            case protocol.Listening() | protocol.Notified() | protocol.NotListening():
                self._note_signal(event)
            case protocol.StopRequested():
                timeout = self.config.stop_timeout if self.stop_by is None else 0
                self.stop_by = now + timeout
            case protocol.Deprecated() if self.stop_by is None:
                self.stop_by = now + self.config.stop_timeout

    def _note_reply(self, event: protocol.Recorded | protocol.NotRecorded) -> None:
        now = max(self.state.now, event.now)
        command = self.recording.pop(event.lane)
        match event:
            case protocol.Recorded():
                if self._may_find(command.results):
                    self.polling.hasten(now)
                self.settled.update(result.task.key for result in command.results)
            case protocol.NotRecorded(refusal=refusal):
                if refusal is not None and len(command.results) == 1:
                    (refused,) = command.results
                    if isinstance(refused.outcome, Failed):
                        self.hopeless = command.results
                    self.outcomes[refused.task.key] = {REFUSED}

    def _may_find(self, results: tuple[Result, ...]) -> bool:
        """Whether there may be work for it that it had no slot for, or that these have made."""
        made_work = any(
            isinstance(result.outcome, Failed) or result.task.key.step_slug in NEXT
            for result in results
        )
        return made_work or self.free == 0

    def _note_signal(self, event: protocol.Event) -> None:
        now = max(self.state.now, event.now)
        heard = not isinstance(event, protocol.NotListening)
        if heard or self.hears:
            self.polling.hasten(now)
            self.polling.wait = 0.0
        if isinstance(event, protocol.Notified):
            self.notified_at = now
        if heard:
            self.heard = True
        else:
            self.listens_by = now + LAST_RETRY
        self.hears = heard

    def _wait(self, event: protocol.MessagesRead) -> float:
        """How long it has to wait after an empty read."""
        now = max(self.state.now, event.now)
        least, most = self.config.min_poll_interval, self.config.max_poll_interval
        self.waits = False
        if self.config.signal_strategy == "long_poll":
            return 0
        if not self.hears:
            longest = min(3 * (self.polling.wait or least), most)
            self.polling.wait = wait = least + (longest - least) * event.chance
            assert least <= wait <= most
            return wait
        self.polling.wait = 0.0
        if self.heard:
            return 0
        waits = [FALLBACK]
        if self.config.notify_throttle and now < self.notified_at + THROTTLE + SETTLED:
            waits.append(self.notified_at + THROTTLE + SETTLED - now)
        if event.visible_in is not None:
            waits.append(event.visible_in if event.visible_in > 0 else least)
        return min(waits)

    # Commands

    def _perform(self, command: protocol.Command) -> None:  # one case for each
        match command:
            case protocol.Run(task=task):
                self._run(task)
            case protocol.Cancel(task=task):
                self._cancel(task)
            case protocol.Record():
                self._record(command)
            case protocol.Heartbeat():
                assert self.beat_at is not None
                late = self.state.now - self.beat_at - self.config.heartbeat_interval
                assert late <= LATE + LAG, "a sign of life is missing"
                self.beat_at = self.state.now
            case protocol.CancelRead():
                assert self.waits, "nothing is to be cancelled"
                assert self.stop_by is not None, "nobody wants it to stop"
                self.waits = False
            case protocol.Abandon(results=results):
                assert self.is_gone or results == self.hopeless, "it has time to try again"
                self.hopeless = ()
                self.abandoned.update(result.task.key for result in results)
            case protocol.MarkStopped():
                assert self.stop_by is not None, "nobody wants it to stop"
                assert not self.active, "it stops too early"
                assert not self.polling.under_way, "it stops too early"
                assert self.unrecorded == 0, "results are forgotten"
                self.marked = True
            case _:
                self._call(command)

    def _call(self, command: protocol.Command) -> None:
        world, database, worker = self.world, self.world.database, self.worker_id
        effect: Callable[[], protocol.Event]
        lost: protocol.Event = protocol.PollFailed(0)
        match command:
            case protocol.Register():
                world.after(world.delay(), lambda: self.see(protocol.Registered(0)))
                return
            case protocol.Read():
                self._check_read(command)
                self.polling.under_way, self.heard = True, False
                self.waits = command.wait > 0
                self._read(command, world.now + command.wait)
                return
            case protocol.Claim(message_ids=message_ids):
                assert self.polling.under_way, "nothing was read"
                effect = lambda: protocol.TasksClaimed(  # noqa: E731
                    0, database.claim(world.now, worker, message_ids)
                )
            case protocol.Recover():
                self._check_recovery()
                self.polling.under_way = True
                lost = protocol.Recovered(0, 0, world.chance.random())
                effect = lambda: protocol.Recovered(  # noqa: E731
                    0, database.recover(world.now), world.chance.random()
                )
            case _:
                assert isinstance(command, protocol.Listen)
                assert self.stop_by is None, "a stopping worker listens to nothing"
                assert self.listens_by is not None, "it is not to listen"
                self.listens_by = None
                effect, lost = lambda: protocol.Listening(0), protocol.NotListening(0)
        world.call(effect, lost, self)

    def _check_recovery(self) -> None:
        assert self.stop_by is None, "a stopping worker recovers nothing"
        assert not self.polling.under_way, "its reader is under way"
        assert self.recovers is not None, "it is not to recover"
        assert self.state.now >= self.recovers[0], "it recovers too early"

    def _read(self, command: protocol.Read, until: float) -> None:
        """A read; one that waits in the server is looked after there now and then."""
        world, database = self.world, self.world.database

        def effect() -> protocol.Event:
            found = database.read(world.now, command.quantity, command.visibility_timeout)
            hears = self.config.signal_strategy == "notify"
            visible_in = database.visible_in(world.now) if hears else None
            return protocol.MessagesRead(0, found, world.chance.random(), visible_in)

        soon = database.visible_in(world.now)
        if self.waits and world.now < until and not world.is_away() and (soon is None or soon > 0):
            world.after(LOOKS, lambda: self._read(command, until))
        else:
            world.call(effect, protocol.PollFailed(0), self)

    def _check_read(self, command: protocol.Read) -> None:
        quantity, visibility_timeout = command.quantity, command.visibility_timeout
        patient = self.config.signal_strategy == "long_poll"
        longest = self.config.max_poll_interval + 1 if patient else 1  # less than that
        assert patient <= command.wait < longest, "it waits in the server as it should not"
        assert self.stop_by is None, "a stopping worker reads nothing more"
        assert not self.polling.under_way, "one read at a time"
        assert 0 < quantity <= self.free, "it reads more than it has slots for"
        assert quantity == min(self.free, self.config.batch_size), "not as large as it may be"
        assert visibility_timeout > max(TIMEOUTS.values()), "messages come back too early"
        assert self.state.now >= self.polling.earliest, "it read too early"

    def _run(self, task: Task) -> None:
        chance, key = self.world.chance, task.key
        assert key not in self.active.keys() | self.outcomes.keys(), "an attempt runs twice"
        self.active[key] = handler = Handler(task, self.state.now)
        assert self.free >= 0, "more tasks than slots"
        timeout = handler.deadline - handler.started
        seconds = chance.choice(
            [0.0, chance.uniform(0, 2), chance.uniform(0, 2 * timeout), timeout, None]
        )
        bad = chance.random() < self.world.weather.poison
        outcomes: list[Outcome] = [POISON, CURSE] if bad else [FINE, FINE, FINE, Failed("no")]
        outcome = chance.choice(outcomes)
        if seconds is not None:
            self.world.after(seconds, lambda: self.see(protocol.Finished(0, key, outcome)))

    def _cancel(self, task: Task) -> None:
        handler = self.active.pop(task.key)
        overdue = self.state.now >= handler.deadline
        assert overdue or self.is_gone, "it had time left"
        timeout = TIMEOUTS[task.key.step_slug]
        self.outcomes[task.key] = {timed_out(timeout) if overdue else STOPPED}
        if self.world.chance.random() < 0.5:  # some handlers heed it, with an outcome of no account
            ended = protocol.Finished(0, task.key, Failed("CancelledError"))
            self.world.after(self.world.delay(), lambda: self.see(ended))

    def _record(self, command: protocol.Record) -> None:
        results, lane, read = command.results, command.lane, command.read
        assert results, "nothing to record"
        assert lane not in self.recording, "one batch at a time"
        assert lane < self.config.recorders, "there is no such recorder"
        self.recording[lane] = command
        if read is not None:
            self._check_replacement(read, results)
        for result in results:
            key = result.task.key
            assert key not in self.active, "it still runs"
            if self.is_gone:  # claimed too late to be run at all
                self.outcomes.setdefault(key, {STOPPED})
            assert key not in self.settled | self.abandoned, "it is recorded already"
            assert result.outcome in self.outcomes.get(key, ()), "another outcome than the task's"
            self.sent[key] = result.outcome

        def effect() -> protocol.Event:
            try:
                inserts = self.world.database.record(self.world.now, self.worker_id, results)
            except Refused:
                return protocol.NotRecorded(0, REFUSAL, lane)
            for _ in range(inserts):
                self.world.inserted()
            return protocol.Recorded(0, lane, self._claimed(read))

        self.world.call(effect, protocol.NotRecorded(0, lane=lane), self)

    def _check_replacement(self, read: protocol.Read, results: tuple[Result, ...]) -> None:
        assert self.stop_by is None, "a stopping worker reads nothing more"
        assert read.wait == 0, "it waits in the server as it should not"
        assert read.quantity == min(len(results), self.config.batch_size), "more than it frees"
        assert read.visibility_timeout > max(TIMEOUTS.values()), "messages come back too early"
        assert self.free == 0, "it reads too early"

    def _claimed(self, read: protocol.Read | None) -> tuple[Task, ...]:
        """What takes the place of results that are recorded."""
        world, database = self.world, self.world.database
        if read is None:
            return ()
        found = database.read(world.now, read.quantity, read.visibility_timeout)
        return database.claim(world.now, self.worker_id, found)

    # After each step

    def _check(self) -> None:
        now = self.state.now
        assert self.marked == (self.phase is Phase.STOPPED), "stopped, but not marked as such"
        if self.phase in (Phase.NEW, Phase.STOPPED):
            return
        assert self.beat_at is not None
        assert now < self.beat_at + self.config.heartbeat_interval, "a sign of life is due"
        for handler in self.active.values():
            assert now < handler.deadline, "a task runs past its timeout"
        if self.phase is Phase.RUNNING and not self.polling.under_way and self.free > 0:
            assert now < self.polling.latest, "it could read, and does not"
        if self.phase is Phase.RUNNING and not self.polling.under_way and self.recovers is not None:
            assert now < self.recovers[1], "it could recover, and does not"
        if self.phase is Phase.RUNNING and self.listens_by is not None:
            assert now < self.listens_by, "it could listen, and does not"
        if not self.is_gone:
            return
        assert not self.active, "its time to stop is over"
        if self.stopped_by is None:
            # A read and a claim, what they bring, a batch and what takes its place, and each result
            # twice.
            calls = 4 + 2 * (2 * self.unrecorded + self.config.batch_size)
            self.stopped_by = now + LAST_RETRY + calls * (2 * SLOW + LAG + LATE)
        assert now <= self.stopped_by, "it does not stop"

    def _set_alarm(self) -> None:
        self.wakes += 1
        number, at = self.wakes, machine.wake_at(self.state)
        if self.phase in (Phase.NEW, Phase.STOPPED):
            assert at is None, "an alarm for nothing"
            return
        assert at is not None, "no alarm"
        assert at > self.state.now, "a busy loop"

        def wake() -> None:
            if self.wakes == number:  # nothing has happened since
                self.take(protocol.Woke(self.world.now))

        late = self.world.chance.choice([0.0, self.world.chance.uniform(0, LATE)])
        self.world.after(max(0.0, at - self.world.now) + late, wake)
