"""Which cases each wrong worker goes through, and whether the suite has noticed it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from conformance.control import wrong
from conformance.harness import records
from conformance.harness.adapters import Adapter, Hello
from conformance.harness.cases import FIXTURES, CaseError, load_all
from conformance.workers.plain.plain import HELLO

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from conformance.harness.cases import Case
    from conformance.harness.trial import Trial

RIGHT: Final = "right"
"""The worker of the control group with which nothing is wrong."""

_SHORT: Final = 5.0  # seconds for what never comes


@dataclass(frozen=True)
class Member:
    """A worker of the control group.

    Attributes:
        name: how it is called.
        does: what it does wrong, in a sentence.
        caught_by: see `wrong.Wrong`, as are `keeps` and `waits`.
    """

    name: str
    does: str
    caught_by: Mapping[str, str]
    keeps: tuple[str, ...] = ()
    waits: bool = False

    @property
    def adapter(self) -> Adapter:
        """How the suite starts it."""
        command = (sys.executable, "-m", "conformance.control.wrong", self.name)
        hello = Hello("wrong", HELLO["version"], HELLO["handler_input"], (*HELLO["capabilities"],))
        return Adapter(self.name, "python", command, hello=hello)


def members() -> list[Member]:
    """The wrong workers, in the order of the page that shows them."""
    return [
        Member(name, (kind.__doc__ or "").strip(), kind.caught_by, kind.keeps, kind.waits)
        for name, kind in wrong.EVERY.items()
        if name != RIGHT
    ]


@dataclass(frozen=True)
class Group:
    """The control group and the cases that it goes through.

    Attributes:
        members: its wrong workers.
        cases: all that a worker alone is tried with, by id.

    Raises:
        CaseError: a worker is to be caught by no case, or by one that there is not.
    """

    members: Sequence[Member]
    cases: Mapping[str, Case]

    def __post_init__(self) -> None:
        for member in self.members:
            if not member.caught_by or not member.keeps:
                raise CaseError(f"{member.name}: it needs a case that catches it and one it passes")
            for case in (*member.caught_by, *member.keeps):
                if case not in self.cases:
                    raise CaseError(f"{member.name}: it names {case}, and there is no such case")
                if case in member.caught_by and case in member.keeps:
                    raise CaseError(f"{member.name}: it cannot both fail and pass {case}")

    @property
    def named(self) -> tuple[str, ...]:
        """The cases that any of them names, in the order in which they do."""
        named = [case for one in self.members for case in (*one.caught_by, *one.keeps)]
        return tuple(dict.fromkeys(named))

    def tries(self, member: Member, *, everything: bool = False) -> list[Case]:
        """The cases that a worker goes through: those that it names, or all there are."""
        if everything:
            wanted: Iterable[str] = self.cases
        elif member.name == RIGHT:
            wanted = self.named
        else:
            wanted = (*member.caught_by, *member.keeps)
        return [self._tried(member, case, everything=everything) for case in wanted]

    def _tried(self, member: Member, name: str, *, everything: bool) -> Case:
        """A case; one that waits for what never comes is not to wait for long."""
        case = self.cases[name]
        hurries = name in member.caught_by or (everything and name not in member.keeps)
        if member.waits and hurries:
            return replace(case, within=min(case.within, _SHORT))
        return case

    def member(self, name: str) -> Member:
        """The worker with this name."""
        right = Member(RIGHT, "It does nothing wrong.", {})
        return next((one for one in self.members if one.name == name), right)


def load(names: Container[str] | None = None) -> Group:
    """The control group, or those of it that are named, with all cases of a worker alone.

    Raises:
        CaseError: a case file is wrong, or the group does not fit the cases.
    """
    chosen = [one for one in members() if names is None or one.name in names]
    return Group(chosen, {one.id: one for one in load_all(FIXTURES / "cases" / "worker")})


def judge(member: Member, trials: Iterable[Trial]) -> tuple[records.Control, list[str]]:
    """What became of a worker in these cases, and what is not as it should be.

    Of a case that it does not name, nothing is expected.
    """
    tried = list(trials)
    named = {*member.caught_by, *member.keeps}
    failed = tuple(trial.case.id for trial in tried if trial.outcome == "failed")
    passed = tuple(trial.case.id for trial in tried if trial.outcome == "passed")
    others = tuple(case for case in failed if case not in named)
    must_fail = (*member.caught_by, *others)
    control = records.Control(member.name, member.does, must_fail, failed, passed)
    return control, [problem for trial in tried for problem in _astray(member, trial)]


def _astray(member: Member, trial: Trial) -> Iterator[str]:
    """What a trial shows that it should not."""
    case, said = trial.case, "; ".join(trial.problems)
    reason = member.caught_by.get(case.id)
    if reason is None and case.id not in member.keeps and member.name != RIGHT:
        return
    if trial.outcome not in {"failed", "passed"}:
        yield f"{case.id} was not tried: {said}"
    elif reason is None and trial.outcome == "failed":
        yield f"it fails {case.id}, though it keeps that promise: {said}"
    elif reason is not None and trial.outcome == "passed":
        yield f"it passes {case.id}, though it breaks that promise: {case.promise}"
    elif reason is not None and reason not in said:
        yield f"it fails {case.id} for another reason than {reason!r}: {said}"
