"""A world for the worker's machine: a model database, a clock that jumps, and chance.

`simulate(seed)` plays one schedule: some workers share a queue; calls take their time or are lost,
on the way there or on the way back; handlers return, fail or never end; the database goes away and
comes back; workers are stopped at some moment, and sometimes asked twice. The same seed plays the
same schedule. A `Puppet` checks after each step what must hold, whatever the schedule.

Nothing here looks into the machine but at `wake_at` and `State.now`: what a worker may do is worked
out a second time, from its events and commands alone.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from pgflow_ref import machine, protocol
from pgflow_ref.config import WorkerConfig
from pgflow_ref.execute import STOPPED, timed_out
from pgflow_ref.machine import Phase, Plan, State
from pgflow_ref.task import Completed, Failed, Outcome, Result, Task, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Step: TypeAlias = Callable[[State, protocol.Event], tuple[State, list[protocol.Command]]]

TIMEOUTS: Final = {"first": 4.0, "second": 3.0, "alone": 8.0}
NEXT: Final = {"first": "second"}  # `second` waits for `first`
MAX_ATTEMPTS: Final = 3
GRACE: Final = 10.0  # after a task's timeout, until recovery takes it from its worker
LATE: Final = 0.05  # the most by which a wake-up comes late
LAG: Final = 0.02  # the most for which an event waits in the worker's queue
SLOW: Final = 2.0  # the most that a call takes, each way
FIRST_RETRY: Final = 0.1
LAST_RETRY: Final = 10.0
FINE: Final = Completed('"fine"')
POISON: Final = Completed('"poison"')  # the database refuses it, but not the failure it becomes
CURSE: Final = Failed("curse")  # the database refuses it, and there is nothing that it becomes
REFUSAL: Final = "the database will not have it"
REFUSED: Final = Failed(f"Output cannot be stored: {REFUSAL}")


class Refused(Exception):
    """The database takes none of these results."""


# The database


@dataclass
class Entry:
    """A task and its message."""

    run_id: UUID
    step: str
    visible_at: float = 0.0
    status: str = "queued"
    attempts: int = 0
    worker: UUID | None = None
    started_at: float = 0.0

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.run_id, self.step, 0, self.attempts)

    @property
    def is_over(self) -> bool:
        return self.status in {"completed", "failed"}


class Database:
    """As much of pgflow's core as a worker sees."""

    def __init__(self, starts: Sequence[tuple[str, float]]) -> None:
        self.tasks = [Entry(UUID(int=n), step, at) for n, (step, at) in enumerate(starts)]
        self.taken: dict[TaskKey, Outcome] = {}  # the results that took effect
        self.recovered: set[TaskKey] = set()

    def read(self, now: float, quantity: int, visibility_timeout: int) -> tuple[int, ...]:
        """`pgmq.read`."""
        visible = (n for n, t in enumerate(self.tasks) if not t.is_over and t.visible_at <= now)
        found = tuple(itertools.islice(visible, quantity))
        for number in found:
            self.tasks[number].visible_at = now + visibility_timeout
        return found

    def claim(self, now: float, worker: UUID, message_ids: tuple[int, ...]) -> tuple[Task, ...]:
        """`pgflow.start_tasks`, which leaves out what is no longer queued."""
        tasks = []
        for number in message_ids:
            entry = self.tasks[number]
            if entry.status == "queued":
                entry.status, entry.worker, entry.started_at = "started", worker, now
                entry.attempts += 1
                tasks.append(Task(entry.key, "f", number, "{}"))
        return tuple(tasks)

    def record(self, now: float, worker: UUID, results: tuple[Result, ...]) -> None:
        """`operations.record` for each result, in one transaction."""
        if any(result.outcome in (POISON, CURSE) for result in results):
            raise Refused
        for result in results:
            entry = self.tasks[result.task.message_id]
            if (entry.status, entry.worker, entry.key) != ("started", worker, result.task.key):
                continue  # not this worker's to give
            assert entry.key not in self.taken, "an attempt has two results"
            self.taken[entry.key] = result.outcome
            if isinstance(result.outcome, Completed):
                entry.status = "completed"
                if entry.step in NEXT:
                    self.tasks.append(Entry(entry.run_id, NEXT[entry.step], now))
            elif entry.attempts < MAX_ATTEMPTS:
                entry.status, entry.visible_at = "queued", now + 2**entry.attempts
            else:
                entry.status = "failed"

    def recover(self, now: float) -> None:
        """What the worker does not do itself: take back tasks of which nobody speaks any more."""
        for entry in self.tasks:
            stalled = now > entry.started_at + TIMEOUTS[entry.step] + GRACE
            if entry.status == "started" and stalled:
                self.recovered.add(entry.key)
                entry.status = "queued" if entry.attempts < MAX_ATTEMPTS else "failed"
                entry.visible_at = now


