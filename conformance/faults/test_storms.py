"""Storms of faults over fleets of several languages: the cases of `fixtures/cases/storm.yaml`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from conformance.harness import storms
from conformance.harness.cases import FIXTURES, RunOf, load
from conformance.harness.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.plugin import Conclude
    from conformance.harness.servers import RestartableServer
    from conformance.harness.session import Session

CASES = "storm.yaml"
RUNS_FOR_A_FAULT: Final = 2


def test_storm(
    case: Case,
    core: str,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    conclude: Conclude,
    request: pytest.FixtureRequest,
) -> None:
    """Every run completes with the right result, whatever was done meanwhile."""
    if not any("recovery" in adapter.hello.capabilities for adapter in session.adapters):
        pytest.skip("a storm leaves tasks of dead workers behind, and no worker here recovers")
    case = sized(case, request.config.getoption("--faults"))
    trial = Trial(case, session.adapters, tmp_path, session.patience, core, session.seed)
    if "restarts" in _storm(case):
        server: RestartableServer = request.getfixturevalue("restartable")
        trial.run(server.cluster, server)
    else:
        trial.run(cluster)
    trial.note = storms.counted(trial.faults)
    if trial.problems:
        trial.problems.append(f"seed {session.seed}: {storms.described(trial.faults)}")
    conclude(trial)


def sized(case: Case, faults: int) -> Case:
    """The case with its share of so many faults, and with as many runs as they take."""
    listed = load(FIXTURES / "cases" / CASES)
    usual = sum(_storm(one)["faults"] for one in listed)
    mine = max(1, round(_storm(case)["faults"] * faults / usual))
    acts = tuple(
        {"storm": {**act["storm"], "faults": mine}} if "storm" in act else act for act in case.acts
    )
    return replace(case, acts=acts, runs=runs(mine * RUNS_FOR_A_FAULT))


def runs(count: int) -> tuple[RunOf, ...]:
    """So many runs, each with the output that it must have."""
    return tuple(
        RunOf({"n": n}, {"status": "completed", "output": {"d": 4 * n}})
        for n in range(1, count + 1)
    )


def _storm(case: Case) -> Mapping[str, Any]:
    return next(act["storm"] for act in case.acts if "storm" in act)
