"""What one worker does beside workers of another language."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conformance.harness.trial import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.plugin import Conclude
    from conformance.harness.session import Session

CASES = "beside.yaml"


def test_beside(
    case: Case,
    core: str,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    conclude: Conclude,
) -> None:
    """A worker that has what the case needs does it for those that have not."""
    pair = next(
        (
            (other, able)
            for able in session.adapters
            if set(case.needs) <= set(able.hello.capabilities)
            for other in session.adapters
            if other.language != able.language
        ),
        None,
    )
    if pair is None:
        pytest.skip(f"it takes a worker with {', '.join(case.needs)}, and one of another language")
    # The other one need not have it.
    trial = Trial(replace(case, needs=()), pair, tmp_path, session.patience, core)
    trial.run(cluster)
    conclude(trial)
