"""Decide what is to be done to a database, or why nothing may be. Pure: values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pgflow_ref.install import pins as pinned
from pgflow_ref.install import stand_ins
from pgflow_ref.install.wanted import Wanted
from pgflow_ref.install.wanted_pgmq import WantedPgmq

if TYPE_CHECKING:
    from pgflow_ref.install.found import Found
    from pgflow_ref.install.pins import Pins, Release

LEAST_SERVER: Final = 14
"""The oldest major version of PostgreSQL that every known core was installed and run on."""

_OLD_MESSAGE_COLUMNS: Final = 5  # of pgmq.message_record, in pgmq 1.4.4
_HEADERS_SINCE: Final = (1, 5)  # the pgmq that gave it the sixth

StepKind = Literal["extension", "pgmq", "realtime", "stand_in", "core", "replace"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        kind: `extension`: create the extension pgmq; `pgmq`: run the SQL of pgmq; `realtime`: make
            the stand-in of realtime.send; `stand_in`: make those of extensions; `core`: run
            migrations; `replace`: put functions of ours in the place of the core's.
        names: of the files to run, of the extensions, or of the functions to replace.
    """

    kind: StepKind
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is to be done, for people."""

    reason: str


def plan(
    found: Found,
    core: str | Wanted,
    pgmq: WantedPgmq | None = None,
    *,
    force: bool = False,
    pins: Pins | None = None,
) -> tuple[Step, ...] | Refusal:
    """The steps from what a database holds to the core that is wanted.

    Args:
        found: what the database holds.
        core: the core that is wanted, or its version.
        pgmq: the pgmq that is wanted; None for the one that is there, else the extension that the
            server has to offer, else the usual one as plain SQL.
        force: whether what is newer than all that is known, or is not as it is pinned, may be
            installed where nobody has anything to lose.
        pins: what is known; by default the data of this package.

    Returns:
        The steps in order, none where the wanted core is there; or why it must not be touched.

    Example:
        >>> from pgflow_ref.install import Found
        >>> [step.kind for step in plan(Found(server=170010), "0.8.1")]
        ['pgmq', 'realtime', 'core']
    """
    pins = pins or pinned.load()
    if isinstance(core, str):
        release = pins.releases.get(core)
        if release is None:
            known = ", ".join(pins.releases)
            return Refusal(f"pgflow core {core!r} is not known; known are {known}")
        core = Wanted(core, core, core, core)
    release = pins.releases[core.like]
    reason = (
        _server(found)
        or _core(found, core)
        or _pgmq(found, core, release, pgmq, pins)
        or _unknown(found, core, force=force)
    )
    if reason is not None:
        return Refusal(reason)
    if found.core.nearest is not None:
        return ()
    return tuple(_steps(found, core, release, pgmq, pins))


def record_has_grown(found: Found, pgmq: WantedPgmq | None = None) -> bool:
    """Whether `pgmq.message_record` has, or will have, more columns than in pgmq 1.4.4.

    Cores before 0.8 cannot return such rows, and 0.8 cannot do without. An extension that is only
    offered is judged by its version, and what is not there yet by its file.
    """
    if found.pgmq.kind != "none":
        return len(found.pgmq.columns) > _OLD_MESSAGE_COLUMNS
    if pgmq is not None and not pgmq.is_plain:
        return pinned.numbers(pgmq.label) >= _HEADERS_SINCE
    if pgmq is not None and pgmq.columns is not None:
        return pgmq.columns > _OLD_MESSAGE_COLUMNS
    return (
        pgmq is not None or found.offered is None or pinned.numbers(found.offered) >= _HEADERS_SINCE
    )


def _steps(
    found: Found, core: Wanted, release: Release, pgmq: WantedPgmq | None, pins: Pins
) -> list[Step]:
    steps = []
    if found.pgmq.kind == "none":
        by_extension = found.offered is not None and pgmq in (None, WantedPgmq(found.offered))
        queue = (pgmq.release if pgmq else None) or pins.queue
        steps.append(
            Step("extension") if by_extension else Step("pgmq", tuple(queue.package.files))
        )
    if found.realtime == "none":
        steps.append(Step("realtime", ("realtime.send",)))
    there = {*found.extensions, *found.stand_ins}
    missing = tuple(name for name in stand_ins.needed(core.files) if name not in there)
    if missing:
        steps.append(Step("stand_in", missing))
    names = release.files if core.release else tuple(file.name for file in core.files)
    steps.append(Step("core", names))
    if release.replaced and record_has_grown(found, pgmq):
        steps.append(Step("replace", release.replaced))
    return steps


def _server(found: Found) -> str | None:
    major = found.server // 10_000
    if major >= LEAST_SERVER:
        return None
    return f"the server is PostgreSQL {major}; pgflow and pgmq need {LEAST_SERVER} or newer"


def _pgmq(
    found: Found, core: Wanted, release: Release, wanted: WantedPgmq | None, pins: Pins
) -> str | None:
    pgmq = found.pgmq
    if pgmq.kind == "foreign":
        known = " or ".join(pins.queues)
        return (
            f"the schema pgmq is neither the extension nor pgmq {known} as plain SQL "
            f"({pgmq.difference}); use another database, or drop that schema if nothing in it is "
            "needed"
        )
    if wanted is not None and (reason := _other_pgmq(found, wanted, pins)) is not None:
        return reason
    if release.least_pgmq is None or record_has_grown(found, wanted):
        return None
    version = pgmq.version or (wanted.label if wanted else found.offered)
    kind = "" if pgmq.kind == "plain" or (wanted and wanted.is_plain) else "the extension "
    return (
        f"pgflow core {core.label} needs pgmq {release.least_pgmq} or newer, "
        f"and this is {kind}pgmq {version}"
    )


def _other_pgmq(found: Found, wanted: WantedPgmq, pins: Pins) -> str | None:
    """Why the pgmq that is wanted cannot be had, if it cannot."""
    pgmq = found.pgmq
    file = "" if wanted.release else wanted.digest  # a known release is known by its catalog
    same = pgmq.files == file if pgmq.files and file else pgmq.version == wanted.label
    if pgmq.kind != "none" and not same:
        return (
            f"the database holds pgmq {pgmq.version}, not {wanted.label}; use another database: "
            "upgrading pgmq is left to its own tools"
        )
    if pgmq.kind != "none" or wanted.is_plain or found.offered == wanted.label:
        return None
    offered = f"the extension {found.offered}" if found.offered else "no such extension"
    return (
        f"pgmq {wanted.label} is not known as plain SQL (known are {', '.join(pins.queues)}), and "
        f"the server has {offered} to offer; give the path of its pgmq.sql, or use such a server"
    )


def _unknown(found: Found, core: Wanted, *, force: bool) -> str | None:
    """Why a core that nobody has pinned is not to be installed, if it is not."""
    if found.core.nearest is not None:  # it is there
        return None
    if core.altered:
        why = core.altered[0]
    elif core.newer:
        why = (
            f"pgflow core {core.label} is newer than all that is known, {', '.join(core.newer[:3])}"
            f"{' and more' if len(core.newer) > 3 else ''}"  # noqa: PLR2004 (what was named)
        )
    else:
        return None
    if not force:
        return f"{why}; --force installs it all the same, where nobody has anything to lose"
    if not found.has_nothing_to_lose:
        return (
            f"{why}; --force is for a database that holds nothing else, and this one has "
            f"{found.tables + found.queues} tables"
        )
    return None


def _core(found: Found, wanted: Wanted) -> str | None:
    core = found.core
    if core.nearest is None:
        return None
    if wanted.release:
        there = core.version == wanted.release
    else:
        there = core.mark is not None and core.mark.files == wanted.digest
    if there and found.pgmq.kind != "none":
        return None
    if there:
        return (
            f"the database holds pgflow core {core.label}, but there is no pgmq; use another "
            "database, or drop the schema pgflow if nothing in it is needed"
        )
    if core.label is not None:
        return (
            f"the database holds pgflow core {core.label}, not {wanted.label}; "
            "use another database: migrating a core is left to its own tools"
        )
    return (
        "the schema pgflow holds no known version of the core, or a part of one; the nearest is "
        f"{core.nearest} ({core.difference}); use another database, or drop that schema if "
        "nothing in it is needed"
    )
