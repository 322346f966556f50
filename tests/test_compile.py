"""Checking, ordering and writing down a flow's graph."""

from __future__ import annotations

import enum
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgflow_ref.compile import check, compile_flow, from_json, in_order, mermaid, step_sql, to_json
from pgflow_ref.errors import InvalidFlow
from pgflow_ref.shape import FlowShape, Options, StepShape

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 2**31 - 1


def graph(needs: Mapping[str, str], *, slug: str = "f") -> FlowShape:
    """A flow from step to dependencies, these as words."""
    return FlowShape(slug, steps=tuple(StepShape(s, tuple(n.split())) for s, n in needs.items()))


def map_step(slug: str, *needs: str) -> StepShape:
    return StepShape(slug, needs, step_type="map")


def refusal(shape: FlowShape) -> str:
    with pytest.raises(InvalidFlow) as caught:
        check(shape)
    with pytest.raises(InvalidFlow) as again:
        compile_flow(shape)
    assert str(again.value) == str(caught.value)
    return str(caught.value)


SOME_OPTIONS = st.sampled_from([Options(), Options(1, 1, 3), Options(timeout=MOST), Options(2, 9)])
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def flows(draw: st.DrawFn, *, shuffled: bool = True) -> FlowShape:
    """Flows of up to eight steps without circles; shuffled, a step may stand before its needs."""
    slugs = [f"s{index}" for index in range(draw(st.integers(0, 8)))]
    steps = []
    for index, slug in enumerate(slugs):
        chosen = draw(st.integers(0, 2**index - 1))
        needs = tuple(need for place, need in enumerate(slugs[:index]) if chosen >> place & 1)
        is_map = draw(st.booleans()) and len(needs) < 2
        steps.append(StepShape(slug, needs, draw(SOME_OPTIONS), "map" if is_map else "single"))
    placed = draw(st.permutations(steps)) if shuffled else steps
    return FlowShape("f", draw(SOME_OPTIONS), tuple(placed))


# SQL


@pytest.mark.parametrize(
    ("shape", "statements"),
    [
        pytest.param(FlowShape("f"), ["SELECT pgflow.create_flow('f');"], id="nothing given"),
        pytest.param(
            FlowShape("f", Options(3, 5, 10)),
            ["SELECT pgflow.create_flow('f', max_attempts => 3, base_delay => 5, timeout => 10);"],
            id="all that a flow may have",
        ),
        pytest.param(
            FlowShape("f", steps=(StepShape("a", (), Options(max_attempts=5, timeout=30)),)),
            [
                "SELECT pgflow.create_flow('f');",
                "SELECT pgflow.add_step('f', 'a', max_attempts => 5, timeout => 30);",
            ],
            id="options of a step",
        ),
        pytest.param(
            graph({"a": "", "b": "a", "c": "b a"}),
            [
                "SELECT pgflow.create_flow('f');",
                "SELECT pgflow.add_step('f', 'a');",
                "SELECT pgflow.add_step('f', 'b', ARRAY['a']);",
                "SELECT pgflow.add_step('f', 'c', ARRAY['b', 'a']);",
            ],
            id="dependencies as written",
        ),
        pytest.param(
            FlowShape(
                "f",
                steps=(
                    StepShape("a", (), Options(start_delay=9), "map"),
                    StepShape("b", ("a",), step_type="map"),
                ),
            ),
            [
                "SELECT pgflow.create_flow('f');",
                "SELECT pgflow.add_step('f', 'a', start_delay => 9, step_type => 'map');",
                "SELECT pgflow.add_step('f', 'b', ARRAY['a'], step_type => 'map');",
            ],
            id="map steps",
        ),
        pytest.param(
            graph({"c": "b", "b": "a", "a": ""}),
            [
                "SELECT pgflow.create_flow('f');",
                "SELECT pgflow.add_step('f', 'a');",
                "SELECT pgflow.add_step('f', 'b', ARRAY['a']);",
                "SELECT pgflow.add_step('f', 'c', ARRAY['b']);",
            ],
            id="declared backwards",
        ),
    ],
)
def test_compile(shape: FlowShape, statements: list[str]) -> None:
    assert compile_flow(shape) == statements


