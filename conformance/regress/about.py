"""Which case of the suite is about an object of the core, or a behaviour: its reference says so."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from conformance.harness.cases import FIXTURES, load_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conformance.harness.cases import Case
    from conformance.regress.findings import Finding

_OBJECT: Final = re.compile(
    r"(?:function|table|view|type|sequence) (pgflow\.\w+)(?:\(.*\)|: column (\w+))?"
)


@lru_cache
def cases() -> tuple[Case, ...]:
    """All cases that are tried with every worker alone.

    Raises:
        CaseError: a file is wrong.
    """
    return tuple(
        case for name in ("worker", "faults") for case in load_all(FIXTURES / "cases" / name)
    )


def case_about(name: str, cores: Sequence[str], listed: Iterable[Case] | None = None) -> str | None:
    """The id of a case whose reference names something; None where none does.

    One that is about one of the cores alone comes first: that is where they differ.

    Args:
        name: of a function or table with its schema, of a column with its table, or of a behaviour.
        cores: the versions of the two cores.
        listed: the cases to look at; all by default.

    Example:
        >>> from conformance.harness.cases import Case
        >>> def case(id, reference, core=""):
        ...     return Case(id, "", reference, {}, {}, (), core=core)
        >>> known = [case("a.a", "pgflow.f and pgflow.g"), case("b.b", "pgflow.f(x)", ">=0.7")]
        >>> [case_about(name, ["0.5.0", "0.7.3"], known) for name in ("pgflow.f", "pgflow.g", "f")]
        ['b.b', 'a.a', None]
    """
    word = re.compile(rf"(?<![\w.]){re.escape(name)}(?!\w|\.\w)")
    found = [one for one in (cases() if listed is None else listed) if word.search(one.reference)]
    admitted = [[one.admits(core) for core in cores] for one in found]
    apart = [one for one, on in zip(found, admitted, strict=True) if any(on) and not all(on)]
    run = [one for one, on in zip(found, admitted, strict=True) if any(on)]
    return next((one.id for one in (*apart, *run)), None)


def with_cases(found: Iterable[Finding], cores: Sequence[str]) -> list[Finding]:
    """Findings of the catalogs, those that differ with a case that is about the object, if any."""
    return [
        one if one.kind == "same" or one.case else replace(one, case=_case_of(one.what, cores))
        for one in found
    ]


def _case_of(what: str, cores: Sequence[str]) -> str | None:
    is_object = _OBJECT.fullmatch(what)
    if is_object is None:
        return None
    return case_about(".".join(filter(None, is_object.groups())), cores)
