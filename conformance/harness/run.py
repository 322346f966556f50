"""The records of one stream, put in their places, and what they come to.

Everything that people are shown of a run, in whatever form, is made from a `Run`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from conformance.harness.records import (
    BAD,
    OUTCOMES,
    Case,
    Control,
    End,
    Loss,
    Outcome,
    Record,
    Suite,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

WORDS: Final[dict[Outcome, str]] = {
    "passed": "passed",
    "failed": "failed",
    "deviation": "known deviation",
    "unexpected_pass": "unexpected pass",
    "unsupported": "unsupported",
    "error": "could not run",
}
STYLES: Final[dict[Outcome, str]] = {
    "passed": "green",
    "failed": "bold red",
    "deviation": "yellow",
    "unexpected_pass": "bold magenta",
    "unsupported": "dim",
    "error": "bold red",
}
"""How a terminal shows each outcome, in rich's words."""

SYMBOLS: Final[dict[Outcome, str]] = dict(zip(WORDS, "✓✗≈↑○!", strict=True))

ALWAYS: Final = frozenset[Outcome]({"passed", "failed"})
"""What is said even of a run in which it did not come."""
CONTROL: Final = "control group"
TOGETHER: Final = "in a fleet"
ALONE: Final = "no worker"


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
    losses: tuple[Loss, ...] = ()
    controls: tuple[Control, ...] = ()

    @classmethod
    def of(cls, records: Iterable[Record]) -> Run:
        """Sort records.

        Where streams were joined, it has the cores of all, and has ended when the last one has.
        """
        suite: Suite | None = None
        end: End | None = None
        cases: list[Case] = []
        losses: list[Loss] = []
        controls: list[Control] = []
        for record in records:
            if isinstance(record, Suite):
                suite, end = _joined(suite, record), None
            elif isinstance(record, Case):
                cases.append(record)
            elif isinstance(record, Loss):
                losses.append(record)
            elif isinstance(record, Control):
                controls.append(record)
            else:
                end = record
        workers = [worker.name for worker in suite.workers] if suite else []
        for case in cases:
            workers += [*case.workers, *case.tasks, *(span.worker for span in case.timeline)]
        names = tuple(dict.fromkeys(workers))
        return cls(suite, tuple(cases), end, names, tuple(losses), tuple(controls))

    def work(self, case: Case) -> dict[str, int]:
        """The tasks of a case by worker: always in the same order, and idle workers too."""
        there = {*case.workers, *case.tasks}
        return {name: case.tasks.get(name, 0) for name in self.workers if name in there}

    def shares(self, case: Case) -> dict[str, int]:
        """The same by worker, where `python-2` is another process of `python`."""
        sums: dict[str, int] = {}
        for name, tasks in self.work(case).items():
            of = kin(name, case.workers)
            sums[of] = sums.get(of, 0) + tasks
        return sums

    @property
    def mixed(self) -> tuple[Case, ...]:
        """The cases in which several workers shared some work."""
        return tuple(case for case in self.cases if case.mixed and any(case.tasks.values()))

    @property
    def counts(self) -> Counter[Outcome]:
        """How often each outcome came."""
        return Counter(case.outcome for case in self.cases)

    def tally(self) -> list[tuple[Outcome, int]]:
        """The outcomes that came, with how often; passed and failed even if they did not."""
        counts = self.counts
        return [(one, counts[one]) for one in OUTCOMES if counts[one] or one in ALWAYS]

    @property
    def columns(self) -> tuple[str, ...]:
        """What results are counted under: each worker alone, the control group, fleets, none."""
        there = {self.column(case) for case in self.cases}
        return tuple(name for name in (*self.workers, CONTROL, TOGETHER, ALONE) if name in there)

    def column(self, case: Case) -> str:
        """What a result is counted under.

        Its worker, if that is one whom the run is about; the many of the control group together.
        """
        if len(case.workers) != 1:
            return TOGETHER if case.workers else ALONE
        (name,) = case.workers
        about = {worker.name for worker in self.suite.workers} if self.suite else set()
        return name if name in about or not about else CONTROL

    def cells(self) -> dict[tuple[str, str], Counter[Outcome]]:
        """How often each outcome came, by group and column; groups in the order of their cases."""
        cells: dict[tuple[str, str], Counter[Outcome]] = {}
        for case in self.cases:
            cells.setdefault((case.group, self.column(case)), Counter())[case.outcome] += 1
        return cells

    def matrix(self) -> dict[tuple[str, str], Counter[Outcome]]:
        """How often each outcome came, by core and column; cores as they were installed."""
        cells: dict[tuple[str, str], Counter[Outcome]] = {}
        for core in self.cores:
            for case in self.cases:
                if case.core == core:
                    cells.setdefault((core, self.column(case)), Counter())[case.outcome] += 1
        return cells

    def unsupported(self) -> dict[str, list[Case]]:
        """The results that are not supported, by the reason; what most have comes first."""
        found: dict[str, list[Case]] = {}
        for case in self.cases:
            if case.outcome == "unsupported":
                found.setdefault("; ".join(case.problems) or "no reason was given", []).append(case)
        return dict(sorted(found.items(), key=lambda pair: -len(pair[1])))

    def known(self) -> list[tuple[Case, str]]:
        """The known deviations: the first result of each, and all cores on which it showed.

        Of a run on one core these are none, since it goes without saying.
        """
        found: dict[tuple[object, ...], list[Case]] = {}
        for case in self.cases:
            if case.outcome == "deviation":
                found.setdefault((case.id, case.workers, case.deviation), []).append(case)
        several = len(self.cores) > 1
        return [
            (cases[0], ", ".join(dict.fromkeys(case.core for case in cases)) if several else "")
            for cases in found.values()
        ]

    @property
    def failures(self) -> tuple[Case, ...]:
        """The results that somebody must look at, in the order in which they came."""
        return tuple(case for case in self.cases if case.outcome in BAD)

    @property
    def cores(self) -> tuple[str, ...]:
        """The versions of the core that cases ran on, in the order in which they were installed."""
        installed = [core.version for core in self.suite.cores] if self.suite else []
        used = {case.core for case in self.cases if case.core}
        others = [case.core for case in self.cases if case.core]
        return tuple(dict.fromkeys(core for core in [*installed, *others] if core in used))

    @property
    def escaped(self) -> tuple[Control, ...]:
        """The workers that are wrong on purpose and that the suite did not catch as it must."""
        return tuple(control for control in self.controls if not control.caught)

    @property
    def lost(self) -> tuple[Loss, ...]:
        """The values that came to harm on their way, though nobody knew that they would."""
        return tuple(loss for loss in self.losses if loss.came and not loss.excuse)

    def harmed(self) -> list[tuple[Loss, list[tuple[str, ...]]]]:
        """What came to harm, once with all its ways; what nobody knew of comes first."""
        found: dict[tuple[str, str, str], tuple[Loss, list[tuple[str, ...]]]] = {}
        for loss in self.losses:
            if loss.came:
                key = (loss.value, loss.came, loss.excuse)
                found.setdefault(key, (loss, []))[1].append(loss.route)
        return sorted(found.values(), key=lambda pair: bool(pair[0].excuse))

    def excused(self) -> dict[str, list[tuple[Loss, list[tuple[str, ...]]]]]:
        """The losses that are known, each with its ways, by why they are."""
        found: dict[str, list[tuple[Loss, list[tuple[str, ...]]]]] = {}
        for loss, ways in self.harmed():
            if loss.excuse:
                found.setdefault(loss.excuse, []).append((loss, ways))
        return found

    def name(self, case: Case) -> str:
        """A case's id, and its core where that is not the one that goes without saying."""
        usual = self.suite is None or not case.core or case.core == self.suite.usual.version
        return case.id if usual else f"{case.id} on {case.core}"

    def slowest(self, number: int) -> tuple[Case, ...]:
        """The results that took longest, longest first, of those that took any time to speak of."""
        slow = sorted(self.cases, key=lambda case: -case.seconds)
        return tuple(case for case in slow[:number] if case.seconds >= 1)

    @property
    def verdict(self) -> Verdict:
        """The verdict, which is never "passed" for a run that broke off or proved nothing."""
        counts = self.counts
        # A value that is lost fails its case, unless all of that case is a known deviation.
        if self.failures or self.escaped:
            return Verdict("failed", "Failed", _failure_sentence(self))
        if self.end is None:
            return Verdict("unproven", "Incomplete", "The run broke off before its end.")
        if self.end.exit:
            sentence = f"No case failed, but the suite itself ended with exit code {self.end.exit}."
            return Verdict("failed", "Failed", sentence)
        if not counts["passed"]:
            return Verdict("unproven", "Nothing proved", "Not one case passed.")
        return Verdict("passed", "Passed", _success_sentence(counts))


