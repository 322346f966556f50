"""Time, chance and the network between workers and their database."""

from __future__ import annotations

import itertools
import random
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from conformance.simulation.flows import opening
from conformance.simulation.schedule import draw, likely
from conformance.simulation.worker import SimulatedWorker
from pgflow_ref.model.rows import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.simulation import Step
    from conformance.simulation.database import Database
    from conformance.simulation.flows import Opening
    from conformance.simulation.operations import Done
    from pgflow_ref.model import Profile
    from pgflow_ref.task import TaskKey

T = TypeVar("T")

SLOW: Final = 2.0
"""The most seconds that a call takes, each way."""

_USUAL: Final = 0.05  # the same for most calls
_THE_END: Final = 900.0  # seconds after which a schedule ought to be over
_WORKERS: Final = tuple(UUID(int=number) for number in range(1, 10))


class Unending(AssertionError):
    """Workers go on, and nothing ends."""


class World:
    """One schedule being played.

    Attributes:
        schedule: what happens.
        chance: what else happens.
        now: seconds since the beginning.
        database: what the workers share.
        workers: who works.
        working: how many of them are not gone.
        attempts: which attempts handlers were called for.
    """

    def __init__(
        self,
        seed: int,
        profile: Profile,
        step: Step,
        database: Callable[[Opening, Profile], Database],
    ) -> None:
        self.chance = chance = random.Random(seed)  # noqa: S311  # chance that can be repeated
        self.schedule = schedule = draw(chance, profile)
        self.weather = schedule.weather
        self.now = 0.0
        self._order = itertools.count()
        self._happenings: list[tuple[float, int, Callable[[], None]]] = []
        begun = opening(schedule.flow, schedule.max_attempts, schedule.given, profile)
        self.database = database(begun, profile)
        self._midnight = begun.state.clock  # on the server, which is its time as long as none jumps
        self._to_start = len(schedule.later)
        self._is_done = False
        self.attempts: set[TaskKey] = set()
        self.workers = [
            SimulatedWorker(self, worker_id, life, step)
            for worker_id, life in zip(_WORKERS, schedule.lives, strict=False)
        ]
        self.working = len(self.workers)

    def play(self) -> None:
        """Let everything happen, until no worker is left.

        Raises:
            Unending: that takes too long.
        """
        for worker in self.workers:
            worker.begin()
        for at, given in self.schedule.later:
            self.after(at, partial(self._start, given))
        for at, seconds in self.weather.jumps:
            self.after(at, partial(self._jump, seconds))
        self._look()
        while self.working:
            self.now, _, happen = heappop(self._happenings)
            if self.now > _THE_END:
                raise Unending("the work is never done")
            happen()

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        """This is going to happen."""
        heappush(self._happenings, (self.now + seconds, next(self._order), happen))

    def delay(self) -> float:
        """How long something takes on the network."""
        most = SLOW if likely(self.chance, 0.02) else _USUAL
        return 0.001 + most * self.chance.random()

    def call(self, effect: Callable[[], Done[T]], heard: Callable[[Done[T] | None], None]) -> None:
        """A call to the database, which may be lost on its way, or its reply, or come twice.

        Args:
            effect: what it does there.
            heard: told what came of it; None if there is no reply.
        """
        self.after(self.delay(), lambda: self._arrive(effect, heard))

    def _arrive(
        self, effect: Callable[[], Done[T]], heard: Callable[[Done[T] | None], None]
    ) -> None:
        reply, chance, weather = None, self.chance, self.weather
        if not self._is_away() and not (weather.lost_call and likely(chance, weather.lost_call)):
            reply = self._affect(effect)
            if weather.repeated and likely(chance, weather.repeated):
                self.after(self.delay(), lambda: self._arrive_again(effect))
            if weather.lost_reply and likely(chance, weather.lost_reply):
                reply = None
        self.after(self.delay(), lambda: heard(reply))

    def _arrive_again(self, effect: Callable[[], Done[Any]]) -> None:
        if not self._is_away():
            self._affect(effect)

    def _affect(self, effect: Callable[[], Done[T]]) -> Done[T]:
        self._set_clock()
        before = self.database.state.runs
        done = effect()
        if self.database.state.runs is not before:
            self._look()
        return done

    def _is_away(self) -> bool:
        return any(since <= self.now < until for since, until in self.weather.outages)

    def _set_clock(self) -> None:
        self.database.set_clock(self._midnight + int(self.now * SECOND))

    def _jump(self, seconds: float) -> None:
        self._midnight += int(seconds * SECOND)

    def _start(self, given: str) -> None:
        self._set_clock()
        self.database.start_flow(given)
        self._to_start -= 1

    def _look(self) -> None:
        """When all runs are over, everybody is asked to stop."""
        if self._is_done or self._to_start or not self.database.is_idle:
            return
        self._is_done = True
        for worker in self.workers:
            self.after(self.chance.random(), worker.stop)
