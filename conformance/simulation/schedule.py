"""What is going to happen in a schedule, as far as it does not depend on what workers do.

All of it is drawn from one seed before anything happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from conformance.simulation.flows import FLOWS, GRACE, WITH_MAPS, SimulatedFlow
from pgflow_ref.config import WorkerConfig

if TYPE_CHECKING:
    from random import Random

    from pgflow_ref.model import Profile

_config: Final = lru_cache(maxsize=1024)(WorkerConfig)  # checked once for each combination


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad it gets; the chances are per call.

    Attributes:
        lost_call: a call does not reach the database.
        lost_reply: the call took effect, and the worker does not hear of it.
        repeated: the call arrives once more, later.
        outages: from when until when the database is away.
        jumps: when the server's clock jumps, and by how many seconds.
    """

    lost_call: float = 0.0
    lost_reply: float = 0.0
    repeated: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()
    jumps: tuple[tuple[float, float], ...] = ()

    @property
    def is_calm(self) -> bool:
        """Whether the network and the clocks do what they should."""
        return self == CALM


CALM: Final = Weather()


@dataclass(frozen=True, slots=True)
class Life:
    """One worker: its options, and what happens to it.

    Attributes:
        config: its options.
        begins_at: when its process is up.
        stops_at: when it is asked to stop, and perhaps again; not at all: when the work is done.
        freezes: when its process stands still, and for how long.
        crashes_after: how many commands it performs until it vanishes.
        crashes_at: when it vanishes.
    """

    config: WorkerConfig
    begins_at: float = 0.0
    stops_at: tuple[float, ...] = ()
    freezes: tuple[float, float] | None = None
    crashes_after: int | None = None
    crashes_at: float | None = None

    @property
    def crashes(self) -> bool:
        """Whether it is going to vanish."""
        return self.crashes_after is not None or self.crashes_at is not None

    @property
    def stays(self) -> bool:
        """Whether it works until all work is done."""
        return not self.stops_at and not self.crashes


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule.

    Attributes:
        flow: the flow.
        max_attempts: how often each of its tasks may be tried.
        given: the inputs of the runs that are there from the beginning.
        later: when further runs are started, and with which input.
        trouble: how likely a handler fails, or gives what the database refuses.
        weather: what the network does, and the clocks.
        lives: the workers.
    """

    flow: SimulatedFlow
    max_attempts: int
    given: tuple[str, ...]
    later: tuple[tuple[float, str], ...]
    trouble: float
    weather: Weather
    lives: tuple[Life, ...]

    @property
    def is_calm(self) -> bool:
        """Whether nothing comes between a worker and its work."""
        return self.weather.is_calm and not any(life.crashes or life.freezes for life in self.lives)


def likely(chance: Random, probability: float) -> bool:
    """Whether something of this probability happens."""
    return chance.random() < probability


def draw(chance: Random, profile: Profile) -> Schedule:
    """Think of a schedule."""
    flow = chance.choice(WITH_MAPS if "map_steps" in profile.behaviours else FLOWS)
    inputs = ("[1, 2]", "[3]", "[]") if "a" in flow.maps else ("{}",)
    count = chance.choice((1, 1, 1, 1, 1, 2, 3))
    calm = likely(chance, 0.4)
    later = tuple(
        (chance.uniform(0, 10), chance.choice(inputs))
        for _ in range(count - 1)
        if likely(chance, 0.5)
    )
    return Schedule(
        flow=flow,
        max_attempts=chance.choice((1, 2, 3)),
        given=tuple(chance.choice(inputs) for _ in range(count - len(later))),
        later=later,
        trouble=chance.choice((0.0, 0.0, 0.1, 0.4)),
        weather=CALM if calm else _weather(chance),
        lives=tuple(_life(chance, calm=calm) for _ in range(chance.choice((1, 1, 2, 2, 2, 3)))),
    )


def _weather(chance: Random) -> Weather:
    outages: tuple[tuple[float, float], ...] = ()
    jumps: tuple[tuple[float, float], ...] = ()
    if likely(chance, 0.3):
        since = chance.uniform(0, 8)
        outages = ((since, since + chance.uniform(0.5, 6)),)
    if likely(chance, 0.3):
        jumps = ((chance.uniform(0, 8), chance.choice((-8.0, 5.0, 20.0, 3600.0))),)
    return Weather(
        chance.choice((0, 0.05, 0.3)),
        chance.choice((0, 0.05, 0.3)),
        chance.choice((0, 0.1, 0.5)),
        outages,
        jumps,
    )


def _life(chance: Random, *, calm: bool) -> Life:
    config = _config(
        max_concurrency=chance.choice((1, 2, 5)),
        batch_size=chance.choice((1, 3, 10)),
        recorders=chance.choice((1, 2, 3)),
        min_poll_interval=chance.choice((1.0, 4.0)),
        max_poll_interval=20.0,
        visibility_timeout=chance.choice((None, None, 1)),
        heartbeat_interval=chance.choice((5.0, 60.0, 60.0, 60.0)),
        stop_timeout=chance.choice((0.0, 1.0, 10.0)),
        recovery_interval=5.0,
        stale_grace=float(GRACE),
    )
    begins_at = chance.choice((0.0, 0.0, chance.uniform(0, 3)))
    stops_at: tuple[float, ...] = ()
    if likely(chance, 0.2):
        stops_at = (chance.uniform(0, 8),)
        if likely(chance, 0.3):
            stops_at += (stops_at[0] + chance.uniform(0, 8),)
    if calm:
        return Life(config, begins_at, stops_at)
    return Life(
        config,
        begins_at,
        stops_at,
        freezes=(chance.uniform(0, 6), chance.uniform(1, 15)) if likely(chance, 0.15) else None,
        crashes_after=chance.randint(1, 15) if likely(chance, 0.2) else None,
        crashes_at=chance.uniform(0, 8) if likely(chance, 0.1) else None,
    )
