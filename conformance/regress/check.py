"""The whole check: each part in turn on one server, and a verdict whatever becomes of them."""

from __future__ import annotations

import shlex
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from conformance.harness import cores
from conformance.harness.databases import Cluster
from conformance.harness.memory import in_memory
from conformance.regress import (
    about,
    behaviours,
    cases,
    catalogs,
    crossing,
    probes,
    requirements,
    schemas,
    upgrading,
)
from conformance.regress.cases import Wish
from conformance.regress.findings import CannotRun
from conformance.regress.sides import pair
from conformance.regress.verdict import Verdict
from pgflow_ref import EmbeddedPostgres, __version__
from pgflow_ref.errors import PgflowError
from pgflow_ref.install import wanted_pgmq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conformance.regress.findings import Finding
    from conformance.regress.sides import Side
    from pgflow_ref.install import Report

    Part = Callable[["Subjects"], list[Finding]]


@dataclass(frozen=True)
class Choice:
    """What was asked for.

    Attributes:
        base: a core, a version or a path.
        candidate: another.
        parts: what to look at, names of `PARTS`.
        wish: what to run of the suite.
        histories: how many random histories the model plays on each core.
        folder: where results go.
        pgmq: the version or path of pgmq, or None for the usual one.
        force: whether a core's files may be other than they are pinned.
    """

    base: str
    candidate: str
    parts: tuple[str, ...]
    wish: Wish = field(default_factory=Wish)
    histories: int = behaviours.HISTORIES
    folder: Path = Path("build/regress")
    pgmq: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Subjects:
    """What every part gets."""

    base: Side
    candidate: Side
    cluster: Cluster
    choice: Choice
    say: Callable[[str], None]


def check(choice: Choice, say: Callable[[str], None]) -> Verdict:
    """Do it all.

    Args:
        choice: what was asked for.
        say: is told what takes long.

    Raises:
        CannotRun: the two cores cannot be compared.
        PgflowError: a core or pgmq is not known, or the server does not start.
    """
    base, candidate = pair(choice.base, choice.candidate, force=choice.force)
    if choice.pgmq is not None:
        wanted_pgmq(choice.pgmq)
    parts: dict[str, list[Finding]] = {}
    failures: dict[str, str] = {}
    say("starting PostgreSQL")
    with in_memory():
        server = EmbeddedPostgres().start()
    try:
        subjects = Subjects(base, candidate, Cluster(server.url()), choice, say)
        for name in choice.parts:
            with _noted(name, failures):
                parts[name] = _with_scripts(PARTS[name](subjects), name, choice)
        facts = {"PostgreSQL": server.version, "pgflow-ref": __version__}
    finally:
        server.stop()
    return Verdict(
        base=base.label,
        candidate=candidate.label,
        parts=parts,
        failures=failures,
        left_out=tuple(name for name in PARTS if name not in choice.parts),
        facts={**facts, "seed": str(choice.wish.seed)},
    )


@contextmanager
def _noted(name: str, failures: dict[str, str]) -> Iterator[None]:
    """What keeps one part from running does not keep the others; there is no verdict, though."""
    try:
        yield
    except (CannotRun, PgflowError, psycopg.Error) as error:
        failures[name] = str(error)
    except Exception as error:  # noqa: BLE001  # what others have found, perhaps for long, is kept
        traceback.print_exc()
        failures[name] = f"a mistake of the check itself: {type(error).__name__}: {error}"


def _with_scripts(found: Iterable[Finding], part: str, choice: Choice) -> list[Finding]:
    """What differs and has no script of its own is shown by its part of the check, once more."""
    command = ["./scripts/regress", choice.base, choice.candidate, "--only", part]
    command += [f"--worker={name}" for name in choice.wish.workers]
    command += [] if choice.pgmq is None else [f"--pgmq={choice.pgmq}"]
    command += ["--force"] if choice.force else []
    script = shlex.join([*command, f"--seed={choice.wish.seed}"])
    return [
        one if one.kind == "same" or one.script else replace(one, script=script) for one in found
    ]


def _catalogs(given: Subjects) -> list[Finding]:
    """Install both, and compare what they put into a database."""
    databases = [f"regress_{one.role}" for one in (given.base, given.candidate)]
    reports = []
    try:
        for name, one in zip(databases, (given.base, given.candidate), strict=True):
            given.cluster.create(name)
            given.say(f"installing {one.label}")
            url = given.cluster.url_of(name)
            reports.append(cores.put(url, one.core, given.choice.pgmq, given.say))
        return [
            *requirements.compare(given.base, given.candidate, *reports),
            *_compared(given, databases, reports),
        ]
    finally:
        for name in databases:
            given.cluster.drop(name)


def _compared(given: Subjects, databases: list[str], reports: list[Report]) -> list[Finding]:
    with (
        given.cluster.connect(databases[0]) as base,
        given.cluster.connect(databases[1]) as candidate,
    ):
        old, new = catalogs.read(base), catalogs.read(candidate)
        answers = probes.put(old.functions.values(), base, candidate)
    ours = {name for report in reports for name in report.replaced}
    versions = given.base.wanted.version, given.candidate.wanted.version
    return about.with_cases(schemas.compare(old, new, answers, ours), versions)


def _model(given: Subjects) -> list[Finding]:
    return behaviours.compare(
        given.base,
        given.candidate,
        given.cluster,
        given.say,
        given.choice.histories,
        pgmq=given.choice.pgmq,
        seed=given.choice.wish.seed,
    )


def _crossing(given: Subjects) -> list[Finding]:
    workers = given.choice.wish.workers
    return crossing.compare(given.base, given.candidate, workers, given.say, given.choice.pgmq)


def _upgrading(given: Subjects) -> list[Finding]:
    workers = given.choice.wish.workers
    return upgrading.compare(given.base, given.candidate, workers, given.say, given.choice.pgmq)


def _cases(given: Subjects) -> list[Finding]:
    return cases.compare(
        given.base, given.candidate, given.choice.wish, given.choice.folder, given.say
    )


PARTS: Final[dict[str, Part]] = {
    "catalogs": _catalogs,
    "model": _model,
    "crossing": _crossing,
    "upgrading": _upgrading,
    "cases": _cases,
}
"""What can be looked at, in order: what takes longest comes last."""