def test_all_that_a_step_may_have() -> None:
    assert step_sql("f", StepShape("b", ("a", "c"), Options(1, 2, 3, 0))) == (
        "SELECT pgflow.add_step('f', 'b', ARRAY['a', 'c'], "
        "max_attempts => 1, base_delay => 2, timeout => 3, start_delay => 0);"
    )


@patient
@given(flows())
def test_one_statement_for_each_element(shape: FlowShape) -> None:
    first, *rest = compile_flow(shape)
    assert first.startswith("SELECT pgflow.create_flow('f'")
    assert rest == [step_sql("f", step) for step in in_order(shape)]


class Name(str, enum.Enum):
    """Text that a format string writes by its name (StrEnum, of Python 3.11, by its value)."""

    FLOW = "f"
    STEP = "a"


class Tries(int, enum.Enum):
    MANY = 5


def test_enums_are_written_as_the_values_that_were_checked() -> None:
    shape = FlowShape(
        Name.FLOW, Options(Tries.MANY), (StepShape(Name.STEP), StepShape("b", ("a",)))
    )
    assert compile_flow(shape) == [
        "SELECT pgflow.create_flow('f', max_attempts => 5);",
        "SELECT pgflow.add_step('f', 'a');",
        "SELECT pgflow.add_step('f', 'b', ARRAY['a']);",
    ]


# Order


def slugs(shape: FlowShape) -> str:
    return " ".join(step.slug for step in in_order(shape))


@pytest.mark.parametrize(
    ("needs", "order"),
    [
        pytest.param({}, "", id="no steps"),
        pytest.param({"a": "", "b": "", "c": ""}, "a b c", id="independent"),
        pytest.param({"c": "", "b": "", "a": ""}, "c b a", id="not by name"),
        pytest.param({"a": "", "b": "a", "c": "a", "d": "b c"}, "a b c d", id="diamond"),
        pytest.param(
            {"d": "b c", "c": "a", "b": "a", "a": ""}, "a c b d", id="diamond upside down"
        ),
        pytest.param({"x": "", "b": "a", "a": "", "y": ""}, "x a b y", id="only what must move"),
        pytest.param({"a": "b", "b": "a", "c": ""}, "c", id="circles are left out"),
    ],
)
def test_order(needs: dict[str, str], order: str) -> None:
    assert slugs(graph(needs)) == order


@patient
@given(flows())
def test_every_step_stands_once_and_after_its_needs(shape: FlowShape) -> None:
    check(shape)
    ordered = in_order(shape)
    assert sorted(map(repr, ordered)) == sorted(map(repr, shape.steps))
    seen: set[str] = set()
    for step in ordered:
        assert seen.issuperset(step.depends_on)
        seen.add(step.slug)


@patient
@given(flows())
def test_of_the_steps_that_may_come_next_the_first_declared_does(shape: FlowShape) -> None:
    left, done = list(shape.steps), set[str]()
    for step in in_order(shape):
        first = next(other for other in left if done.issuperset(other.depends_on))
        assert step == first
        left.remove(step)
        done.add(step.slug)


@patient
@given(flows(shuffled=False))
def test_an_order_that_is_right_is_kept(shape: FlowShape) -> None:
    assert tuple(in_order(shape)) == shape.steps


@patient
@given(flows())
def test_ordering_twice_changes_nothing(shape: FlowShape) -> None:
    once = FlowShape(shape.slug, shape.options, tuple(in_order(shape)))
    assert tuple(in_order(once)) == once.steps


def test_a_long_chain_declared_backwards() -> None:
    size = 20_000
    steps = [StepShape(f"s{n}", (f"s{n - 1}",) if n else ()) for n in reversed(range(size))]
    assert [step.slug for step in in_order(FlowShape("f", steps=tuple(steps)))] == [
        f"s{n}" for n in range(size)
    ]