# The world


@dataclass(frozen=True)
class Weather:
    """How bad it gets; the chances are per call."""

    lost_call: float = 0.0
    lost_reply: float = 0.0
    poison: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()

    @property
    def is_calm(self) -> bool:
        return not (self.lost_call or self.lost_reply or self.outages)


class World:
    """Time, and what is going to happen when."""

    def __init__(self, seed: int, step: Step) -> None:
        self.chance = chance = random.Random(seed)
        self.step = step
        self.now = 0.0
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.weather = _weather(chance)
        starts = [
            (chance.choice(["first", "alone"]), chance.choice([0.0, chance.uniform(0, 10)]))
            for _ in range(chance.randint(0, 6))
        ]
        self.database = Database(starts)
        self.puppets = [Puppet(self, UUID(int=n)) for n in range(chance.choice([1, 1, 2, 3]))]

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        heappush(self._events, (self.now + seconds, next(self._order), happen))

    def play(self) -> None:
        for puppet in self.puppets:
            puppet.begin()
        self._recover()
        while any(puppet.phase is not Phase.STOPPED for puppet in self.puppets):
            self.now, _, happen = heappop(self._events)
            happen()
            assert self.now < 1_000, "this world never ends"
        self._judge()

    def is_away(self) -> bool:
        return any(since <= self.now < until for since, until in self.weather.outages)

    def delay(self) -> float:
        most = SLOW if self.chance.random() < 0.05 else 0.05
        return self.chance.uniform(0.001, most)

    def call(self, effect: Callable[[], protocol.Event], lost: protocol.Event, to: Puppet) -> None:
        """A call to the database that may get lost on its way, or its reply."""

        def arrive() -> None:
            if self.is_away() or self.chance.random() < self.weather.lost_call:
                self.after(self.delay(), lambda: to.see(lost))
                return
            reply = effect()
            gone = self.chance.random() < self.weather.lost_reply
            self.after(self.delay(), lambda: to.see(lost if gone or self.is_away() else reply))

        self.after(self.delay(), arrive)

    def _recover(self) -> None:
        self.database.recover(self.now)
        if all(entry.is_over for entry in self.database.tasks):
            for puppet in self.puppets:
                puppet.stop()
        self.after(5.0, self._recover)

    def _judge(self) -> None:
        """What must be true in the end, beside what each puppet has checked on the way."""
        taken, recovered = self.database.taken, self.database.recovered
        for puppet in self.puppets:
            for key in puppet.settled:
                assert key in taken or key in recovered, f"result of {key} is lost"
            for key in taken.keys() & puppet.sent.keys():
                assert taken[key] == puppet.sent[key], "another result took effect"
        if self.weather.is_calm:
            cursed = {key for puppet in self.puppets for key in puppet.abandoned}
            assert all(puppet.sent[k] == CURSE for puppet in self.puppets for k in puppet.abandoned)
            started = {task.key for task in self.database.tasks if task.status == "started"}
            assert started | recovered <= cursed, "claimed tasks have no result"
        if any(puppet.stop_at is None for puppet in self.puppets):
            assert all(entry.is_over for entry in self.database.tasks), "work was left"


def _weather(chance: random.Random) -> Weather:
    poison = chance.choice([0.0, 0.0, 0.2])
    if chance.random() < 0.4:
        return Weather(poison=poison)
    starts = [chance.uniform(0, 20) for _ in range(chance.randint(0, 2))]
    outages = tuple((start, start + chance.uniform(0.5, 15)) for start in starts)
    return Weather(chance.choice([0, 0.05, 0.3]), chance.choice([0, 0.05, 0.3]), poison, outages)


