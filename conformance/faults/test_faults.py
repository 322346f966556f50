"""One worker at a time, and one fault at a chosen point: the cases of `fixtures/cases/faults`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.harness.strikes import NEED_SERVER
from conformance.harness.trial import Trial

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.plugin import Conclude
    from conformance.harness.servers import RestartableServer
    from conformance.harness.session import Session

CASES = "faults"


def test_fault(
    case: Case,
    core: str,
    worker_name: str,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    conclude: Conclude,
    request: pytest.FixtureRequest,
) -> None:
    """The case comes to what it says, with this worker."""
    trial = Trial(case, [session.adapter(worker_name)], tmp_path, session.patience, core)
    if any(act.keys() & NEED_SERVER for act in case.acts):
        server: RestartableServer = request.getfixturevalue("restartable")
        trial.run(server.cluster, server)
    else:
        trial.run(cluster)
    conclude(trial)
