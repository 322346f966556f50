"""For each behaviour of a version, the shortest history that shows it; found with the model."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from conformance.core import evidence, statements
from conformance.core.history import Counts, History
from conformance.core.machine import play_one
from pgflow_ref.model import State, apply
from pgflow_ref.profiles import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgflow_ref.model import Behaviour, Profile
    from pgflow_ref.model.calls import Call

_HISTORIES: Final = 2_000  # in which every behaviour must show


@lru_cache
def examples(core: str) -> Mapping[Behaviour, list[Call]]:
    """A history for each behaviour of a version.

    Raises:
        LookupError: the moves never show one of them.
    """
    profile = load(core).profile
    found: dict[Behaviour, list[Call]] = {}
    for seed in range(_HISTORIES):
        _play(seed, profile, found)
        if found.keys() == profile.behaviours:
            return {name: _shortest(name, found[name], profile) for name in sorted(found)}
    missing = ", ".join(sorted(profile.behaviours - found.keys()))
    raise LookupError(f"core {core}: no history shows {missing}")


def script(played: Sequence[Call], profile: Profile) -> str:
    """A history as SQL for psql."""
    state, history = State(), []
    for call in played:
        history.append((call, state))
        state = apply(state, call, profile).state
    return "\n".join(statements.script(history, profile))


def _play(seed: int, profile: Profile, found: dict[Behaviour, list[Call]]) -> None:
    """Play one history, and keep its beginning for each behaviour that nothing has shown so far."""
    history = History(None, profile, Counts())
    play_one(history, random.Random(seed))  # noqa: S311  # no secret
    for number, seen in enumerate(history.seen, 1):
        for name in seen - found.keys():
            found[name] = evidence.with_ids(history.calls[:number])


def _shortest(name: Behaviour, played: list[Call], profile: Profile) -> list[Call]:
    def shows(shorter: list[Call]) -> bool:
        state, seen = State(), False
        for call in shorter:
            reply = apply(state, call, profile)
            state, seen = reply.state, name in reply.seen
        return seen  # by the last call, so that nothing follows that is not about it

    return evidence.shortest(played, shows)
