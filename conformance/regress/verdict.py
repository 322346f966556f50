"""What all findings come to: same, changed or broken, and for whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from conformance.regress.findings import WHO, worst

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conformance.regress.findings import Finding, Kind, Who

EXITS: Final[dict[Kind, int]] = {"same": 0, "changed": 1, "broken": 2}
COULD_NOT_RUN: Final = 3
TITLES: Final[dict[Kind, str]] = {"same": "Same", "changed": "Changed", "broken": "Broken"}
HEADINGS: Final[dict[Kind, str]] = {
    "broken": "What broke",
    "changed": "What changed",
    "same": "What is the same",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a candidate.

    Attributes:
        base: what the one core is called.
        candidate: what the other is called.
        parts: the findings of each part of the check, by what it looked at.
        failures: why a part could not run, by what it should have looked at.
        left_out: parts that were not asked for.
        facts: what else to know of how it was found, such as the version of PostgreSQL.
    """

    base: str
    candidate: str
    parts: Mapping[str, Sequence[Finding]]
    failures: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them."""
        return tuple(one for part in self.parts.values() for one in part)

    @property
    def kind(self) -> Kind:
        """The worst of all."""
        return worst(self.findings)

    @property
    def exit_code(self) -> int:
        """0 same, 1 changed, 2 broken, 3 a part could not run."""
        return COULD_NOT_RUN if self.failures else EXITS[self.kind]

    @property
    def title(self) -> str:
        """One word, or a few."""
        return "No verdict" if self.failures else TITLES[self.kind]

    def of(self, kind: Kind, who: Who | None = None) -> list[tuple[str, Finding]]:
        """The findings of a kind, for one audience or all, each with the part that found it."""
        return [
            (part, one)
            for part, found in self.parts.items()
            for one in found
            if one.kind == kind and who in (None, one.who)
        ]

    def counts(self) -> dict[Who, dict[Kind, int]]:
        """How many findings of each kind concern whom."""
        return {who: {kind: len(self.of(kind, who)) for kind in HEADINGS} for who in WHO}

    @property
    def sentence(self) -> str:
        """What it comes to."""
        broken, changed = len(self.of("broken")), len(self.of("changed"))
        if self.failures:
            names = " and ".join(self.failures)
            found = f" So far: {broken} broken, {changed} changed." if self.findings else ""
            return f"Not all could be looked at: {names}.{found}"
        if self.kind == "same":
            return f"{self.candidate} does all that was looked at as {self.base} does."
        whom = [f"{_counted(count)} for {who}" for who, count in self.counts().items()]
        found = "; ".join(words for words in whom if not words.startswith(" "))
        return f"From {self.base} to {self.candidate}: {found}."


def _counted(counts: Mapping[Kind, int]) -> str:
    """`2 broken and 1 changed`, without what there is none of."""
    kinds: tuple[Kind, ...] = ("broken", "changed")
    return " and ".join(f"{counts[kind]} {kind}" for kind in kinds if counts[kind])
