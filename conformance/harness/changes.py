"""What changed between two runs: not only what failed.

A change is for the worse when something that was shown before is not shown any more, or something
fails: a result of a lower rank than before (passed, known deviation, unsupported, anything that
fails), a new case that fails, a case that is gone, a JSON value that is lost and nobody knew of, a
wrong worker that is not caught any more, a run that broke off. Times, shares of the work and
versions are told, but they are never for the worse: they vary from run to run, or were meant to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from conformance.harness.records import BAD
from conformance.harness.run import WORDS, astray, fleet, percent, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.harness.records import Case, Control, Loss, Outcome
    from conformance.harness.run import Run

Direction: TypeAlias = Literal["worse", "better", "other"]
_Key: TypeAlias = tuple[str, str, tuple[str, ...]]

_RANKS: Final[dict[Outcome, int]] = {"passed": 3, "deviation": 2, "unsupported": 1}
_FACTOR: Final = 2.0  # times as long, or as short
_SECONDS: Final = 1.0  # and by so much at least
_POINTS: Final = 0.15  # of the whole work
_CAME: Final = 60  # characters of what a value came as


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is not as it was.

    Attributes:
        before: as it was, or empty for what is new.
        after: as it is, or empty for what is gone.
        note: what else there is to say, in one line.
        case: the result that it is about, as it is or as it was, or None.
    """

    what: str
    before: str
    after: str
    direction: Direction = "other"
    note: str = ""
    case: Case | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """All that changed, by what it is about; what did not change is not in it."""

    sections: dict[str, tuple[Change, ...]]

    @property
    def worse(self) -> int:
        """How many changes are for the worse."""
        return sum(
            change.direction == "worse" for section in self.sections.values() for change in section
        )

    @property
    def sentence(self) -> str:
        """What it comes to."""
        if not self.sections:
            return "Nothing changed."
        total = sum(map(len, self.sections.values()))
        changes = f"{total:,} change{'s' * (total != 1)}"
        return (
            f"{changes}, {self.worse:,} for the worse."
            if self.worse
            else f"{changes}, none for the worse."
        )


def compare(before: Run, after: Run, *, part: bool = False) -> Changes:
    """Say what changed.

    Args:
        before: the run to compare with.
        after: the run that is judged.
        part: the second run was of some cases only, so that nothing it has not is held against it.
    """
    sections = {
        "Versions": _versions(before, after),
        "Results": _results(before, after),
        "New cases": _new(before, after),
        "Cases that are gone": () if part else _gone(before, after),
        "Known deviations": _deviations(before, after),
        "JSON": _losses(before, after, part=part),
        "Wrong workers": _controls(before, after, part=part),
        "Share of the work": _shares(before, after),
        "Durations": _durations(before, after),
    }
    found = {title: tuple(changes) for title, changes in sections.items()}
    return Changes({title: changes for title, changes in found.items() if changes})


def _versions(before: Run, after: Run) -> Iterator[Change]:
    old, new = _environment(before), _environment(after)
    for what in dict.fromkeys([*old, *new]):
        if old.get(what) != new.get(what):
            yield Change(what, old.get(what, ""), new.get(what, ""))
    if before.end and not after.end:
        yield Change("end of the run", "reached", "broke off", "worse")
    elif after.end and not before.end:
        yield Change("end of the run", "broke off", "reached", "better")


def _environment(run: Run) -> dict[str, str]:
    suite = run.suite
    if suite is None:
        return {}
    return {
        "suite": suite.version,
        **{f"core {core.version}": f"pgmq {core.pgmq}" for core in suite.cores},
        "PostgreSQL": suite.postgresql,
        "Python": suite.python,
        "platform": suite.platform,
        **{f"worker {one.name}": one.version or "unknown" for one in suite.workers},
    }


def _by_key(run: Run) -> dict[_Key, Case]:
    """Each case by what makes it the same one; of several results, the worst."""
    found: dict[_Key, Case] = {}
    for case in run.cases:
        key = (case.id, case.core, case.workers)
        known = found.get(key)
        if known is None or _rank(case.outcome) < _rank(known.outcome):
            found[key] = case
    return found


def _rank(outcome: Outcome) -> int:
    return _RANKS.get(outcome, 0)


def _pairs(before: Run, after: Run) -> Iterator[tuple[Case, Case]]:
    """The cases that both have."""
    old = _by_key(before)
    for key, case in _by_key(after).items():
        if key in old:
            yield old[key], case


def _title(case: Case) -> str:
    core = f" on {case.core}" if case.core else ""
    return f"{case.id}{core}, {fleet(case.workers)}"


def _note(case: Case) -> str:
    return case.problems[0] if case.problems else ""


