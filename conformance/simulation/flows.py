"""The flows that are simulated, and the databases in which schedules begin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from conformance.simulation import log
from conformance.simulation.log import Noted
from pgflow_ref.model import Profile, State, apply, calls
from pgflow_ref.model.calls import OMITTED
from pgflow_ref.shape import FlowShape, StepShape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.simulation.log import Shown

TIMEOUT: Final = 4
"""Seconds that each task may take."""

GRACE: Final = 5
"""Seconds after a task's timeout until recovery takes it from its worker."""


@dataclass(frozen=True, slots=True, eq=False)  # one is like no other, and found at once
class SimulatedFlow:
    """A flow of a few steps.

    Attributes:
        name: what its form is called.
        shape: its steps.
        maps: which of them are map steps.
    """

    name: str
    shape: FlowShape
    maps: frozenset[str] = frozenset()

    @property
    def timeout(self) -> int:
        """Seconds that each of its tasks may take."""
        return TIMEOUT

    @property
    def timeouts(self) -> dict[str, float]:
        """The same by step."""
        return dict.fromkeys((step.slug for step in self.shape.steps), float(TIMEOUT))

    @property
    def with_dependents(self) -> frozenset[str]:
        """The steps that others wait for."""
        return frozenset(slug for step in self.shape.steps for slug in step.depends_on)

    @property
    def arrays(self) -> frozenset[str]:
        """The steps whose output a map step takes apart."""
        steps = self.shape.steps
        return frozenset(dep for step in steps if step.slug in self.maps for dep in step.depends_on)


def _flow(name: str, steps: Sequence[StepShape], maps: Sequence[str] = ()) -> SimulatedFlow:
    return SimulatedFlow(name, FlowShape("f", steps=tuple(steps)), frozenset(maps))


_A: Final = StepShape("a")
SINGLE: Final = _flow("single", [_A])
PARALLEL: Final = _flow("parallel", [_A, StepShape("b")])
CHAIN: Final = _flow("chain", [_A, StepShape("b", ("a",))])
FAN_OUT: Final = _flow("fan-out", [_A, *(StepShape(slug, ("a",)) for slug in "bcd")])
DIAMOND: Final = _flow(
    "diamond", [_A, StepShape("b", ("a",)), StepShape("c", ("a",)), StepShape("d", ("b", "c"))]
)
# A map step is never a leaf here: what a run's output then holds, `output_of_leaves` does not know.
MAP: Final = _flow("map", [_A, StepShape("b", ("a",)), StepShape("c", ("b",))], "b")
ROOT_MAP: Final = _flow("root map", [_A, StepShape("b", ("a",))], "a")

FLOWS: Final = (*[SINGLE] * 5, PARALLEL, PARALLEL, CHAIN, CHAIN, FAN_OUT, DIAMOND)
"""What a schedule is drawn from; the small ones more often, since most mistakes show there."""

WITH_MAPS: Final = (*FLOWS, MAP, ROOT_MAP)
"""The same for cores that have map steps."""


class Opening(NamedTuple):
    """A database with a flow and some runs, when nobody has worked there yet.

    Attributes:
        flow: the flow.
        state: the database.
        noted: what starting the runs changed.
        shown: the rows of that, as events have them.
    """

    flow: SimulatedFlow
    state: State
    noted: tuple[Noted, ...]
    shown: Shown


class _Core:
    """A profile as a key; its columns follow from its version."""

    __slots__ = ("behaviours", "profile")

    def __init__(self, profile: Profile) -> None:
        self.profile, self.behaviours = profile, profile.behaviours

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Core) and self.behaviours == other.behaviours

    def __hash__(self) -> int:
        return hash(self.behaviours)


@lru_cache(maxsize=256)
def _opening(
    flow: SimulatedFlow, max_attempts: int, given: tuple[str, ...], core: _Core
) -> Opening:
    state, profile = State(), core.profile
    slug, noted = flow.shape.slug, []
    definition: list[calls.Call] = [calls.CreateFlow(slug, max_attempts, 1, TIMEOUT)]
    for step in flow.shape.steps:
        kind = "map" if step.slug in flow.maps else OMITTED
        definition.append(calls.AddStep(slug, step.slug, step.depends_on, step_type=kind))
    for call in definition:
        state = apply(state, call, profile).state
    for number, text in enumerate(given, 1):
        after = apply(state, calls.StartFlow(slug, text), profile).state
        noted.append(Noted(number, after.clock, log.changes(state, after)))
        state = after
    return Opening(flow, state, tuple(noted), log.shown(noted, profile))


def opening(
    flow: SimulatedFlow, max_attempts: int, given: tuple[str, ...], profile: Profile
) -> Opening:
    """A database with this flow and a run for each of the given inputs; made once."""
    return _opening(flow, max_attempts, given, _Core(profile))