def _failure_sentence(run: Run) -> str:
    counts = run.counts
    failed, known, error = counts["failed"], counts["unexpected_pass"], counts["error"]
    escaped, lost = len(run.escaped), len(run.lost)
    said = (
        [f"{failed:,} result{' breaks' if failed == 1 else 's break'} a promise"] if failed else []
    )
    said += [f"{error:,} could not run"] if error else []
    said += [f"{known:,} known deviation{'s' * (known != 1)} passed"] if known else []
    said += [f"{escaped:,} wrong worker{'s' * (escaped != 1)} not caught"] if escaped else []
    said += [f"{lost:,} value{'s' * (lost != 1)} lost on the way"] if lost else []
    return f"{', '.join(said)}; {counts['passed']:,} of {counts.total():,} passed."


def _success_sentence(counts: Counter[Outcome]) -> str:
    known, unsupported = counts["deviation"], counts["unsupported"]
    if not known and not unsupported:
        return f"All {counts.total():,} results keep their promise."
    rest = [f"{known:,} known deviation{'s' * (known != 1)}"] if known else []
    rest += [f"{unsupported:,} unsupported"] if unsupported else []
    kept = f"{counts['passed']:,} of {counts.total():,} results keep their promise"
    return f"{kept}; {' and '.join(rest)}."


