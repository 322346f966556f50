"""The records of one stream, put in their places, and what they come to.

Everything that people are shown of a run, in whatever form, is made from a `Run`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from conformance.harness.records import BAD, Case, End, Outcome, Record, Suite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WORDS: Final[dict[Outcome, str]] = {
    "passed": "passed",
    "failed": "failed",
    "deviation": "known deviation",
    "unexpected_pass": "unexpected pass",
    "unsupported": "unsupported",
    "error": "could not run",
}
SYMBOLS: Final[dict[Outcome, str]] = dict(zip(WORDS, "✓✗≈↑○!", strict=True))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run comes to: one word for the eye and one sentence for the mind."""

    level: Literal["passed", "failed", "unproven"]
    title: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Run:
    """The records of one stream, put in their places.

    Attributes:
        workers: those that introduced themselves, then whoever else did something.
    """

    suite: Suite | None
    cases: tuple[Case, ...]
    end: End | None
    workers: tuple[str, ...]

    @classmethod
    def of(cls, records: Iterable[Record]) -> Run:
        """Sort records; where two streams were joined, the run has ended when the last one has."""
        suite: Suite | None = None
        end: End | None = None
        cases: list[Case] = []
        for record in records:
            if isinstance(record, Suite):
                suite, end = suite or record, None
            elif isinstance(record, Case):
                cases.append(record)
            elif isinstance(record, End):
                end = record
        workers = [worker.name for worker in suite.workers] if suite else []
        for case in cases:
            workers += [*case.workers, *case.tasks, *(span.worker for span in case.timeline)]
        return cls(suite, tuple(cases), end, tuple(dict.fromkeys(workers)))

    def work(self, case: Case) -> dict[str, int]:
        """The tasks of a case by worker: always in the same order, and idle workers too."""
        there = {*case.workers, *case.tasks}
        return {name: case.tasks.get(name, 0) for name in self.workers if name in there}

    @property
    def mixed(self) -> tuple[Case, ...]:
        """The cases in which several workers shared some work."""
        return tuple(case for case in self.cases if case.mixed and any(case.tasks.values()))

    @property
    def counts(self) -> Counter[Outcome]:
        """How often each outcome came."""
        return Counter(case.outcome for case in self.cases)

    @property
    def failures(self) -> tuple[Case, ...]:
        """The results that somebody must look at, in the order in which they came."""
        return tuple(case for case in self.cases if case.outcome in BAD)

    @property
    def verdict(self) -> Verdict:
        """The verdict, which is never "passed" for a run that broke off or proved nothing."""
        counts = self.counts
        if self.failures:
            return Verdict("failed", "Failed", _failure_sentence(counts))
        if self.end is None:
            return Verdict("unproven", "Incomplete", "The run broke off before its end.")
        if self.end.exit:
            sentence = f"No case failed, but the suite itself ended with exit code {self.end.exit}."
            return Verdict("failed", "Failed", sentence)
        if not counts["passed"]:
            return Verdict("unproven", "Nothing proved", "Not one case passed.")
        return Verdict("passed", "Passed", _success_sentence(counts))


def _failure_sentence(counts: Counter[Outcome]) -> str:
    failed, known, error = counts["failed"], counts["unexpected_pass"], counts["error"]
    said = (
        [f"{failed:,} result{' breaks' if failed == 1 else 's break'} a promise"] if failed else []
    )
    said += [f"{error:,} could not run"] if error else []
    said += [f"{known:,} known deviation{'s' * (known != 1)} passed"] if known else []
    return f"{', '.join(said)}; {counts['passed']:,} of {counts.total():,} passed."


def _success_sentence(counts: Counter[Outcome]) -> str:
    known, unsupported = counts["deviation"], counts["unsupported"]
    if not known and not unsupported:
        return f"All {counts.total():,} results keep their promise."
    rest = [f"{known:,} known deviation{'s' * (known != 1)}"] if known else []
    rest += [f"{unsupported:,} unsupported"] if unsupported else []
    kept = f"{counts['passed']:,} of {counts.total():,} results keep their promise"
    return f"{kept}; {' and '.join(rest)}."


def fleet(workers: Sequence[str]) -> str:
    """Name the workers of a case in one phrase."""
    return " + ".join(workers) or "no worker"


def percent(part: float) -> str:
    """Say a share without rounding anybody's work away.

    Example:
        >>> [percent(part) for part in (0, 0.0001, 0.544, 0.9999, 1)]
        ['0%', '<1%', '54%', '>99%', '100%']
    """
    if 0 < part < 0.005:  # noqa: PLR2004 (what rounds to nothing)
        return "<1%"
    return ">99%" if 0.995 <= part < 1 else f"{part:.0%}"  # noqa: PLR2004 (what rounds to all)
