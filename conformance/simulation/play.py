"""Playing a schedule, and saying what it broke."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from conformance.simulation.database import Database
from conformance.simulation.verdict import JUDGED, problems
from conformance.simulation.world import World
from pgflow_ref import machine, protocol
from pgflow_ref.machine import State

if TYPE_CHECKING:
    from conformance.harness.eventlog import Event
    from conformance.simulation.flows import Opening
    from pgflow_ref.model import Profile

Step: TypeAlias = Callable[[State, protocol.Event], tuple[State, list[protocol.Command]]]
"""The worker's machine."""


@dataclass(frozen=True, slots=True)
class Played:
    """A schedule that was played.

    Attributes:
        world: how everything was in the end.
    """

    world: World

    @property
    def events(self) -> list[Event]:
        """What has changed in the database."""
        return self.world.database.events()


class Broken(AssertionError):
    """A schedule broke a promise.

    Attributes:
        seed: which schedule.
        core: on which version of the core.
        problems: what it broke, a sentence for each.
        events: what has changed in the database.
    """

    def __init__(self, seed: int, core: str, problems: list[str], events: list[Event]) -> None:
        self.seed, self.core, self.problems, self.events = seed, core, problems, events
        super().__init__(
            f"{'; '.join(problems)}. To repeat it: {self.command}",
        )

    @property
    def command(self) -> str:
        """What repeats it."""
        return f"./scripts/simulate --core {self.core} --seed {self.seed}"


def simulate(
    seed: int,
    profile: Profile,
    *,
    step: Step = machine.step,
    database: Callable[[Opening, Profile], Database] = Database,
) -> Played:
    """Play one schedule.

    Args:
        seed: which one.
        profile: the version of the core.
        step: the machine of all workers.
        database: makes the database that they share.

    Raises:
        Broken: a promise was broken; the message ends with the command that repeats it.
    """
    world = World(seed, profile, step, database)
    found: list[str] = []
    try:
        world.play()
    except AssertionError as error:
        found.append(f"{error}, at {world.now:.3f} s")
    found = found or list(problems(world, world.database.events(JUDGED)))
    if found:
        raise Broken(seed, profile.core, found, world.database.events())
    return Played(world)
