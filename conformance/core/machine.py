"""The moves as a hypothesis state machine, and a run of it.

Hypothesis decides how many histories there are and how long they are, and gives each a source of
chance. It does not draw every argument: that takes as long as the calls themselves. So a history
that shows a difference is made shorter by its calls, not by its draws (`evidence.py`).
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, ClassVar, Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from conformance.core.history import Counts, History
from conformance.core.moves import Moves

if TYPE_CHECKING:
    from conformance.core.subject import Subject
    from pgflow_ref.model import Profile

MOVES: Final = 40
"""How many moves a history has at most, after its beginning."""


class Machine(RuleBasedStateMachine):
    """Any calls in any order, to the model and to a database."""

    profile: ClassVar[Profile]
    subject: ClassVar[Subject | None]
    counts: ClassVar[Counts]

    @initialize(chance=st.randoms(use_true_random=True))
    def begin(self, chance: random.Random) -> None:
        """Every history begins with a run."""
        history = History(self.subject, self.profile, self.counts)
        self.moves = Moves(history, chance.choice)
        self.moves.begin()

    @rule()
    def move(self) -> None:
        """One move; which one, the moves' own weights decide."""
        self.moves.move()


def play(subject: Subject | None, profile: Profile, histories: int) -> Counts:
    """Play histories, always the same ones.

    Args:
        subject: the database; None for the model alone.
        profile: the core's version.
        histories: how many.

    Raises:
        Difference: the two sides differ; the history is as it was found.
    """
    counts = Counts()
    machine = type(
        "Machine", (Machine,), {"profile": profile, "subject": subject, "counts": counts}
    )
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=MOVES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return counts


def play_until(subject: Subject | None, profile: Profile, counts: Counts, most: int) -> None:
    """Play more histories, always the same ones, until each behaviour of the profile has shown.

    Args:
        subject: the database; None for the model alone.
        profile: the core's version.
        counts: what was seen before; is added to.
        most: how many histories at most.

    Raises:
        Difference: as for `play`.
    """
    for seed in range(most):
        if counts.behaviours.keys() >= profile.behaviours:
            return
        chance = random.Random(seed)  # noqa: S311  # no secret
        play_one(History(subject, profile, counts), chance)


def play_on(subject: Subject, profile: Profile, seconds: float, seed: int) -> Counts:
    """Play histories for a time, other ones for each seed.

    Raises:
        Difference: as for `play`.
    """
    counts, until = Counts(), time.monotonic() + seconds
    chance = random.Random(seed)  # noqa: S311  # no secret
    while time.monotonic() < until:
        play_one(History(subject, profile, counts), chance)
    return counts


def play_one(history: History, chance: random.Random) -> None:
    """Play a history from its beginning.

    Raises:
        Difference: as for `play`.
    """
    moves = Moves(history, chance.choice)
    moves.begin()
    for _ in range(MOVES):
        moves.move()
