"""Whatever is given to a declaration: it is taken as it is, or refused in one readable line."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pgflow_ref import Flow, InvalidFlow, Job
from pgflow_ref.compile import check, compile_flow, from_json, mermaid, to_json
from pgflow_ref.shape import FlowShape, Options, StepShape

if TYPE_CHECKING:
    from collections.abc import Callable

SQL = "x'); DROP SCHEMA pgflow CASCADE; --"
LONGEST_MESSAGE = 1_000
PLAIN = frozenset(string.ascii_letters + string.digits + "_")

HOSTILE_TEXT = st.one_of(
    st.text(),
    st.text(alphabet="a'\"\\;-$\x00\n\u2028\ud800é٣ _1"),
    st.sampled_from(
        [SQL, SQL * 300, "a" * 10_000, "\x00", "a\x00", "$$", "%(x)s", "{x}", "run", "end", ""]
    ),
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,130}", fullmatch=True),
)
NO_TEXT = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**4_000),
    st.floats(),
    st.binary(max_size=5),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)
ANYTHING = HOSTILE_TEXT | NO_TEXT
hostile = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def handler(given: object, ctx: object) -> None:
    """What a step does: nothing."""


def taken(declare: Callable[[], object]) -> bool:
    """Whether a declaration is taken. One that is refused says so in one readable line."""
    try:
        declare()
    except InvalidFlow as error:
        said = str(error)
        assert said.startswith("flow ")
        assert len(said) < LONGEST_MESSAGE
        assert said.isprintable()
        return False
    return True


def check_written(flow: Flow) -> None:
    """What was taken is written down without a character that could mean something in SQL."""
    check(flow.shape)
    for statement in compile_flow(flow.shape):
        inside = statement.removeprefix("SELECT pgflow.").removesuffix(");")
        assert set(inside) <= PLAIN | set("(', =>[]")
        assert inside.count("'") % 2 == 0
    assert from_json(to_json(flow.shape)) == flow.shape
    assert set(mermaid(flow.shape)) <= PLAIN | set(' \n[]"->')


@hostile
@given(ANYTHING)
@example("a" * 47)
@example("a" * 48)
def test_slugs_of_flows(slug: Any) -> None:
    for kind in (Flow, Job):
        if taken(lambda: kind(slug)):  # noqa: B023
            assert len(slug) <= 47
            check_written(kind(slug))


@hostile
@given(ANYTHING.filter(lambda slug: slug is not None))
@example("a" * 128)
@example("a" * 129)
@example("toString")
def test_slugs_of_steps(slug: Any) -> None:
    flow, job = Flow("f"), Job("f")
    outcomes = {
        taken(lambda: flow.step(slug)(handler)),
        taken(lambda: job.perform(slug)(handler)),
        taken(lambda: Flow("f").map(slug=slug)(handler)),
    }
    assert len(outcomes) == 1  # the same rule wherever a step is declared
    assert list(flow.steps) == ([slug] if outcomes == {True} else [])
    check_written(flow)


@hostile
@given(ANYTHING | st.lists(ANYTHING, max_size=3))
@example(["a", "a"])
@example(["a"])
@example("a")
def test_dependencies(needs: Any) -> None:
    flow = Flow("f")
    flow.step("a")(handler)
    if taken(lambda: flow.step("b", depends_on=needs)(handler)):
        assert list(flow.steps["b"].shape.depends_on) == list(needs)
    check_written(flow)


@hostile
@given(ANYTHING | st.lists(ANYTHING, max_size=3))
@example("a")
def test_arrays(array: Any) -> None:
    flow = Flow("f")
    flow.step("a")(handler)
    if taken(lambda: flow.map(array, "b")(handler)):
        assert flow.steps["b"].shape.depends_on == (() if array is None else (array,))
    check_written(flow)


@hostile
@given(
    st.sampled_from(["max_attempts", "base_delay", "timeout", "start_delay"]),
    ANYTHING | st.integers(-1, 4) | st.integers(2**31 - 2, 2**31),
)
def test_options(name: str, value: Any) -> None:
    step, flow = Flow("f"), {name: value}
    if taken(lambda: step.step("a", **flow)(handler)):
        assert value is None or (type(value) is int and 0 <= value < 2**31)
    if name != "start_delay":
        assert taken(lambda: Flow("f", **flow)) == ("a" in step.steps)
    check_written(step)


JSON = st.recursive(
    ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE_TEXT, inner, max_size=3),
    max_leaves=8,
)
KEYS = ("slug", "depends_on", "step_type", "max_attempts", "base_delay", "timeout", "start_delay")
STEP = st.fixed_dictionaries(
    {"slug": st.sampled_from("ab")}, optional=dict.fromkeys(KEYS[1:], JSON)
)


@hostile
@given(
    JSON
    | st.fixed_dictionaries(
        {"slug": st.just("f") | ANYTHING, "steps": st.lists(STEP | JSON, max_size=3) | JSON}
    )
)
def test_json(data: Any) -> None:
    if taken(lambda: from_json(data)):
        shape = from_json(data)
        assert compile_flow(shape)
        assert from_json(to_json(shape)).slug == data["slug"]


@hostile
@given(ANYTHING, st.lists(ANYTHING, max_size=3), ANYTHING)
def test_shapes_that_nobody_checked(slug: Any, needs: list[Any], kind: Any) -> None:
    """`check` is what stands between a shape, wherever it is from, and its SQL."""
    shape = FlowShape(
        "f", Options(), (StepShape("a"), StepShape(slug, tuple(needs), Options(), kind))
    )
    if taken(lambda: check(shape)):
        assert needs in ([], ["a"])
        assert kind in ("single", "map")
    with pytest.raises(InvalidFlow):
        compile_flow(FlowShape(SQL, Options(), shape.steps))


class Unspeakable:
    """Something whose text cannot be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "declare",
    [
        lambda: Flow(Unspeakable()),  # type: ignore[arg-type]
        lambda: Flow("f", timeout=Unspeakable()),  # type: ignore[arg-type]
        lambda: Flow("f").step(Unspeakable())(handler),  # type: ignore[arg-type]
        lambda: Flow("f").step("a", depends_on=Unspeakable())(handler),  # type: ignore[arg-type]
        lambda: Flow("f").step("a", depends_on=[Unspeakable()])(handler),  # type: ignore[list-item]
        lambda: Flow("f").map(Unspeakable(), "a")(handler),  # type: ignore[arg-type]
        lambda: Flow("f").step("a")(Unspeakable()),  # type: ignore[arg-type]
        lambda: from_json({"slug": "f", "steps": [{"slug": "a", "step_type": Unspeakable()}]}),
    ],
)
def test_what_cannot_be_shown_is_refused_all_the_same(declare: Callable[[], object]) -> None:
    assert not taken(declare)


def test_a_flow_of_a_thousand_steps() -> None:
    flow = Flow("f")
    before: list[str] = []
    for number in range(1_000):
        flow.step(f"s{number}", depends_on=before[-3:])(handler)
        before.append(f"s{number}")
    check_written(flow)
    assert len(compile_flow(flow.shape)) == 1_001
