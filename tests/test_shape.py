"""The rules that a single slug or option must obey, as tables."""

from __future__ import annotations

import enum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgflow_ref.errors import InvalidFlow, PgflowError
from pgflow_ref.shape import (
    MAX_FLOW_SLUG,
    MAX_STEP_SLUG,
    FlowShape,
    Options,
    StepShape,
    check_options,
    check_slug,
)

LETTERS = "a slug is an ASCII letter followed by ASCII letters, digits and underscores"
MOST = 2**31 - 1


def refusal_of_slug(slug: object, *, step: bool) -> str:
    with pytest.raises(InvalidFlow) as caught:
        check_slug(slug, flow=slug if not step else "f", step=slug if step else None)
    return str(caught.value)


def refusal_of(options: Options, *, step: str | None = "s") -> str:
    with pytest.raises(InvalidFlow) as caught:
        check_options(options, flow="f", step=step)
    return str(caught.value)


@pytest.mark.parametrize("slug", ["a", "Z", "a1", "process_order", "A__", "runs", "Run", "RUN"])
def test_good_slugs(slug: str) -> None:
    check_slug(slug, flow=slug)
    check_slug(slug, flow="f", step=slug)


@pytest.mark.parametrize(
    ("slug", "reason"),
    [
        pytest.param("", "a slug is not empty", id="empty"),
        pytest.param("run", "the slug 'run' is reserved for the run's input", id="reserved"),
        pytest.param("_a", LETTERS, id="underscore first: TypeScript refuses it"),
        pytest.param("1st", LETTERS, id="digit first"),
        pytest.param("a b", LETTERS, id="space"),
        pytest.param(" a", LETTERS, id="space first"),
        pytest.param("a-b", LETTERS, id="dash"),
        pytest.param("a.b", LETTERS, id="dot"),
        pytest.param("a/b", LETTERS, id="slash"),
        pytest.param("a'b", LETTERS, id="quote"),
        pytest.param('a"b', LETTERS, id="double quote"),
        pytest.param("a\n", LETTERS, id="newline at the end"),
        pytest.param("a\x00", LETTERS, id="NUL"),
        pytest.param("a\ud800", LETTERS, id="surrogate"),
        pytest.param("é", LETTERS, id="letter that is not ASCII"),
        pytest.param("aé", LETTERS, id="letter that is not ASCII, later"),
        pytest.param("a\u0663", LETTERS, id="digit that is not ASCII"),
        pytest.param("a\u2028", LETTERS, id="line separator"),
        pytest.param("a'); DROP TABLE pgflow.runs; --", LETTERS, id="SQL"),
        pytest.param(None, "a slug is text, not NoneType", id="None"),
        pytest.param(5, "a slug is text, not int", id="int"),
        pytest.param(b"a", "a slug is text, not bytes", id="bytes"),
        pytest.param(["a"], "a slug is text, not list", id="list"),
    ],
)
def test_bad_slugs(slug: object, reason: str) -> None:
    assert refusal_of_slug(slug, step=False) == f"flow {slug!r}: {reason}"
    if slug is not None:
        assert refusal_of_slug(slug, step=True) == f"flow 'f', step {slug!r}: {reason}"


@pytest.mark.parametrize("slug", ["toString", "valueOf", "constructor", "hasOwnProperty"])
def test_names_that_every_object_of_javascript_has(slug: str) -> None:
    check_slug(slug, flow=slug)  # only steps are looked up in an object
    assert refusal_of_slug(slug, step=True) == (
        f"flow 'f', step '{slug}': the TypeScript DSL cannot have a step of this name"
    )


def test_the_error_knows_flow_and_step() -> None:
    with pytest.raises(PgflowError) as caught:
        check_slug("1", flow="f", step="1")
    error = caught.value
    assert isinstance(error, InvalidFlow)
    assert isinstance(error, ValueError)
    assert (error.flow, error.step) == ("f", "1")