def _results(before: Run, after: Run) -> Iterator[Change]:
    for old, new in _pairs(before, after):
        if old.outcome != new.outcome:
            change = _rank(new.outcome) - _rank(old.outcome)
            direction: Direction = "worse" if change < 0 else "better" if change else "other"
            was, now = WORDS[old.outcome], WORDS[new.outcome]
            yield Change(_title(new), was, now, direction, _note(new), new)
        elif new.outcome in BAD and old.problems != new.problems:
            yield Change(_title(new), WORDS[old.outcome], "otherwise", "other", _note(new), new)


def _new(before: Run, after: Run) -> Iterator[Change]:
    old = _by_key(before)
    for key, case in _by_key(after).items():
        if key not in old:
            direction: Direction = "worse" if case.outcome in BAD else "better"
            yield Change(_title(case), "", WORDS[case.outcome], direction, _note(case), case)


def _gone(before: Run, after: Run) -> Iterator[Change]:
    new = _by_key(after)
    for key, case in _by_key(before).items():
        if key not in new:
            direction: Direction = "other" if case.outcome in BAD else "worse"
            yield Change(_title(case), WORDS[case.outcome], "", direction, case=case)


def _deviations(before: Run, after: Run) -> Iterator[Change]:
    """Entries of the list that came, went, or say something else."""
    old, new = _listed(before), _listed(after)
    tried = {key for run in (before, after) for key in _by_key(run)}
    for key in sorted(tried):
        reason, now = old.get(key, ""), new.get(key, "")
        if reason != now and key in _by_key(before) and key in _by_key(after):
            case = _by_key(after)[key]
            yield Change(_title(case), reason, now, case=case)


def _listed(run: Run) -> dict[_Key, str]:
    return {key: case.deviation.reason for key, case in _by_key(run).items() if case.deviation}


def _losses(before: Run, after: Run, *, part: bool) -> Iterator[Change]:
    old = {(loss.value, loss.route): loss for loss in before.losses}
    new = {(loss.value, loss.route): loss for loss in after.losses}
    for key in dict.fromkeys([*old, *new]):
        a, b = old.get(key), new.get(key)
        if a == b or (b is None and part):
            continue
        what = f"{key[0]}, {' > '.join(key[1])}"
        unknown = b is not None and bool(b.came) and not b.excuse
        worse = b is None or (unknown and (a is None or not a.came or bool(a.excuse)))
        better = b is not None and not b.came and a is not None and bool(a.came)
        direction: Direction = "worse" if worse else "better" if better else "other"
        if a is not None or unknown:  # that a new value came unharmed is only to be expected
            yield Change(what, _came(a), _came(b), direction, b.excuse if b else "")


def _came(loss: Loss | None) -> str:
    if loss is None:
        return ""
    return f"came as {short(loss.came, _CAME)}" if loss.came else "unharmed"


def _controls(before: Run, after: Run, *, part: bool) -> Iterator[Change]:
    old = {control.worker: control for control in before.controls}
    new = {control.worker: control for control in after.controls}
    for worker in dict.fromkeys([*old, *new]):
        a, b = old.get(worker), new.get(worker)
        said, now = _caught(a), _caught(b)
        if said == now or (b is None and part):
            continue
        worse = (b is None and a is not None) or (b is not None and not b.caught)
        direction: Direction = "worse" if worse else "better" if b and a else "other"
        note = astray(b) if b and not b.caught else ""
        yield Change(worker, said, now, direction, note)


def _caught(control: Control | None) -> str:
    if control is None:
        return ""
    return f"caught by {', '.join(control.failed)}" if control.caught else "not caught"


def _shares(before: Run, after: Run) -> Iterator[Change]:
    for old, new in _pairs(before, after):
        a, b = before.shares(old), after.shares(new)
        if not new.mixed or not sum(a.values()) or not sum(b.values()):
            continue
        moved = [
            abs(a.get(name, 0) / sum(a.values()) - b.get(name, 0) / sum(b.values()))
            for name in {*a, *b}
        ]
        if max(moved) >= _POINTS:
            yield Change(_title(new), _parts(a), _parts(b))


def _parts(work: dict[str, int]) -> str:
    total = sum(work.values())
    return ", ".join(f"{name} {percent(tasks / total)}" for name, tasks in work.items())


def _durations(before: Run, after: Run) -> Iterator[Change]:
    for old, new in _pairs(before, after):
        if _differ(old.seconds, new.seconds):
            yield Change(_title(new), f"{old.seconds:.1f} s", f"{new.seconds:.1f} s")
    if before.end and after.end and _differ(before.end.seconds, after.end.seconds):
        a, b = before.end.seconds, after.end.seconds
        yield Change("the whole run", f"{a:.1f} s", f"{b:.1f} s")


def _differ(a: float, b: float) -> bool:
    low, high = sorted((a, b))
    return high - low >= _SECONDS and high >= low * _FACTOR
