"""Fleets of two to eight workers of at least two languages on one queue, from the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.mixed.fleets import Fleet, cases_of

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.cases import Case
    from conformance.harness.databases import Cluster
    from conformance.harness.plugin import Conclude
    from conformance.harness.session import Session

CASES = cases_of


def test_fleet(
    case: Case,
    core: str,
    session: Session,
    cluster: Cluster,
    tmp_path: Path,
    conclude: Conclude,
) -> None:
    """Every call, output and run is what the oracle says, and nobody starves."""
    if len({adapter.language for adapter in session.adapters}) < 2:
        pytest.skip("a fleet takes workers of two languages; only one was asked for")
    trial = Fleet.of(case, session, tmp_path, core)
    trial.run(cluster)
    conclude(trial)