# Checks


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        pytest.param(
            graph({"a": ""}, slug="1"),
            "flow '1': a slug is an ASCII letter followed by ASCII letters, digits and underscores",
            id="slug of the flow",
        ),
        pytest.param(
            graph({"a": "", "run": ""}),
            "flow 'f', step 'run': the slug 'run' is reserved for the run's input",
            id="slug of a step",
        ),
        pytest.param(
            FlowShape("f", Options(timeout=2)),
            f"flow 'f': timeout is between 3 and {MOST}, not 2",
            id="option of the flow",
        ),
        pytest.param(
            FlowShape("f", Options(start_delay=2)),
            "flow 'f': start_delay belongs to a step, not to a flow",
            id="start_delay of the flow",
        ),
        pytest.param(
            FlowShape("f", steps=(StepShape("a", (), Options(base_delay=0)),)),
            f"flow 'f', step 'a': base_delay is between 1 and {MOST}, not 0",
            id="option of a step",
        ),
        pytest.param(
            FlowShape("f", steps=(StepShape("a"), StepShape("b"), StepShape("a", ("b",)))),
            "flow 'f', step 'a': this step is declared twice",
            id="twice",
        ),
        pytest.param(
            graph({"a": "", "b": "a x"}),
            "flow 'f', step 'b': depends on 'x', which is no step",
            id="unknown dependency",
        ),
        pytest.param(
            graph({"a": "", "b": "run"}),
            "flow 'f', step 'b': depends on 'run', which is no step",
            id="the run is no step",
        ),
        pytest.param(
            graph({"a": "", "b": "a a"}),
            "flow 'f', step 'b': depends on 'a' twice",
            id="dependency named twice",
        ),
        pytest.param(
            FlowShape("f", steps=(*graph({"a": "", "b": ""}).steps, map_step("c", "a", "b"))),
            "flow 'f', step 'c': a map step depends on one step at most, over whose array it maps, "
            "not on 2",
            id="map over two",
        ),
        pytest.param(
            FlowShape("f", steps=(map_step("c", "x"),)),
            "flow 'f', step 'c': depends on 'x', which is no step",
            id="map over nothing",
        ),
        pytest.param(
            FlowShape("f", steps=(StepShape("a", step_type="array"),)),  # type: ignore[arg-type]
            "flow 'f', step 'a': step_type is 'single' or 'map', not 'array'",
            id="type of a step",
        ),
        pytest.param(
            graph({"a": "a"}), "flow 'f', step 'a': a step does not depend on itself", id="itself"
        ),
        pytest.param(
            graph({"a": "b", "b": "a"}),
            "flow 'f': steps wait for each other in a circle: a → b → a",
            id="circle",
        ),
        pytest.param(
            graph({"x": "", "end": "c x", "a": "x c", "b": "a", "c": "b"}),
            "flow 'f': steps wait for each other in a circle: c → b → a → c",
            id="only the circle, not what leads to it",
        ),
    ],
)
def test_refusals(shape: FlowShape, message: str) -> None:
    assert refusal(shape) == message


@patient
@given(flows(), st.data())
def test_a_graph_with_one_edge_turned_back_has_a_circle(
    shape: FlowShape, data: st.DataObject
) -> None:
    edges = [(step.slug, need) for step in shape.steps for need in step.depends_on]
    if not edges:
        return
    late, early = data.draw(st.sampled_from(edges))
    steps = [
        StepShape(s.slug, (*s.depends_on, late), s.options) if s.slug == early else s
        for s in shape.steps
    ]
    said = refusal(FlowShape("f", shape.options, tuple(steps)))
    circle = said.removeprefix("flow 'f': steps wait for each other in a circle: ").split(" → ")
    needs = {step.slug: step.depends_on for step in steps}
    assert circle[0] == circle[-1]
    assert all(need in needs[slug] for slug, need in pairwise(circle))


def test_a_large_circle_is_found_and_named() -> None:
    size = 5_000
    steps = tuple(StepShape(f"s{n}", (f"s{(n + 1) % size}",)) for n in range(size))
    assert refusal(FlowShape("f", steps=steps)).endswith(f" → s{size - 1} → s0")


# JSON


def test_to_json_writes_only_what_was_given() -> None:
    steps = (
        StepShape("a", (), Options(start_delay=0)),
        StepShape("b", ("a",), Options(timeout=9), "map"),
    )
    assert to_json(FlowShape("f", Options(1, 2, 3), steps)) == {
        "slug": "f",
        "max_attempts": 1,
        "base_delay": 2,
        "timeout": 3,
        "steps": [
            {"slug": "a", "start_delay": 0},
            {"slug": "b", "depends_on": ["a"], "timeout": 9, "step_type": "map"},
        ],
    }


