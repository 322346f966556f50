"""Every text of `fixtures/json/errors.yaml` as the error of a task, with every worker alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.json.errors import Failing, cases_of

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.plugin import Conclude
    from conformance.harness.session import Session

CASES = cases_of


def test_errors(
    case: Case,
    core: str,
    worker_name: str,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    conclude: Conclude,
) -> None:
    """Each is stored as it is."""
    trial = Failing(case, [session.adapter(worker_name)], tmp_path, session.patience, core)
    trial.run(cluster)
    conclude(trial, trial.verdict.losses)
