"""Every value of `fixtures/json/values.yaml` through every two workers, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.json.passage import Passage
from conformance.json.routes import cases_of, routes
from conformance.json.values import load

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.plugin import Conclude
    from conformance.harness.session import Session

CASES = cases_of


def test_route(
    case: Case,
    core: str,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    conclude: Conclude,
) -> None:
    """Nothing is lost but what is known to be."""
    ways = {
        made.id: way
        for made, way in zip(cases_of(session.adapters), routes(session.adapters), strict=True)
    }
    trial = Passage(case, ways[case.id], tmp_path, session.patience, core, values=load())
    trial.run(cluster)
    conclude(trial, trial.verdict.losses)
