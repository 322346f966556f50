"""What is found of two cores, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind: TypeAlias = Literal["same", "changed", "broken"]
Who: TypeAlias = Literal["workers", "clients", "operators"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""From good to bad: a verdict is as bad as its worst finding."""
WHO: Final[tuple[Who, ...]] = get_args(Who)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is the same in two cores, or is not.

    Attributes:
        kind: `same`; `changed`, for what is done otherwise, or is new; or `broken`, for what works
            with the base and does not with the candidate: a call that is refused, a column that is
            gone, a case that fails, something lost.
        who: whom it concerns first: those who run tasks, those who define flows and start runs, or
            those who install, upgrade and look after the database.
        what: the subject in a few words, such as `pgflow.start_tasks`.
        detail: what is to be said of it, in whole sentences, one line.
        case: the id of the case of the suite that shows it, or None; for an object of the catalogs
            of one that is about the object, whatever its result.
        script: SQL or a command that shows it, several lines perhaps, or None.

    Example:
        >>> Finding("changed", "workers", "map steps", "A step may be of type map.").kind
        'changed'
    """

    kind: Kind
    who: Who
    what: str
    detail: str
    case: str | None = None
    script: str | None = None


def worst(findings: Iterable[Finding]) -> Kind:
    """The worst kind among findings; `same` where there are none.

    Example:
        >>> worst([Finding("changed", "workers", "a", "b"), Finding("same", "workers", "c", "d")])
        'changed'
    """
    return max((one.kind for one in findings), key=KINDS.index, default="same")


class CannotRun(Exception):
    """A part of the check cannot run, so there is no verdict; the message says why."""
