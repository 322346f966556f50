"""What flows leave behind on either core, where the suite has shown that it is as recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.harness.selection import HISTORIES
from conformance.histories import recording
from conformance.regress.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.harness.records import Case

_WHAT: Final = "histories of flows"


def compare(
    before: Iterable[Case], after: Iterable[Case], base: str, candidate: str
) -> list[Finding]:
    """One finding about all flows that left on each core what is recorded of it.

    A flow that left something else is a result of the suite, and told as one. What is recorded of
    the cores themselves may differ: that is no promise broken, and worth to be known.

    Args:
        before: the results on the base.
        after: those on the candidate.
        base: the label of the one core.
        candidate: that of the other.
    """
    shown = _shown(before) & _shown(after)
    changed: list[str] = []
    same: list[str] = []
    for case in sorted(shown):
        paths = [recording.path_of(case, core) for core in (base, candidate)]
        if all(path.exists() for path in paths):
            lines = recording.difference(*map(recording.load, paths))
            (changed if lines else same).append(case.partition(".")[2])
    if changed:
        detail = (
            f"{len(changed)} of {len(changed) + len(same)} flows leave something else in the"
            f" database, or send something else: {', '.join(changed)}."
        )
        script = f"pgflow-conformance histories {base} {candidate}"
        return [Finding("changed", "workers", _WHAT, detail, script=script)]
    if same:
        detail = f"{len(same)} flows leave the same, change by change and event by event."
        return [Finding("same", "workers", _WHAT, detail)]
    return []


def _shown(cases: Iterable[Case]) -> set[str]:
    """The flows that left what was recorded, with every worker that took part."""
    listed = [case for case in cases if case.group == HISTORIES]
    return {case.id for case in listed if case.outcome == "passed"} - {
        case.id for case in listed if case.outcome != "passed"
    }
