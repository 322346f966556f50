"""Declaring flows: the forms that are taken, and each refusal with its message."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import pytest

from pgflow_ref import Context, Flow, InvalidFlow, Job, Step
from pgflow_ref.shape import FlowShape, Options, StepShape

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 2**31 - 1
LETTERS = "a slug is an ASCII letter followed by ASCII letters, digits and underscores"


def handler(argument: Any, context: Context | None) -> Any:  # noqa: ARG001
    return argument


def other(argument: Any, context: Context | None) -> Any:  # noqa: ARG001
    return argument


def refusal(declare: Callable[[], object]) -> str:
    with pytest.raises(InvalidFlow) as caught:
        declare()
    return str(caught.value)


def two_steps() -> Flow:
    flow = Flow("f")
    flow.step("a")(handler)
    flow.step("b")(handler)
    return flow


# What is taken


def test_a_step_is_named_like_its_function() -> None:
    flow = Flow("f")

    @flow.step()
    def hello(argument: str, context: Context | None) -> str:  # noqa: ARG001
        return f"Hello, {argument}!"

    assert hello.slug == "hello"
    assert flow.shape == FlowShape("f", steps=(StepShape("hello"),))


def test_a_step_is_still_the_function() -> None:
    flow = Flow("f")

    @flow.step("greet", timeout=30)
    def hello(argument: str, context: Context | None = None, *, end: str = "!") -> str:  # noqa: ARG001
        return f"Hello, {argument}{end}"

    assert hello("Ada") == "Hello, Ada!"
    assert hello("Ada", None, end=".") == "Hello, Ada."
    assert hello.handler("Ada") == "Hello, Ada!"
    assert hello.shape == StepShape("greet", (), Options(timeout=30))
    assert repr(hello) == "<Step 'greet'>"


def test_all_options() -> None:
    flow = Flow("f", max_attempts=2, base_delay=3, timeout=4)
    flow.step("a", max_attempts=1, base_delay=1, timeout=3, start_delay=0)(handler)
    assert flow.shape == FlowShape(
        "f", Options(2, 3, 4), (StepShape("a", (), Options(1, 1, 3, 0)),)
    )


def test_dependencies_are_steps_or_slugs_in_the_order_given() -> None:
    flow = Flow("f")
    a = flow.step("a")(handler)
    flow.step("b")(handler)
    c = flow.step("c", depends_on=["b", a])(handler)
    d = flow.step("d", depends_on=(step for step in (c, a)))(handler)
    e = flow.step("e", depends_on={"a"})(handler)
    assert [step.shape.depends_on for step in (a, c, d, e)] == [(), ("b", "a"), ("c", "a"), ("a",)]


def test_steps_in_the_order_of_their_declaration() -> None:
    flow = Flow("f")
    assert repr(flow) == "<Flow 'f': no steps>"
    b, a = flow.step("b")(handler), flow.step("a")(handler)
    assert list(flow.steps.items()) == [("b", b), ("a", a)]
    assert repr(flow) == "<Flow 'f': b, a>"


def test_a_flow_is_not_changed_through_its_views() -> None:
    flow = two_steps()
    before = flow.shape
    dict.clear(flow.steps)  # type: ignore[arg-type]  # a mapping to the outside
    flow.step("c")(handler)
    assert list(flow.steps) == ["a", "b", "c"]
    assert [step.slug for step in before.steps] == ["a", "b"]


async def coroutine_function(argument: Any, context: Any) -> Any:  # noqa: ARG001
    return argument


class Callable_:  # noqa: N801
    def __call__(self, argument: Any, context: Any) -> Any:
        return [argument, context]

    def method(self, argument: Any, context: Any) -> Any:
        return [argument, context]

    @staticmethod
    def static(argument: Any, context: Any) -> Any:
        return [argument, context]

    @classmethod
    def of_class(cls, argument: Any, context: Any) -> Any:
        return [argument, context]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(handler, id="function"),
        pytest.param(coroutine_function, id="coroutine function"),
        pytest.param(lambda argument, _: argument, id="lambda"),
        pytest.param(lambda *both: both, id="any number"),
        pytest.param(lambda one, two=None, three=None: (one, two, three), id="optional"),
        pytest.param(lambda one, two, *, key=None: (one, two, key), id="optional keyword"),
        pytest.param(Callable_(), id="object"),
        pytest.param(Callable_().method, id="method"),
        pytest.param(Callable_.static, id="static method"),
        pytest.param(Callable_().of_class, id="class method"),
        pytest.param(functools.partial(lambda x, one, two: (x, one, two), 1), id="partial"),
        pytest.param(divmod, id="written in C"),
        pytest.param(max, id="written in C, without a signature"),
    ],
)
def test_handlers(function: Callable[..., Any]) -> None:
    flow = Flow("f")
    assert flow.step("a")(function).handler is function


# What is refused


@pytest.mark.parametrize("slug", ["", "run", "1", "_a", "a b", "a'b", "a\n", "a\x00", "é", "a٣"])
def test_hostile_slugs(slug: str) -> None:
    flow = two_steps()
    for where, declare in (
        (f"flow {slug!r}: ", lambda: Flow(slug)),
        (f"flow {slug!r}: ", lambda: Job(slug)),
        (f"flow 'f', step {slug!r}: ", lambda: flow.step(slug)(handler)),
        (f"flow 'f', step {slug!r}: ", lambda: flow.step(slug, depends_on=["a"])(handler)),
    ):
        assert refusal(declare).startswith(where)
    assert list(flow.steps) == ["a", "b"]


@pytest.mark.parametrize("slug", ["a" * 10_000, "'); DROP SCHEMA pgflow CASCADE; --" * 1_000])
def test_messages_stay_readable(slug: str) -> None:
    flow = two_steps()
    for declare in (lambda: Flow(slug), lambda: flow.step(slug)(handler)):
        said = refusal(declare)
        assert len(said) < 400
        assert f"this one has {len(slug)}" in said


def test_slugs_of_functions_are_checked_too() -> None:
    flow = Flow("f")
    assert refusal(lambda: flow.step()(lambda a, b: (a, b))) == (
        f"flow 'f', step '<lambda>': {LETTERS}"
    )
    assert refusal(lambda: flow.step()(functools.partial(handler, 1))) == (
        "flow 'f', step '': a slug is not empty"
    )


@pytest.mark.parametrize("value", [True, 5.0, "5", float("nan")])
@pytest.mark.parametrize("option", ["max_attempts", "base_delay", "timeout"])
def test_options_that_are_no_whole_numbers(option: str, value: Any) -> None:
    flow = Flow("f")
    said = f"{option} is a whole number, not {value!r}"
    assert refusal(lambda: Flow("f", **{option: value})) == f"flow 'f': {said}"
    assert refusal(lambda: flow.step("a", **{option: value})(handler)) == (
        f"flow 'f', step 'a': {said}"
    )


@pytest.mark.parametrize(
    ("option", "least"), [("max_attempts", 1), ("base_delay", 1), ("timeout", 3)]
)
def test_options_out_of_range(option: str, least: int) -> None:
    flow = Flow("f")
    for value in (least - 1, MOST + 1):
        said = f"{option} is between {least} and {MOST}, not {value}"
        assert refusal(lambda: Flow("f", **{option: value})) == f"flow 'f': {said}"  # noqa: B023
        declare = flow.step("a", **{option: value})  # type: ignore[arg-type]
        assert refusal(lambda: declare(handler)) == f"flow 'f', step 'a': {said}"  # noqa: B023
    assert flow.steps == {}


def test_the_delay_of_a_start_is_not_negative() -> None:
    declare = Flow("f").step("a", start_delay=-1)
    assert refusal(lambda: declare(handler)) == (
        f"flow 'f', step 'a': start_delay is between 0 and {MOST}, not -1"
    )


def test_a_step_is_declared_once() -> None:
    flow = two_steps()
    assert refusal(lambda: flow.step("a")(other)) == (
        "flow 'f', step 'a': this step is declared twice"
    )
    assert flow.steps["a"].handler is handler


STRANGER = Flow("g").step("a")(handler)
UNKNOWN = Flow("g").step("x")(handler)


@pytest.mark.parametrize(
    ("depends_on", "message"),
    [
        pytest.param("ab", "depends_on is a list of steps, not 'ab' alone", id="text"),
        pytest.param(
            STRANGER, "depends_on is a list of steps, not <Step 'a'> alone", id="one step"
        ),
        pytest.param(["x"], "depends on 'x', which is not declared before it", id="unknown"),
        pytest.param(["c"], "depends on 'c', which is not declared before it", id="itself"),
        pytest.param(["run"], "depends on 'run', which is not declared before it", id="run"),
        pytest.param([5], "depends on 5, which is not declared before it", id="number"),
        pytest.param(
            [UNKNOWN], "depends on 'x', which is not declared before it", id="unknown step"
        ),
        pytest.param([STRANGER], "depends on a step 'a' of another flow", id="another flow's step"),
        pytest.param(["a", "b", "a"], "depends on 'a' twice", id="twice"),
    ],
)
def test_dependencies_that_are_refused(depends_on: Any, message: str) -> None:
    flow = two_steps()
    declare = flow.step("c", depends_on=depends_on)
    assert refusal(lambda: declare(handler)) == f"flow 'f', step 'c': {message}"
    assert list(flow.steps) == ["a", "b"]


def test_a_step_and_its_slug_are_the_same_dependency() -> None:
    flow = Flow("f")
    a = flow.step("a")(handler)
    assert refusal(lambda: flow.step("b", depends_on=[a, "a"])(handler)) == (
        "flow 'f', step 'b': depends on 'a' twice"
    )


@pytest.mark.parametrize("depends_on", [None, 5, [["a"]]])
def test_dependencies_of_another_type(depends_on: Any) -> None:
    flow = two_steps()
    said = refusal(lambda: flow.step("c", depends_on=depends_on)(handler))
    assert said.startswith("flow 'f', step 'c': ")
    assert repr(depends_on) in said or repr(depends_on[0]) in said


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (lambda: None, "()"),
        (lambda one: one, "(one)"),
        (lambda one, two, three: (one, two, three), "(one, two, three)"),
        (lambda one, *, two: (one, two), "(one, *, two)"),
        (lambda one, two, *, key: (one, two, key), "(one, two, *, key)"),
        (Callable_.method, "(self, argument: 'Any', context: 'Any') -> 'Any'"),
        (functools.partial(handler, 1), "(context: 'Context | None') -> 'Any'"),
    ],
)
def test_handlers_take_two_arguments(function: Any, signature: str) -> None:
    flow = Flow("f")
    assert refusal(lambda: flow.step("a")(function)) == (
        "flow 'f', step 'a': its handler takes two arguments, the input and the context, "
        f"not {signature}"
    )


def test_a_handler_is_a_function() -> None:
    declare: Any = Flow("f").step("a")
    assert refusal(lambda: declare("print")) == "flow 'f', step 'a': 'print' is no function"


def test_a_decorator_without_its_parentheses_is_noticed() -> None:
    """Else the step would silently not be there."""
    flow: Any = Flow("f")
    assert re.match(r"flow 'f'.*handler", refusal(lambda: flow.step(handler)))
    job: Any = Job("f")
    assert re.match(r"flow 'f'.*handler", refusal(lambda: job.perform(handler)))


# Map steps


def test_a_map_step_maps_over_a_step_or_the_runs_input() -> None:
    flow = Flow("f")
    root = flow.map()(handler)
    lines = flow.step("lines", depends_on=[root])(handler)
    by_step = flow.map(lines, "by_step", timeout=3, max_attempts=2, base_delay=9)(handler)
    by_slug = flow.map("by_step", slug="by_slug", start_delay=0)(other)
    assert [step.shape for step in (root, by_step, by_slug)] == [
        StepShape("handler", (), Options(), "map"),
        StepShape("by_step", ("lines",), Options(2, 9, 3), "map"),
        StepShape("by_slug", ("by_step",), Options(start_delay=0), "map"),
    ]
    assert flow.shape.steps[1] == StepShape("lines", ("handler",))
    assert by_slug.handler is other
    assert root("an element", None) == "an element"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        pytest.param("x", "depends on 'x', which is not declared before it", id="unknown"),
        pytest.param("c", "depends on 'c', which is not declared before it", id="itself"),
        pytest.param("run", "depends on 'run', which is not declared before it", id="run"),
        pytest.param("", "depends on '', which is not declared before it", id="empty"),
        pytest.param(
            "x" * 10_000,
            f"depends on '{'x' * 160}…', which is not declared before it",
            id="long",
        ),
        pytest.param(
            ["a"], "depends on ['a'], which is not declared before it", id="a list of one"
        ),
        pytest.param(STRANGER, "depends on a step 'a' of another flow", id="another flow's"),
    ],
)
def test_arrays_that_are_refused(array: Any, message: str) -> None:
    flow = two_steps()
    assert refusal(lambda: flow.map(array, "c")(handler)) == f"flow 'f', step 'c': {message}"
    assert list(flow.steps) == ["a", "b"]


def test_what_holds_for_steps_holds_for_map_steps() -> None:
    flow, declare = two_steps(), Flow("f").map
    for wrong, message in (
        (lambda: flow.map("a", "b")(handler), "step 'b': this step is declared twice"),
        (lambda: declare(slug="1")(handler), f"step '1': {LETTERS}"),
        (lambda: declare(slug="c", timeout=2)(handler), "step 'c': timeout is between 3 and"),
        (lambda: declare(slug="c")(lambda one: one), "step 'c': its handler takes two arguments"),
    ):
        assert refusal(wrong).startswith(f"flow 'f', {message}")


def test_a_map_decorator_without_its_parentheses_is_noticed() -> None:
    flow: Any = Flow("f")
    assert re.match(r"flow 'f': map\(\) .*handler", refusal(lambda: flow.map(handler)))
    assert flow.steps == {}


def test_a_decorator_may_be_used_again() -> None:
    flow = two_steps()
    declare = flow.step(depends_on=iter(["a", "b"]))
    assert [declare(f).shape.depends_on for f in (handler, other)] == [("a", "b")] * 2


# Jobs


def test_a_job_has_one_step_that_is_named_like_it() -> None:
    job = Job("send", max_attempts=5)

    @job.perform()
    def anything(argument: Any, context: Any) -> Any:  # noqa: ARG001
        return argument

    assert isinstance(anything, Step)
    assert job.shape == FlowShape("send", Options(max_attempts=5), (StepShape("send"),))
    assert refusal(job.perform) == "flow 'send': a job has one step, and it is declared"


def test_a_jobs_step_may_have_a_name() -> None:
    job = Job("send")
    job.perform("mail")(handler)
    assert list(job.steps) == ["mail"]


def test_a_job_cannot_get_a_second_step_by_another_way() -> None:
    job = Job("send")
    first, second = job.perform("a"), job.perform("b")
    first(handler)
    said = "flow 'send': a job has one step, and it is declared"
    assert refusal(lambda: second(handler)) == said
    assert refusal(lambda: job.step("c")(handler)) == said


def test_a_step_may_do_the_work_of_another() -> None:
    first, second = Flow("first"), Flow("second")

    @first.step()
    async def work(argument: Any, context: Any) -> Any:  # noqa: ARG001
        return argument

    again = second.step()(work)
    assert (again.slug, again.handler) == ("work", work.handler)
