"""Workers that are wrong on purpose: the suite fails each where it should, and nowhere else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from conformance.control.group import RIGHT, Group, judge, load, members
from conformance.harness import cores, records
from conformance.harness.plugin import carry
from conformance.harness.session import USUAL_CORES
from conformance.harness.trial import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.session import Session

QUICK = (RIGHT, "drops-falsy-output", "acknowledges-twice", "takes-too-many", "loses-error-text")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each worker of the group; of a few in a quick run."""
    names = [RIGHT, *(member.name for member in members())]
    metafunc.parametrize("name", QUICK if metafunc.config.getoption("--quick") else names)


@pytest.fixture(scope="session")
def group(session: Session) -> Group:
    """The control group, or the few of a quick run: the right one tries what those name."""
    return load(QUICK if session.quick else None)


def test_control(
    name: str,
    group: Group,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """It fails the cases that name the promises it breaks, for that reason, and no others."""
    lacking = set(USUAL_CORES) - {cores.of(core).label for core in session.named}
    if lacking:
        pytest.skip(f"it is about the suite, on its usual cores; there is no {min(lacking)} here")
    began = time.monotonic()
    member = group.member(name)
    everything = request.config.getoption("--control-table")

    def tried(number: int, case: Case) -> Trial:
        folder = tmp_path / str(number)
        folder.mkdir()
        core = next(core for core in USUAL_CORES if case.admits(core))
        trial = Trial(case, [member.adapter], folder, session.patience, core)
        trial.run(cluster)
        return trial

    trials = [tried(*one) for one in enumerate(group.tries(member, everything=everything))]
    control, problems = judge(member, trials)
    case = records.Case(
        id=f"control.{name}",
        group="control",
        promise=f"The suite notices a worker of which this is true: {member.does}",
        reference="docs/control-group.md",
        core="",
        workers=(name,),
        outcome="failed" if problems else "passed",
        seconds=round(time.monotonic() - began, 3),
        problems=tuple(problems),
        repeat=f"./scripts/conformance '{request.node.nodeid}'",
    )
    carry(request.node, case, [], [] if name == RIGHT else [control])
    if problems:
        pytest.fail(
            "\n".join([case.promise, *problems, f"to repeat: {case.repeat}"]), pytrace=False
        )
