"""One worker at a time: every case of `fixtures/cases/worker` for every worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.harness.trial import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.plugin import Conclude
    from conformance.harness.session import Session

CASES = "worker"


def test_alone(
    case: Case,
    core: str,
    worker_name: str,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    conclude: Conclude,
) -> None:
    """The case's promise holds with this worker alone."""
    trial = Trial(case, [session.adapter(worker_name)], tmp_path, session.patience, core)
    trial.run(cluster)
    conclude(trial)
