"""A world for the worker's machine: a model database, a clock that jumps, and chance.

`simulate(seed)` plays one schedule: some workers share a queue; calls take their time or are lost,
on the way there or on the way back; handlers return, fail or never end; the database goes away and
comes back; workers are stopped at some moment, sometimes twice, or told by the database to leave.
They poll, wait in the server, or hear of inserts, as long as they hear. The same seed plays the
same schedule. A `Puppet` checks after each step what must hold, whatever the schedule.

Nothing here looks into the machine but at `wake_at` and `State.now`: what a worker may do is worked
out a second time, from its events and commands alone.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from pgflow_ref import machine, protocol
from pgflow_ref.machine import Phase, State
from tests.puppets import Puppet
from tests.simulated import CURSE, SLOW, Database

if TYPE_CHECKING:
    from collections.abc import Callable

    Step: TypeAlias = Callable[[State, protocol.Event], tuple[State, list[protocol.Command]]]


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
        for _, at in starts:
            self.after(at, self.inserted)

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

    def inserted(self) -> None:
        """Something was inserted: those who listen hear of it."""
        if self.database.tells(self.now):
            for puppet in self.puppets:
                if puppet.hears:
                    self.after(self.delay(), puppet.hear)

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
        """Somebody else does, where no worker is left that will."""
        if not any(puppet.config.recovery_interval for puppet in self.puppets if not puppet.marked):
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


def broken_promise(seed: int, mistake: Step) -> str:
    """What a schedule says of a machine with this mistake; nothing, where it is not noticed."""
    try:
        simulate(seed, mistake)
    except AssertionError as error:
        return str(error)
    return ""
