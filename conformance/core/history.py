"""A history: calls, made to the model and to a database, one after the other."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from conformance.core.compare import differences
from pgflow_ref.model import State, apply

if TYPE_CHECKING:
    from conformance.core.subject import Subject
    from pgflow_ref.model import Behaviour, Profile
    from pgflow_ref.model.calls import Call


class Difference(AssertionError):
    """The model and the database differ.

    Attributes:
        profile: the core's version.
        history: the calls, each with the model's state before it.
        problems: one sentence for each place where the two differ after the last call.
    """

    def __init__(
        self, profile: Profile, history: list[tuple[Call, State]], problems: list[str]
    ) -> None:
        super().__init__("\n".join(problems))
        self.profile = profile
        self.history = history
        self.problems = problems


class History:
    """The same calls to both sides.

    Args:
        subject: the database; None for the model alone.
        profile: the version of the core that both are.
        counts: is told how often each behaviour was seen, and of how many calls.

    Attributes:
        state: the model's state by now.
        calls: the calls so far, each with the model's state before it.
        seen: the behaviours that showed in each of them.
    """

    def __init__(self, subject: Subject | None, profile: Profile, counts: Counts) -> None:
        self.subject = subject
        self.profile = profile
        self.counts = counts
        self.state = State()
        self.calls: list[tuple[Call, State]] = []
        self.seen: list[frozenset[Behaviour]] = []
        if subject is not None:
            subject.reset()

    def call(self, call: Call) -> tuple[object, ...]:
        """Make a call.

        Raises:
            Difference: after it, the two sides are not the same.
        """
        before = self.state
        self.calls.append((call, before))
        reply = apply(before, call, self.profile)
        self.state = reply.state
        self.seen.append(reply.seen)
        self.counts.calls += 1
        self.counts.behaviours.update(reply.seen)
        if self.subject is not None:
            seen = self.subject.call(call, before)
            problems = differences(call, reply, seen, self.profile)
            if problems:
                raise Difference(self.profile, list(self.calls), problems)
        return reply.rows


class Counts:
    """What was done so far.

    Attributes:
        calls: how many calls were compared.
        behaviours: in how many of them each behaviour showed.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.behaviours: Counter[Behaviour] = Counter()
