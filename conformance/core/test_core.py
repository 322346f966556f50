"""Every version of the core does what its model does, after any call, in any order."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, NamedTuple

import psycopg
import pytest

from conformance.core import evidence, machine, subject
from conformance.core.history import Counts, Difference
from conformance.core.subject import Subject
from conformance.harness import cores, hosts
from conformance.harness.cases import Case
from conformance.harness.plugin import carry
from conformance.harness.records import Case as Result
from pgflow_ref.profiles import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.harness.databases import Cluster
    from conformance.harness.session import Session
    from pgflow_ref.model import Profile

HISTORIES = 100
"""For each version: some 5,000 calls, in which nearly every behaviour of its profile shows."""

MORE = 300
"""As many again, and no more, until each behaviour has shown: which it does in which history,
depends on the versions of Python and hypothesis."""

FEW = 12
"""In a quick run: a wrong core is seen, but not every behaviour has to be."""

PROMISE = "Whatever is called, in any order, the core does what its model says."


CASE = Case(
    id="core.does_what_its_model_does",
    promise=PROMISE,
    reference="docs/core-behaviour.md",
    flow={},
    worker={},
    runs=(),
)


class Asked(NamedTuple):
    """What the command line asks for, beside the usual."""

    minutes: float | None
    seed: int
    replay: str | None
    quick: bool


@pytest.fixture
def asked(pytestconfig: pytest.Config, session: Session) -> Asked:
    """The options of the differential tests."""
    return Asked(
        pytestconfig.getoption("--differential-minutes"),
        session.seed,
        pytestconfig.getoption("--replay"),
        session.quick,
    )


@pytest.fixture
def compared(core: str, cluster: Cluster, session: Session) -> Iterator[Subject]:
    """A database with this core and a clock of its own."""
    if session.in_place or not hosts.is_superuser(session.server):
        pytest.skip("the model is compared in a database of its own, made by a superuser")
    found = cores.of(core)
    name = f"core_{cores.name_of(core).replace('.', '_')}"
    profile = load(found.like).profile
    try:
        subject.create(cluster, name, profile, session.patch, (core, session.pgmq))
        with psycopg.connect(cluster.url_of(name)) as connection:
            yield Subject(connection, profile)
            connection.rollback()
    finally:
        cluster.drop(name)


@pytest.mark.case(CASE)
def test_core_does_what_its_model_does(
    core: str, compared: Subject, asked: Asked, request: pytest.FixtureRequest
) -> None:
    """The differential test; it also fails where a behaviour of the profile never showed."""
    profile, began = compared.profile, time.monotonic()
    counts, found = Counts(), None
    try:
        counts = _play(compared, asked)
    except Difference as difference:
        found = evidence.shorten(difference, compared)
    missing = sorted(profile.behaviours - counts.behaviours.keys())
    usual = asked.replay is None and asked.minutes is None and not asked.quick
    covers = found is None and usual
    problems = list(found.problems) if found else []
    problems += [f"no history shows {name}, which its profile lists" for name in missing if covers]
    shown = len(profile.behaviours) - len(missing)
    repeat = ["./scripts/conformance", request.node.nodeid, f"--core={core}"]
    given = {name: request.config.getoption(name) for name in ("--core-patch", "--pgmq")}
    repeat += [f"{name}={value}" for name, value in given.items() if value]
    repeat += ["--force"] if request.config.getoption("--force") else []
    if found is not None:
        repeat.append(f"--replay={evidence.encode([call for call, _ in found.history])}")
    case = Result(
        id=f"{CASE.id}[{cores.of(core).label}]",
        group=CASE.group,
        promise=CASE.promise,
        reference=CASE.reference,
        core=cores.of(core).label,
        workers=(),
        outcome="failed" if problems else "passed",
        seconds=round(time.monotonic() - began, 3),
        problems=tuple(problems),
        calls=counts.calls,
        script=evidence.script(found) if found else "",
        repeat=shlex.join(repeat),
        note=_note(profile, counts, shown, asked),
    )
    carry(request.node, case, [])
    if problems:
        said = evidence.script(found) if found else "\n".join(problems)
        pytest.fail(f"{PROMISE}\n\n{said}\n\nto repeat: {case.repeat}", pytrace=False)


def _play(core: Subject, asked: Asked) -> Counts:
    """Play what was asked for.

    Raises:
        Difference: the model and the database differ.
    """
    if asked.replay is not None:
        return evidence.replay(evidence.decode(asked.replay), core.profile, core)
    if asked.minutes is not None:
        return machine.play_on(core, core.profile, asked.minutes * 60, asked.seed)
    if asked.quick:
        return machine.play(core, core.profile, FEW)
    counts = machine.play(core, core.profile, HISTORIES)
    machine.play_until(core, core.profile, counts, MORE)
    return counts


def _note(profile: Profile, counts: Counts, shown: int, asked: Asked) -> str:
    if asked.replay is not None:
        return "one history"
    seed = f", seed {asked.seed}" if asked.minutes is not None else ""
    return f"{counts.calls:,} calls, {shown} of {len(profile.behaviours)} behaviours shown{seed}"
