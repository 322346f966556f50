"""Decide what is to be done to a database, or why nothing may be. Pure: values in, values out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pgflow_ref.install import pins as pinned

if TYPE_CHECKING:
    from pgflow_ref.install.found import Found
    from pgflow_ref.install.pins import Pins, Release

LEAST_SERVER: Final = 14
"""The oldest major version of PostgreSQL that every known core was installed and run on."""

_OLD_MESSAGE_COLUMNS: Final = 5  # of pgmq.message_record, in pgmq 1.4.4
_HEADERS_SINCE: Final = (1, 5)  # the pgmq that gave it the sixth

StepKind = Literal["extension", "pgmq", "realtime", "core", "replace"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        kind: `extension`: create the extension pgmq; `pgmq`: run the pinned SQL of pgmq;
            `realtime`: make the stand-in of realtime.send; `core`: run migrations; `replace`: put
            functions of ours in the place of the core's.
        names: of the files to run, or of the functions to replace.
    """

    kind: StepKind
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is to be done, for people."""

    reason: str


def plan(found: Found, wanted: str, pins: Pins | None = None) -> tuple[Step, ...] | Refusal:
    """The steps from what a database holds to the core that is wanted.

    Args:
        found: what the database holds.
        wanted: the version of the core.
        pins: what is known; by default the data of this package.

    Returns:
        The steps in order, none where the wanted core is there; or why it must not be touched.

    Example:
        >>> from pgflow_ref.install import Found
        >>> [step.kind for step in plan(Found(server=170010), "0.8.1")]
        ['pgmq', 'realtime', 'core']
    """
    pins = pins or pinned.load()
    release = pins.releases.get(wanted)
    if release is None:
        known = ", ".join(pins.releases)
        return Refusal(f"pgflow core {wanted!r} is not known; known are {known}")
    reason = _server(found) or _core(found, release) or _pgmq(found, release, pins)
    if reason is not None:
        return Refusal(reason)
    if found.core.version is not None:
        return ()
    return tuple(_steps(found, release, pins))


def record_has_grown(found: Found) -> bool:
    """Whether `pgmq.message_record` has, or will have, more columns than in pgmq 1.4.4.

    Cores before 0.8 cannot return such rows, and 0.8 cannot do without. An extension that is only
    offered is judged by its version.
    """
    if found.pgmq.kind == "none":
        return found.offered is None or _numbers(found.offered) >= _HEADERS_SINCE
    return len(found.pgmq.columns) > _OLD_MESSAGE_COLUMNS


def _steps(found: Found, release: Release, pins: Pins) -> list[Step]:
    steps = []
    if found.pgmq.kind == "none":
        offered = found.offered is not None
        steps.append(Step("extension") if offered else Step("pgmq", tuple(pins.pgmq.files)))
    if found.realtime == "none":
        steps.append(Step("realtime", ("realtime.send",)))
    steps.append(Step("core", release.files))
    if release.replaced and record_has_grown(found):
        steps.append(Step("replace", release.replaced))
    return steps


def _server(found: Found) -> str | None:
    major = found.server // 10_000
    if major >= LEAST_SERVER:
        return None
    return f"the server is PostgreSQL {major}; pgflow and pgmq need {LEAST_SERVER} or newer"


def _pgmq(found: Found, release: Release, pins: Pins) -> str | None:
    pgmq = found.pgmq
    if pgmq.kind == "foreign":
        return (
            "the schema pgmq is neither the extension nor pgmq "
            f"{pins.pgmq_version} as plain SQL ({pgmq.difference}); "
            "use another database, or drop that schema if nothing in it is needed"
        )
    if release.least_pgmq is None or record_has_grown(found):
        return None
    version = pgmq.version or found.offered
    return (
        f"pgflow core {release.version} needs pgmq {release.least_pgmq} or newer, "
        f"and this is the extension pgmq {version}"
    )


def _core(found: Found, release: Release) -> str | None:
    core = found.core
    if core.nearest is None or (core.version == release.version and found.pgmq.kind != "none"):
        return None
    if core.version == release.version:
        return (
            f"the database holds pgflow core {core.version}, but there is no pgmq; use another "
            "database, or drop the schema pgflow if nothing in it is needed"
        )
    if core.version is not None:
        return (
            f"the database holds pgflow core {core.version}, not {release.version}; "
            "use another database: migrating a core is left to its own tools"
        )
    return (
        "the schema pgflow holds no known version of the core, or a part of one; the nearest is "
        f"{core.nearest} ({core.difference}); use another database, or drop that schema if "
        "nothing in it is needed"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
