"""All workers together on one flow and one queue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conformance.harness.trial import Trial
from conformance.mixed.orders import QUICK_RUNS, RUNS, runs_of

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.plugin import Conclude
    from conformance.harness.session import Session

CASES = "mixed.yaml"


def test_together(
    case: Case,
    core: str,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    conclude: Conclude,
) -> None:
    """Every run completes with the right result, and every language did a real share of it."""
    if len({adapter.language for adapter in session.adapters}) < 2:
        pytest.skip("a mixed fleet takes workers of two languages; only one was asked for")
    runs = runs_of(case.id, QUICK_RUNS if session.quick else RUNS)
    trial = Trial(replace(case, runs=runs), session.adapters, tmp_path, session.patience, core)
    trial.run(cluster)
    conclude(trial)