def kin(name: str, workers: Collection[str]) -> str:
    """The worker that a process belongs to: its own name, without a number that sets it apart.

    Example:
        >>> kin("python-2", ("python", "deno")), kin("go-2", ("go-2",)), kin("x-2", ())
        ('python', 'go-2', 'x-2')
    """
    of, _, number = name.rpartition("-")
    return of if name not in workers and of in workers and number.isdigit() else name


def fleet(workers: Sequence[str]) -> str:
    """Name the workers of a case in one phrase."""
    return " + ".join(workers) or ALONE


def percent(part: float) -> str:
    """Say a share without rounding anybody's work away.

    Example:
        >>> [percent(part) for part in (0, 0.0001, 0.544, 0.9999, 1)]
        ['0%', '<1%', '54%', '>99%', '100%']
    """
    if 0 < part < 0.005:  # noqa: PLR2004 (what rounds to nothing)
        return "<1%"
    return ">99%" if 0.995 <= part < 1 else f"{part:.0%}"  # noqa: PLR2004 (what rounds to all)


def astray(control: Control) -> str:
    """What the suite should have found of a wrong worker, and what it found instead.

    Example:
        >>> astray(Control("idle", "It does nothing.", ("a.b", "c.d"), ("c.d", "e.f"), ()))
        'a.b should have failed; e.f should not'
        >>> astray(Control("idle", "It does nothing.", (), (), ()))
        'it breaks nothing that is tested'
    """
    missed = [name for name in control.must_fail if name not in control.failed]
    extra = [name for name in control.failed if name not in control.must_fail]
    said = [f"{', '.join(missed)} should have failed"] if missed else []
    if extra:
        said.append(f"{', '.join(extra)} should not{'' if missed else ' have failed'}")
    if not control.failed and not missed:
        said.append("it breaks nothing that is tested")
    return "; ".join(said)


def short(text: str, limit: int) -> str:
    """Shorten a text in its middle.

    Example:
        >>> short("0123456789", 7)
        '012…789'
    """
    if len(text) <= limit:
        return text
    half = (limit - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _joined(first: Suite | None, other: Suite) -> Suite:
    """What was run where two streams are one: the first, on the cores of both."""
    if first is None:
        return other
    there = {core.version for core in first.cores}
    more = tuple(core for core in other.cores if core.version not in there)
    return replace(first, cores=(*first.cores, *more))
