"""All cases on both cores: two runs of the suite, and what is different in their results."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import conformance
from conformance.harness.changes import compare as compared
from conformance.harness.kin import die_with_parent
from conformance.harness.outputs import STREAM
from conformance.harness.records import BAD, read_records
from conformance.harness.run import WORDS, Run, fleet
from conformance.harness.selection import HISTORIES
from conformance.regress import recorded, repeats
from conformance.regress.findings import CannotRun, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conformance.harness.changes import Change
    from conformance.harness.records import Case, Record
    from conformance.regress.findings import Kind, Who
    from conformance.regress.sides import Side

_ROOT: Final = Path(conformance.__file__).parent.parent
_GROUPS: Final[dict[str, Who]] = {"start": "clients", "compile": "clients", "core": "operators"}
"""Whom a case concerns, by its group; all others concern workers."""
_TOLD: Final = ("Results", "New cases", "Cases that are gone", "JSON", "Wrong workers")
_EXPECTED: Final = (0, 1)  # exit codes of a suite that has run
_FLEETS: Final = "fleet"
_CREW: Final = ("a fleet",)
_FEW: Final = "2"  # processes for what is tried once more
_GRACE: Final = 60.0  # seconds to stop servers and workers after an interruption


@dataclass(frozen=True, slots=True)
class Wish:
    """What to run of the suite.

    Attributes:
        workers: who takes part; none: the usual ones.
        cases: globs of ids; none: all.
        quick: only the cases of a quick run.
        seed: what all that is random is made from, the same on both cores.
        more: what else to say to the suite, such as `-n4`.
    """

    workers: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    quick: bool = False
    seed: int = 0
    more: tuple[str, ...] = ()


def compare(
    base: Side, candidate: Side, wish: Wish, folder: Path, say: Callable[[str], None]
) -> list[Finding]:
    """Run the suite on both cores, and say what is different.

    Args:
        base: the one core.
        candidate: the other.
        wish: what to run.
        folder: where the results go, each in a folder of its own.
        say: is told what takes long.

    Raises:
        CannotRun: the suite cannot run, or broke off.
    """
    both, labels = (base, candidate), (base.label, candidate.label)
    before, after = (_run(side, wish, folder / side.role, say) for side in both)
    _are_whole(before, after, *labels)
    varied: list[Finding] = []
    if doubtful := repeats.doubtful(before, after):
        say(f"once more, to rule out chance: {', '.join(sorted(doubtful))}")
        some = replace(wish, cases=tuple(sorted(doubtful)), more=("-n", _FEW, *wish.more))
        old, new = (
            _once_more(side, run, some, folder, say)
            for side, run in zip(both, (before, after), strict=True)
        )
        before, after, varied = repeats.settled((before, after), (old, new), labels)
    return [
        *findings(before, after, *labels),
        *varied,
        *recorded.compare(before.cases, after.cases, *labels),
    ]


def _once_more(side: Side, run: Run, wish: Wish, folder: Path, say: Callable[[str], None]) -> Run:
    """Run those cases again that this core has, a few at a time: the machine has less to do."""
    chosen = [one for one in wish.cases if any(repeats.is_about(case, one) for case in run.cases)]
    if not chosen:
        return Run.of([])
    again = _run(side, replace(wish, cases=tuple(chosen)), folder / f"{side.role}-again", say)
    if again.end is None:
        raise CannotRun(f"the second run of the suite on core {side.label} broke off")
    return again


def _run(side: Side, wish: Wish, folder: Path, say: Callable[[str], None]) -> Run:
    """Run the suite; what it prints is for people, and goes where our own progress goes."""
    say(f"running the cases on {side.label}")
    stream = folder / STREAM
    stream.unlink(missing_ok=True)  # else an older one would be taken for the answer
    core = side.core if side.wanted.source is None else str(side.wanted.source)
    command = [sys.executable, "-m", "conformance", "--core", core]
    command += ["--results", str(folder.resolve()), "--seed", str(wish.seed)]
    command += [word for name in wish.workers for word in ("--worker", name)]
    command += [word for glob in wish.cases for word in ("--case", glob)]
    # A case may be about one of the two cores alone.
    command += ["--case-may-lack"] if wish.cases else []
    command += ["--quick"] if wish.quick else []
    with _child([*command, *wish.more]) as process:
        code = process.wait()
    if code not in _EXPECTED:
        raise CannotRun(f"the suite cannot run on core {side.label}: exit code {code}; see above")
    if not stream.exists():
        raise CannotRun(f"the suite left no {stream}")
    return relabelled(Run.of(read_records(stream)), side.label)


@contextmanager
def _child(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone at the end, with the servers that it has started.

    It does not outlive this process either, however that ends.
    """
    process = subprocess.Popen(
        command,
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # one call into libc
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def relabelled(run: Run, label: str) -> Run:
    """A run as if its core had no name, so that a result can be found again on the other core.

    Who is in a fleet comes from the seed: it is one case, whoever it was.
    """
    suffix = f"[{label}]"
    cases = [
        replace(
            one,
            core="",
            id=one.id.removesuffix(suffix),
            workers=_CREW if one.group == _FLEETS else one.workers,
        )
        for one in run.cases
    ]
    records: list[Record] = [*cases, *run.losses, *run.controls]
    if run.suite is not None:
        records.insert(0, run.suite)
    if run.end is not None:
        records.append(run.end)
    return Run.of(records)


def findings(before: Run, after: Run, base: str, candidate: str) -> list[Finding]:
    """What two runs come to; both `relabelled`. Pure.

    Raises:
        CannotRun: one of them broke off, or has no result.
    """
    _are_whole(before, after, base, candidate)
    for case in before.cases:
        if case.group == repeats.SUITE:
            raise CannotRun(f"the suite itself could not try {case.id} on {base}")
    stuck = [case for case in after.cases if case.group == repeats.SUITE]
    sections = compared(before, after).sections
    told = {title: sections.get(title, ()) for title in _TOLD}
    told["Results"] = tuple(one for one in told["Results"] if not _is_alike(one, before))
    told["New cases"] = tuple(one for one in told["New cases"] if one.case not in stuck)
    told["Cases that are gone"] = tuple(
        one for one in told["Cases that are gone"] if not _is_stuck(one.case, stuck)
    )
    found = [
        *(_stuck(case, candidate) for case in stuck),
        *_results(told["Results"]),
        *_new(told["New cases"], candidate),
        *_gone(told["Cases that are gone"], base),
        *(_other("what becomes of JSON", change) for change in told["JSON"]),
        *(_other("a worker that is wrong on purpose", change) for change in told["Wrong workers"]),
    ]
    touched = {id(change.case) for changes in told.values() for change in changes}
    untouched = [case for case in after.cases if id(case) not in touched and case not in stuck]
    return [*found, *_same(untouched)]


def _is_alike(change: Change, before: Run) -> bool:
    """Whether a case is bad on both, in the same words but for numbers and names."""
    case = change.case
    assert case is not None
    old = [one for one in before.cases if (one.id, one.workers) == (case.id, case.workers)]
    return repeats.sign_of(case) in map(repeats.sign_of, old)


def _is_stuck(case: Case | None, stuck: Sequence[Case]) -> bool:
    return case is not None and any(repeats.is_about(one, case.id) for one in stuck)


def _stuck(case: Case, candidate: str) -> Finding:
    """A test that broke before it came to a result, twice."""
    said = (case.problems[0].strip().splitlines() or [""])[-1] if case.problems else "no reason"
    detail = f"The suite itself could not try it on {candidate}: {said}"
    return Finding("broken", "workers", case.id, detail, script=case.repeat or None)


def _are_whole(before: Run, after: Run, base: str, candidate: str) -> None:
    """A run that broke off proves nothing."""
    for run, label in ((before, base), (after, candidate)):
        if run.end is None or not run.cases:
            raise CannotRun(f"the run of the suite on core {label} broke off, or had no result")


def _results(changes: Sequence[Change]) -> Iterator[Finding]:
    """Each result that is another one; what a worker does not support for one reason, together."""
    groups: dict[tuple[object, ...], list[Change]] = {}
    for number, change in enumerate(changes):
        case = change.case
        assert case is not None
        is_alone = WORDS["unsupported"] not in {change.before, change.after}
        reason = change.note if case.outcome == "unsupported" else ""
        about = (
            change.before,
            change.after,
            case.workers,
            _who(case),
            case.group == HISTORIES,
            reason,
        )
        groups.setdefault((*about, number if is_alone else None), []).append(change)
    for (before, after, *_), found in groups.items():
        one, ids = _result(found[0]), [change.case.id for change in found if change.case]
        if len(ids) == 1:
            yield one
            continue
        note = f": {found[0].note}" if found[0].note else ""
        detail = f"{before} before, {after} now{note}. The cases: {', '.join(ids)}."
        workers = one.what.partition(", ")[2]
        yield replace(one, what=f"{len(ids)} cases, {workers}", detail=detail)


def _result(change: Change) -> Finding:
    """A result that is another one."""
    case = change.case
    assert case is not None
    kind: Kind = "changed"
    # A core of which no histories are recorded leaves none that would be wrong.
    is_new = case.group == HISTORIES and case.outcome == "unsupported"
    if change.direction == "worse" and case.outcome in {*BAD, "unsupported"} and not is_new:
        kind = "broken"
    note = f": {change.note}" if change.note else ""
    detail = f"{change.before} before, {change.after} now{note}. The promise: {case.promise}"
    return _finding(kind, case, detail)


def _finding(kind: Kind, case: Case, detail: str) -> Finding:
    what = f"{case.id}, {fleet(case.workers)}"
    return Finding(kind, _who(case), what, detail, case.id, case.script or case.repeat or None)


def _who(case: Case) -> Who:
    return _GROUPS.get(case.group, "workers")


def _new(changes: Sequence[Change], candidate: str) -> Iterator[Finding]:
    """Cases that the base has nothing to do with: those that fail one by one, the rest together."""
    for change in changes:
        case = change.case
        assert case is not None
        if case.outcome in BAD:
            note = f": {change.note}" if change.note else ""
            yield _finding("broken", case, f"A case of {candidate} alone: {change.after}{note}.")
    yield from _grouped([change for change in changes if change.direction != "worse"], candidate)


def _gone(changes: Sequence[Change], base: str) -> Iterator[Finding]:
    """Cases that are about the base alone: what they promise is promised no more."""
    yield from _grouped(changes, base)


def _grouped(changes: Sequence[Change], label: str) -> Iterator[Finding]:
    groups: dict[str, list[Case]] = {}
    for change in changes:
        assert change.case is not None
        groups.setdefault(change.case.group, []).append(change.case)
    for group, cases in groups.items():
        ids = list(dict.fromkeys(case.id for case in cases))
        counts = Counter(case.outcome for case in cases)
        outcomes = ", ".join(f"{number} {WORDS[one]}" for one, number in counts.items())
        detail = (
            f"Cases that are about {label} and not about the other: {', '.join(ids)}; {outcomes}."
        )
        what = f"{len(ids)} case{'s' * (len(ids) != 1)} of {group}"
        yield Finding("changed", _who(cases[0]), what, detail, ids[0], cases[0].repeat or None)


def _other(what: str, change: Change) -> Finding:
    kind: Kind = "broken" if change.direction == "worse" else "changed"
    note = f" ({change.note})" if change.note else ""
    detail = f"{change.before or 'nothing'} before, {change.after or 'nothing'} now{note}."
    return Finding(kind, "workers", f"{what}: {change.what}", detail)


def _same(cases: Sequence[Case]) -> Iterator[Finding]:
    """The results that are as they were, by group; what fails on both cores fails loudly."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    for group, found in groups.items():
        counts = Counter(case.outcome for case in found)
        outcomes = ", ".join(f"{number} {WORDS[one]}" for one, number in counts.items())
        bad = [case.id for case in found if case.outcome in BAD]
        both = f" Bad on both: {', '.join(dict.fromkeys(bad))}." if bad else ""
        ids = {case.id for case in found}
        what = f"{len(ids)} case{'s' * (len(ids) != 1)} of {group}"
        yield Finding("same", _who(found[0]), what, f"Results on both: {outcomes}.{both}")
