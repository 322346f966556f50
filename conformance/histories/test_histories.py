"""The flows of `fixtures/cases/histories.yaml` leave the histories of `fixtures/histories`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.histories.played import RECORD, Played

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.plugin import Conclude
    from conformance.harness.session import Session

CASES = "histories.yaml"


def test_history(
    case: Case,
    core: str,
    worker_name: str,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    conclude: Conclude,
    pytestconfig: pytest.Config,
) -> None:
    """All that happens is what was recorded, whatever the worker's language."""
    trial = Played(case, [session.adapter(worker_name)], tmp_path, session.patience, core)
    trial.records = pytestconfig.getoption(RECORD)
    trial.run(cluster)
    conclude(trial)
