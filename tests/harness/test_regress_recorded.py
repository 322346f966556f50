"""What a regression check says of recorded histories, and of a core that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from conformance.harness.run import Run
from conformance.regress import cases, recorded
from tests.harness.streams import END, SUITE, case

if TYPE_CHECKING:
    from conformance.harness.records import Case, Outcome
    from conformance.regress.findings import Kind

FLOWS: Final = ("chain", "retry", "late_completion")


def played(outcome: Outcome = "passed", flows: tuple[str, ...] = FLOWS) -> list[Case]:
    return [case(f"histories.{flow}", group="histories", outcome=outcome) for flow in flows]


def test_what_is_different_is_one_change() -> None:
    (found,) = recorded.compare(played(), played(), "0.6.1", "0.7.3")
    assert (found.kind, found.who) == ("changed", "workers")
    assert found.detail.startswith("3 of 3 flows leave something else")
    assert found.detail.endswith(": chain, late_completion, retry.")
    assert found.script == "pgflow-conformance histories 0.6.1 0.7.3"


def test_what_is_the_same_is_said() -> None:
    (found,) = recorded.compare(played(), played(), "0.5.0", "0.6.1")
    assert (found.kind, found.detail.split()[0]) == ("same", "3")


def test_a_flow_that_one_worker_leaves_otherwise_proves_nothing() -> None:
    after = [*played(), *played("failed", ("chain", "retry"))]
    (found,) = recorded.compare(played(), after, "0.6.1", "0.7.3")
    assert found.detail.startswith("1 of 1 flows leave something else")
    assert recorded.compare(played(), played("failed"), "0.6.1", "0.7.3") == []


def test_a_core_that_has_none_is_left_out() -> None:
    assert recorded.compare(played(), played(), "0.8.1", "0.9-mine") == []
    assert recorded.compare([], [], "0.8.1", "0.8.1") == []


@pytest.mark.parametrize(
    ("group", "outcome", "kind"),
    [
        ("histories", "unsupported", "changed"),  # recorded of the base alone
        ("histories", "failed", "broken"),
        ("retries", "unsupported", "broken"),
    ],
)
def test_a_history_that_is_not_recorded_breaks_nothing(
    group: str, outcome: Outcome, kind: Kind
) -> None:
    def run(became: Outcome) -> Run:
        return Run.of([SUITE, case("some.case", group=group, outcome=became), END])

    (found,) = cases.findings(run("passed"), run(outcome), "0.8.1", "mine")
    assert (found.kind, found.case) == (kind, "some.case")
