"""The whole check: each part in turn on one server, and a verdict whatever becomes of them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from conformance.harness.databases import Cluster
from conformance.harness.memory import in_memory
from conformance.regress import behaviours, cases, catalogs, probes, requirements, schemas
from conformance.regress.cases import Wish
from conformance.regress.findings import CannotRun
from conformance.regress.sides import side
from conformance.regress.verdict import Verdict
from pgflow_ref import EmbeddedPostgres, __version__
from pgflow_ref.errors import PgflowError
from pgflow_ref.install import install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    """

    base: str
    candidate: str
    parts: tuple[str, ...]
    wish: Wish = field(default_factory=Wish)
    histories: int = behaviours.HISTORIES
    folder: Path = Path("build/regress")


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
        PgflowError: a core is not known, or the server does not start.
    """
    base, candidate = side(choice.base, "base"), side(choice.candidate, "candidate")
    parts: dict[str, list[Finding]] = {}
    failures: dict[str, str] = {}
    say("starting PostgreSQL")
    with in_memory():
        server = EmbeddedPostgres().start()
    try:
        subjects = Subjects(base, candidate, Cluster(server.url()), choice, say)
        for name in choice.parts:
            with _noted(name, failures):
                parts[name] = PARTS[name](subjects)
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


def _catalogs(given: Subjects) -> list[Finding]:
    """Install both, and compare what they put into a database."""
    databases = [f"regress_{one.role}" for one in (given.base, given.candidate)]
    reports = []
    try:
        for name, one in zip(databases, (given.base, given.candidate), strict=True):
            given.cluster.create(name)
            given.say(f"installing {one.label}")
            reports.append(install(given.cluster.url_of(name), one.core, say=given.say))
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
    return schemas.compare(old, new, answers, ours)


def _model(given: Subjects) -> list[Finding]:
    return behaviours.compare(
        given.base, given.candidate, given.cluster, given.say, given.choice.histories
    )


def _cases(given: Subjects) -> list[Finding]:
    return cases.compare(
        given.base, given.candidate, given.choice.wish, given.choice.folder, given.say
    )


PARTS: Final[dict[str, Part]] = {"catalogs": _catalogs, "model": _model, "cases": _cases}
"""What can be looked at, in order."""