# A worker


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
    recording: tuple[Result, ...] = ()
    hopeless: tuple[Result, ...] = ()  # a failure that was refused just now
    polling: Polling = field(default_factory=Polling)
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
            min_poll_interval=least,
            max_poll_interval=chance.choice([least, 5]),
            heartbeat_interval=chance.choice([3, 5]),
            stop_timeout=chance.choice([0, 1, 10]),
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

    def stop(self) -> None:
        if self.phase is not Phase.STOPPED:
            self.take(protocol.StopRequested(self.world.now))

    def see(self, event: protocol.Event) -> None:
        """Something happens now; the machine hears of it a moment later."""
        event = replace(event, now=self.world.now)
        lag = self.world.chance.choice([0.0, 0.0, self.world.chance.uniform(0, LAG)])
        self.world.after(lag, lambda: self.take(event))

    def take(self, event: protocol.Event) -> None:
        """One step of the machine."""
        if self.phase is Phase.STOPPED:
            assert isinstance(event, (protocol.Finished, protocol.Woke)), "it did not wait for that"
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

    def _note(self, event: protocol.Event) -> None:  # noqa: C901  # one case for each event
        now = max(self.state.now, event.now)
        least, most = self.config.min_poll_interval, self.config.max_poll_interval
        match event:
            case protocol.Registered():
                self.polling.between(now, now)
                self.beat_at = now
            case protocol.MessagesRead(message_ids=(), chance=chance):
                longest = min(3 * (self.polling.wait or least), most)
                self.polling.wait = wait = least + (longest - least) * chance
                assert least <= wait <= most
                self.polling.between(now + wait, now + wait)
            case protocol.MessagesRead():
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
            case protocol.Recorded():
                made_work = any(
                    isinstance(result.outcome, Failed) or result.task.key.step_slug in NEXT
                    for result in self.recording
                )
                if made_work or self.free == 0:
                    self.polling.hasten(now)
                self.settled.update(result.task.key for result in self.recording)
                self.recording = ()
            case protocol.NotRecorded(refusal=refusal):
                if refusal is not None and len(self.recording) == 1:
                    (refused,) = self.recording
                    if isinstance(refused.outcome, Failed):
                        self.hopeless = self.recording
                    self.outcomes[refused.task.key] = {REFUSED}
                self.recording = ()
            case protocol.StopRequested():
                timeout = self.config.stop_timeout if self.stop_by is None else 0
                self.stop_by = now + timeout

    # Commands

    def _perform(self, command: protocol.Command) -> None:  # one case for each
        world, database, worker = self.world, self.world.database, self.worker_id
        match command:
            case protocol.Register():
                world.after(world.delay(), lambda: self.see(protocol.Registered(0)))
            case protocol.Read(quantity=quantity, visibility_timeout=hidden):
                self._check_read(quantity, hidden)
                self.polling.under_way = True
                world.call(
                    lambda: protocol.MessagesRead(
                        0, database.read(world.now, quantity, hidden), world.chance.random()
                    ),
                    protocol.PollFailed(0),
                    self,
                )
            case protocol.Claim(message_ids=message_ids):
                assert self.polling.under_way, "nothing was read"
                world.call(
                    lambda: protocol.TasksClaimed(
                        0, database.claim(world.now, worker, message_ids)
                    ),
                    protocol.PollFailed(0),
                    self,
                )
            case protocol.Run(task=task):
                self._run(task)
            case protocol.Cancel(task=task):
                self._cancel(task)
            case protocol.Record(results=results):
                self._record(results)
            case protocol.Heartbeat():
                assert self.beat_at is not None
                late = self.state.now - self.beat_at - self.config.heartbeat_interval
                assert late <= LATE + LAG, "a sign of life is missing"
                self.beat_at = self.state.now
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

    def _check_read(self, quantity: int, visibility_timeout: int) -> None:
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
        self.outcomes[task.key] = {timed_out(timeout) if overdue else Failed(STOPPED)}
        if self.world.chance.random() < 0.5:  # some handlers heed it, with an outcome of no account
            ended = protocol.Finished(0, task.key, Failed("CancelledError"))
            self.world.after(self.world.delay(), lambda: self.see(ended))

    def _record(self, results: tuple[Result, ...]) -> None:
        assert results, "nothing to record"
        assert not self.recording, "one batch at a time"
        self.recording = results
        for result in results:
            key = result.task.key
            assert key not in self.active, "it still runs"
            if self.is_gone:  # claimed too late to be run at all
                self.outcomes.setdefault(key, {Failed(STOPPED)})
            assert key not in self.settled | self.abandoned, "it is recorded already"
            assert result.outcome in self.outcomes.get(key, ()), "another outcome than the task's"
            self.sent[key] = result.outcome

        def effect() -> protocol.Event:
            try:
                self.world.database.record(self.world.now, self.worker_id, results)
            except Refused:
                return protocol.NotRecorded(0, REFUSAL)
            return protocol.Recorded(0)

        self.world.call(effect, protocol.NotRecorded(0), self)

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
        if not self.is_gone:
            return
        assert not self.active, "its time to stop is over"
        if self.stopped_by is None:
            # A read and a claim, what they bring, a batch, and each result twice.
            calls = 4 + 2 * (self.unrecorded + self.config.batch_size)
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


def simulate(seed: int, step: Step = machine.step) -> World:
    """Play one schedule.

    Raises:
        AssertionError: a promise was broken; the message begins with the seed that repeats it.
    """
    world = World(seed, step)
    try:
        world.play()
    except AssertionError as error:
        raise AssertionError(f"simulate({seed}), at {world.now:.3f} s: {error}") from error
    return world
