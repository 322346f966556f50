"""What two cores need of a server, and what the installer had to do for them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from conformance.regress import shows
from conformance.regress.findings import Finding
from conformance.regress.sides import distinct, edited, lacking
from pgflow_ref.install import pins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.regress.sides import Side
    from pgflow_ref.install import Report


def compare(base: Side, candidate: Side, before: Report, after: Report) -> list[Finding]:
    """Say what is needed now and was not before.

    Args:
        base: the one core.
        candidate: the other.
        before: what the installer said of the one.
        after: what it said of the other.
    """
    return [
        *_known(base, candidate),
        *_pgmq(base, candidate),
        *_migrations(base, candidate),
        *_installer(before, after),
    ]


def _known(base: Side, candidate: Side) -> Iterator[Finding]:
    """Which of the two nobody has a profile of, and what that means for all that follows."""
    for one in distinct(base, candidate):
        if one.is_known:
            continue
        newer = f" It is newer than all that is known: {', '.join(one.wanted.newer)}."
        detail = (
            f"{one.label} is pinned nowhere. It is held against the model of {one.like}, which it"
            f" is most like, and cases are chosen as for {one.wanted.version}."
            f"{newer if one.wanted.newer else ''}"
        )
        yield Finding("same", "operators", f"core {one.label}", detail)


def _pgmq(base: Side, candidate: Side) -> Iterator[Finding]:
    releases = pins.load().releases
    old, new = (releases[one.like].least_pgmq for one in (base, candidate))
    if old != new:
        needs = f"It needs pgmq {new} or newer" if new else "It runs on any pgmq"
        needed = f"{base.label} needs {old} or newer" if old else f"{base.label} runs on any"
        detail = f"{needs}; {needed}. On an older one it cannot be installed: upgrade pgmq first."
        script = (
            "-- what a server can have; where pgmq is plain SQL, whoever installed it knows\n"
            "SELECT version, installed FROM pg_available_extension_versions WHERE name = 'pgmq';"
        )
        yield Finding("changed", "operators", "pgmq", detail, script=script)
    elif new:
        yield Finding("same", "operators", "pgmq", f"Both need pgmq {new} or newer.")


def _migrations(base: Side, candidate: Side) -> Iterator[Finding]:
    """What there is to run for whoever has the base."""
    old, new = base.files, candidate.files
    script = _diff(base, candidate)
    more = lacking(old, new)
    if more is None:
        detail = (
            f"The migrations of {base.label} are not the first of those of {candidate.label}: none"
            " lead from the one to the other."
        )
        yield Finding("changed", "operators", "migrations", detail, script=script)
    elif more:
        names = ", ".join(file.name for file in more)
        detail = f"From {base.label} on there are {len(more)} to run: {names}."
        yield Finding("changed", "operators", "migrations", detail, script=script)
    if changed := edited(old, new):
        detail = (
            f"{', '.join(changed)}: {candidate.label} has other files of these names. A database"
            f" that holds {base.label} has run them, and does not run them again."
        )
        what = "migrations that were edited"
        yield Finding("changed", "operators", what, detail, script=script)


def _diff(base: Side, candidate: Side) -> str | None:
    """Commands that show which files differ; None where one is neither a version nor a folder."""
    lines, folders = [], []
    for one in (base, candidate):
        source = one.wanted.source
        if source is None:
            lines.append(shlex.join(["pgflow-ref", "core", "files", one.core, one.role]))
            folders.append(one.role)
        elif source.is_dir():
            folders.append(str(source))
        else:
            return None
    return "\n".join([*lines, shlex.join(["diff", "-rq", *folders])])


def _installer(before: Report, after: Report) -> Iterator[Finding]:
    """Functions that the installer replaces, and stand-ins for what a plain server lacks."""
    old, new = {*before.replaced}, {*after.replaced}
    for name in sorted(old - new):
        detail = (
            f"On pgmq {before.pgmq} {before.core}'s own cannot return rows, so the installer put in"
            f" one of ours; {after.core} needs none."
        )
        what, script = f"function {name}, replaced", shows.comment(name)
        yield Finding("changed", "operators", what, detail, script=script)
    for name in sorted(new - old):
        detail = (
            f"On pgmq {after.pgmq} {after.core}'s own cannot return rows: ours is in its place."
        )
        what, script = f"function {name}, replaced", shows.comment(name)
        yield Finding("changed", "operators", what, detail, script=script)
    for name in sorted({*after.stand_ins} - {*before.stand_ins}):
        detail = f"{after.core} needs {name}, and a plain server has none; the installer stood in."
        yield Finding("changed", "operators", f"stand-in for {name}", detail)
    both = sorted({*before.stand_ins} & {*after.stand_ins})
    if both:
        detail = f"A plain server has none, so the installer stood in for both: {', '.join(both)}."
        yield Finding("same", "operators", "stand-ins", detail)