@patient
@given(flows())
def test_json_round_trip(shape: FlowShape) -> None:
    text = json.dumps(to_json(shape))
    read = from_json(json.loads(text))
    assert read == FlowShape(shape.slug, shape.options, tuple(in_order(shape)))
    assert compile_flow(read) == compile_flow(shape)


def test_from_json_ignores_what_a_shape_does_not_have() -> None:
    data = {"slug": "f", "comment": "…", "steps": [{"slug": "a", "handler": [{"return": 1}]}]}
    assert from_json(data) == graph({"a": ""})


def test_from_json_without_steps() -> None:
    assert from_json({"slug": "f"}) == FlowShape("f")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "flow None: a slug is text, not NoneType"),
        ({"slug": 5}, "flow 5: a slug is text, not int"),
        ({"slug": ""}, "flow '': a slug is not empty"),
        ({"slug": "f", "steps": None}, "flow 'f': steps is a list of objects"),
        ({"slug": "f", "steps": {}}, "flow 'f': steps is a list of objects"),
        ({"slug": "f", "steps": ["a"]}, "flow 'f': steps is a list of objects"),
        ({"slug": "f", "steps": [{"slug": 5}]}, "flow 'f', step 5: a slug is text, not int"),
        ({"slug": "f", "steps": [{"slug": "1"}]}, "flow 'f', step '1': a slug is an ASCII letter"),
        (
            {"slug": "f", "steps": [{"slug": "a", "depends_on": "b"}]},
            "flow 'f', step 'a': depends_on is a list of slugs",
        ),
        (
            {"slug": "f", "steps": [{"slug": "a", "depends_on": [1]}]},
            "flow 'f', step 'a': depends_on is a list of slugs",
        ),
        (
            {"slug": "f", "steps": [{"slug": "a", "depends_on": None}]},
            "flow 'f', step 'a': depends_on is a list of slugs",
        ),
        (
            {"slug": "f", "steps": [{"slug": "a", "timeout": "10"}]},
            "flow 'f', step 'a': timeout is a whole number, not '10'",
        ),
        ({"slug": "f", "timeout": True}, "flow 'f': timeout is a whole number, not True"),
        ({"slug": "f", "timeout": 10.5}, "flow 'f': timeout is a whole number, not 10.5"),
        (
            {"slug": "f", "start_delay": 1},
            "flow 'f': start_delay belongs to a step, not to a flow",
        ),
        (
            {"slug": "f", "steps": [{"slug": "a", "step_type": ["map"]}]},
            "flow 'f', step 'a': step_type is 'single' or 'map', not ['map']",
        ),
        ([], "flow None: a flow is an object, not list"),
        (None, "flow None: a flow is an object, not NoneType"),
        (
            {"slug": "f", "steps": [{"slug": "a", "depends_on": ["a"]}]},
            "flow 'f', step 'a': a step does not depend on itself",
        ),
    ],
)
def test_json_that_is_no_flow(data: Any, message: str) -> None:
    with pytest.raises(InvalidFlow) as caught:
        from_json(data)
    assert str(caught.value).startswith(message)


def test_a_step_without_a_slug_is_not_mistaken_for_the_flow() -> None:
    with pytest.raises(InvalidFlow, match=r"^flow 'f', step .*a slug is text, not NoneType"):
        from_json({"slug": "f", "steps": [{}]})


# Mermaid


def test_mermaid() -> None:
    assert mermaid(graph({"end": "a b", "a": "", "b": "a"})) == (
        "flowchart TD\n"
        '    step_0["a"]\n'
        '    step_1["b"]\n'
        '    step_2["end"]\n'
        "    step_0 --> step_1\n"
        "    step_0 --> step_2\n"
        "    step_1 --> step_2"
    )
    assert mermaid(FlowShape("f")) == "flowchart TD"


def test_mermaid_shows_map_steps() -> None:
    steps = (StepShape("lines"), map_step("pick", "lines"), StepShape("pack", ("pick",)))
    assert mermaid(FlowShape("f", steps=steps)) == (
        "flowchart TD\n"
        '    step_0["lines"]\n'
        '    step_1[["pick[]"]]\n'
        '    step_2["pack"]\n'
        "    step_0 --> step_1\n"
        "    step_1 --> step_2"
    )
