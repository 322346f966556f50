"""Results that differ between two runs by chance, and not for the core's sake.

A case may fail because a machine was busy, or because a storm hit nobody. So whatever would be told
as another result is tried once more on each core that it is about. Where a core then gives a result
that the other gave too, the two are alike: it is told that the result varies, and the verdict is
no worse for it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from conformance.harness.changes import compare as compared
from conformance.harness.records import BAD
from conformance.harness.run import WORDS, Run, fleet
from conformance.regress.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from conformance.harness.changes import Change
    from conformance.harness.records import Case, Loss, Record

    Key = tuple[str, tuple[str, ...]]

T = TypeVar("T")

SUITE: Final = "suite"
"""The group of what is no result of a case: the suite itself made a mistake, or a process died."""

_RANKS: Final = {"passed": 3, "deviation": 2, "unsupported": 1}
_VARIES: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f-]{27})?\b|\d+(?:\.\d+)?")
_ROUTES: Final = "json"


def doubtful(before: Run, after: Run) -> frozenset[str]:
    """The ids of cases that have to be tried once more before anything is said of them.

    What a worker does not support is known before it runs, and never chance.

    Args:
        before: the run on the one core.
        after: that on the other, with ids that are comparable.
    """
    sections = compared(before, after).sections
    changes: list[Change] = [*sections.get("Results", ()), *sections.get("New cases", ())]
    outcomes = {(case.id, case.workers): case.outcome for case in before.cases}
    ids = {
        change.case.id
        for change in changes
        if change.case is not None
        and "unsupported" not in {change.case.outcome, outcomes.get(_key(change.case))}
        and (_key(change.case) in outcomes or change.case.outcome in BAD)
        and change.case.group != SUITE
    }
    ids |= {_route(loss) for loss in _apart(before.losses, after.losses)}
    known = {case.id for run in (before, after) for case in run.cases if case.group != SUITE}
    lost = [case for run in (before, after) for case in run.cases if case.group == SUITE]
    ids |= {one for case in lost for one in known if _is_of(case, one)}
    return frozenset(ids & known)


def _key(case: Case) -> Key:
    return case.id, case.workers


def is_about(case: Case, name: str) -> bool:
    """Whether a result is one of this case, or of the test that broke when it was to try it."""
    return case.id == name or (case.group == SUITE and _is_of(case, name))


def _is_of(lost: Case, name: str) -> bool:
    """Whether a test that broke was to try a case: its name has the id, between hyphens.

    Example:
        >>> from types import SimpleNamespace
        >>> broken = SimpleNamespace(id="test_alone[plain-retry.once-0.5.0]")
        >>> [_is_of(broken, name) for name in ("retry.once", "retry", "once")]
        [True, False, False]
    """
    inner = lost.id.partition("[")[2].rpartition("]")[0]
    return f"-{name}-" in f"-{inner}-"


def _route(loss: Loss) -> str:
    """The case that takes values this way."""
    return f"{_ROUTES}.{'_'.join(loss.route)}"


def _apart(before: Iterable[Loss], after: Iterable[Loss]) -> Iterator[Loss]:
    """Values that became another thing on either core, or that one run knows nothing of."""
    old, new = ({(one.value, one.route): one for one in side} for side in (before, after))
    for key in old.keys() | new.keys():
        one, other = old.get(key), new.get(key)
        if one != other:
            found = one or other
            assert found is not None
            yield found


def settled(
    first: tuple[Run, Run], again: tuple[Run, Run], labels: tuple[str, str]
) -> tuple[Run, Run, list[Finding]]:
    """Both runs with what is left when chance is taken out, and what varied.

    Args:
        first: the whole runs on both cores.
        again: runs of what was `doubtful`, perhaps without a result.
        labels: what the cores are called.
    """
    ids = {case.id for run in again for case in run.cases}
    tries = [_tries(*pair, ids) for pair in zip(first, again, strict=True)]
    chosen = _chosen(tries[0], tries[1], sign_of, lambda case: _RANKS.get(case.outcome, 0))
    routes = {id_ for id_ in ids if id_.startswith(f"{_ROUTES}.")}
    passages = [_passages(*pair, routes) for pair in zip(first, again, strict=True)]
    losses = _chosen(passages[0], passages[1], lambda loss: (loss.came, loss.excuse), lambda _: 0)
    runs = [
        _with(run, side, which, ids, routes)
        for run, side, which in zip(first, chosen, losses, strict=True)
    ]
    return runs[0], runs[1], [*_varied(tries, labels)]


def sign_of(case: Case) -> Hashable:
    """What makes two results the same one: how it ended, and for one that is bad in what words.

    Example:
        >>> from types import SimpleNamespace as A
        >>> old, new = (A(outcome="failed", problems=(f"after {n} s",)) for n in (6.1, 6.2))
        >>> sign_of(old) == sign_of(new)
        True
    """
    if case.outcome not in BAD:
        return (case.outcome,)
    return case.outcome, tuple(_VARIES.sub("#", problem) for problem in case.problems)


def _tries(first: Run, again: Run, ids: set[str]) -> dict[Key, list[Case]]:
    """All results of what was tried twice, the first one first."""
    found: dict[Key, list[Case]] = {}
    for case in (*first.cases, *again.cases):
        if case.id in ids and case.group != SUITE:
            found.setdefault(_key(case), []).append(case)
    return found


def _passages(
    first: Run, again: Run, routes: set[str]
) -> dict[tuple[str, tuple[str, ...]], list[Loss]]:
    found: dict[tuple[str, tuple[str, ...]], list[Loss]] = {}
    for loss in (*first.losses, *again.losses):
        if _route(loss) in routes:
            found.setdefault((loss.value, loss.route), []).append(loss)
    return found


def _chosen(
    old: Mapping[Key, Sequence[T]],
    new: Mapping[Key, Sequence[T]],
    sign: Callable[[T], Hashable],
    rank: Callable[[T], int],
) -> tuple[list[T], list[T]]:
    """One result of several for each side: one that both have, where there is one.

    Of several, and where there is none, the best; of equal ones the last.
    """
    sides: tuple[list[T], list[T]] = ([], [])
    for key in dict.fromkeys([*old, *new]):
        tries = old.get(key, ()), new.get(key, ())
        common = {*map(sign, tries[0])} & {*map(sign, tries[1])}
        for at, found in enumerate(tries):
            there = [one for one in found if sign(one) in common] or list(found)
            best = max(map(rank, there), default=0)
            sides[at].extend([one for one in there if rank(one) == best][-1:])
    return sides


def _with(
    run: Run, cases: Iterable[Case], losses: Iterable[Loss], ids: set[str], routes: set[str]
) -> Run:
    """A run with these results in the place of its own."""
    kept = [
        case
        for case in run.cases
        if case.id not in ids
        and not (case.group == SUITE and any(_is_of(case, name) for name in ids))
    ]
    others = [loss for loss in run.losses if _route(loss) not in routes]
    records: list[Record] = [*kept, *cases, *others, *losses, *run.controls]
    made = Run.of(records)
    return replace(made, suite=run.suite, end=run.end)


def _varied(
    tries: Sequence[Mapping[Key, Sequence[Case]]], labels: tuple[str, str]
) -> Iterator[Finding]:
    """The results that were not the same twice on one core."""
    for key in dict.fromkeys(key for side in tries for key in side):
        said = []
        worst: list[Case] = []
        for side, label in zip(tries, labels, strict=True):
            found = side.get(key, ())
            counts = Counter(case.outcome for case in found)
            if len(counts) > 1:
                words = " and ".join(f"{WORDS[one]} {_times(n)}" for one, n in counts.items())
                said.append(f"{words} on {label}")
                worst += [case for case in found if case.outcome in BAD]
        if said:
            problem = worst[0].problems[0] if worst and worst[0].problems else ""
            detail = f"It varies: {'; '.join(said)}{f': {problem}' if problem else ''}."
            case = worst[0] if worst else next(iter(found))
            what = f"{case.id}, {fleet(case.workers)}"
            script = case.script or case.repeat or None
            yield Finding("same", "operators", what, detail, case.id, script)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
