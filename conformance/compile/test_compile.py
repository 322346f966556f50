"""The same flow becomes the same SQL, byte for byte, in every language."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.harness.cases import Case
from conformance.harness.trial import Trial
from pgflow_ref.compile import compile_flow
from pgflow_ref.errors import InvalidFlow
from pgflow_ref.shape import FlowShape, Options, StepShape, check_slug

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.harness.adapters import Adapter
    from conformance.harness.plugin import Conclude
    from conformance.harness.session import Session
    from pgflow_ref.shape import StepType

CASES = "compile.yaml"
GRAPHS = 15
QUICK_GRAPHS = 5

ANY_GRAPH = Case(
    id="compile.any_graph",
    promise="Any graph with any options compiles to the same SQL everywhere.",
    reference="compileFlow of @pgflow/dsl 0.8.1",
    flow={"slug": "any", "steps": []},
    worker={},
    runs=(),
)


def test_compiles(
    case: Case,
    worker_name: str,
    session: Session,
    tmp_path: Path,
    conclude: Conclude,
) -> None:
    """The worker's `compile` prints what pgflow_ref compiles, which the DSL's adapter proves."""
    trial = Trial(case, [session.adapter(worker_name)], tmp_path)
    trial.attempt(lambda: _compare(trial, case.shape))
    conclude(trial)


@pytest.mark.case(ANY_GRAPH)
def test_any_graph(worker_name: str, session: Session, tmp_path: Path, conclude: Conclude) -> None:
    """As above, for graphs that nobody thought of; the smallest that differs is reported."""
    trial = Trial(ANY_GRAPH, [session.adapter(worker_name)], tmp_path)

    @settings(
        max_examples=QUICK_GRAPHS if session.quick else GRAPHS,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_flows())
    def compare(shape: FlowShape) -> None:
        trial.problems.clear()
        _compare(trial, shape)
        assert not trial.problems

    def all_graphs() -> None:
        try:
            compare()
        except AssertionError:
            assert trial.problems, "the comparison itself is broken"

    trial.attempt(all_graphs)
    conclude(trial)


def _compare(trial: Trial, shape: FlowShape) -> None:
    adapter: Adapter = trial.adapters[0]
    printed, expected = trial.compiled(adapter, shape), compile_flow(shape)
    for number, (one, other) in enumerate(zip(printed, expected, strict=False), 1):
        if one != other:
            trial.problems.append(f"statement {number} is {one!r}, not {other!r}")
    if len(printed) != len(expected):
        trial.problems.append(f"there are {len(printed)} statements, not {len(expected)}")


@st.composite
def _flows(draw: st.DrawFn) -> FlowShape:
    slugs = draw(st.lists(_slugs(), min_size=1, max_size=12, unique=True))
    steps = []
    for index, slug in enumerate(slugs[1:]):
        earlier = slugs[1 : index + 1]
        step_type: StepType = draw(st.sampled_from(("single", "single", "map")))
        most = 1 if step_type == "map" else None
        chosen = st.lists(st.sampled_from(earlier), unique=True, max_size=most)
        needs = draw(chosen) if earlier else []
        steps.append(StepShape(slug, tuple(needs), draw(_options(start_delay=True)), step_type))
    return FlowShape(slugs[0], draw(_options(start_delay=False)), tuple(steps))


def _slugs() -> st.SearchStrategy[str]:
    return st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,46}", fullmatch=True).filter(_is_valid)


def _is_valid(slug: str) -> bool:
    try:
        check_slug(slug, flow=slug, step=slug)
    except InvalidFlow:
        return False
    return True


def _options(*, start_delay: bool) -> st.SearchStrategy[Options]:
    def upto(least: int) -> st.SearchStrategy[int | None]:
        return st.none() | st.integers(least, 2**31 - 1)

    return st.builds(Options, upto(1), upto(1), upto(3), upto(0) if start_delay else st.none())