@pytest.mark.parametrize(
    ("step", "longest", "what"), [(False, MAX_FLOW_SLUG, "flow"), (True, MAX_STEP_SLUG, "step")]
)
def test_the_longest_slug(step: bool, longest: int, what: str) -> None:
    check_slug("a" * longest, flow="f", step="s" if step else None)
    said = refusal_of_slug("a" * (longest + 1), step=step)
    assert f"a slug of a {what} has at most {longest} characters" in said
    assert said.endswith(f"this one has {longest + 1}")


def test_the_limits_are_those_of_pgmq_and_of_the_core() -> None:
    assert (MAX_FLOW_SLUG, MAX_STEP_SLUG) == (47, 128)


@pytest.mark.parametrize("step", [False, True])
def test_a_message_stays_readable_whatever_the_slug(step: bool) -> None:
    said = refusal_of_slug("a" * 10_000, step=step)
    assert "this one has 10000" in said
    assert len(said) < 400


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_what_passes_passes_everywhere(slug: str) -> None:
    """Everywhere: the TypeScript DSL, `pgflow.is_valid_slug`, and a quoted literal in SQL."""
    try:
        check_slug(slug, flow=slug)
    except InvalidFlow as error:
        assert repr(slug[:160])[:-1] in str(error)  # noqa: PT017  # either branch is right
    else:
        assert slug.isascii()
        assert slug.isidentifier()
        assert slug[0] != "_"
        assert slug != "run"
        assert len(slug) <= 47


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(1, 1, 3, 0),
        Options(MOST, MOST, MOST, MOST),
        Options(max_attempts=7),
        Options(start_delay=5),
    ],
)
def test_good_options(options: Options) -> None:
    check_options(options, flow="f", step="s")


@pytest.mark.parametrize(
    ("name", "least"), [("max_attempts", 1), ("base_delay", 1), ("timeout", 3), ("start_delay", 0)]
)
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(-1, "-1", id="negative"),
        pytest.param("least - 1", "least - 1", id="just below"),
        pytest.param(MOST + 1, "2147483648", id="just above"),
        pytest.param(10**5000, "a number of 16610 bits", id="5,000 digits"),
    ],
)
def test_options_out_of_range(name: str, least: int, value: int | str, shown: str) -> None:
    given_value = least - 1 if isinstance(value, str) else value
    shown = str(least - 1) if isinstance(value, str) else shown
    assert refusal_of(Options(**{name: given_value})) == (
        f"flow 'f', step 's': {name} is between {least} and {MOST}, not {shown}"
    )


@pytest.mark.parametrize("name", ["max_attempts", "base_delay", "timeout", "start_delay"])
@pytest.mark.parametrize(
    "value", [True, False, 5.0, float("nan"), "5", "5); DROP TABLE pgflow.runs; --", [5]]
)
def test_options_that_are_no_whole_numbers(name: str, value: object) -> None:
    said = refusal_of(Options(**{name: value}))  # type: ignore[arg-type]
    assert said == f"flow 'f', step 's': {name} is a whole number, not {value!r}"


def test_the_flows_own_options() -> None:
    check_options(Options(5, 5, 5), flow="f")
    assert refusal_of(Options(max_attempts=0), step=None) == (
        f"flow 'f': max_attempts is between 1 and {MOST}, not 0"
    )
    assert refusal_of(Options(start_delay=5), step=None) == (
        "flow 'f': start_delay belongs to a step, not to a flow"
    )


def test_given_options_stand_in_the_order_of_the_sql() -> None:
    assert list(Options(start_delay=1, timeout=3, base_delay=2, max_attempts=4).given()) == [
        "max_attempts",
        "base_delay",
        "timeout",
        "start_delay",
    ]
    assert Options().given() == {}
    assert Options(start_delay=0).given() == {"start_delay": 0}


def test_shapes_are_values() -> None:
    shape = FlowShape("f", Options(), (StepShape("a"),))
    assert shape == FlowShape("f", steps=(StepShape("a", (), Options()),))
    assert hash(shape) == hash(FlowShape("f", Options(), (StepShape("a"),)))


class Tries(int, enum.Enum):
    """An int that a format string writes by its name."""

    MANY = 5


def test_an_enum_that_is_an_int_is_a_whole_number() -> None:
    check_options(Options(max_attempts=Tries.MANY), flow="f")
