"""Check a flow's graph, put it in order, and write it down: as SQL, as JSON, as a drawing.

The SQL is, character for character, what `compileFlow` of `@pgflow/dsl` writes for the same graph,
so that a flow declared in Python and one declared in TypeScript leave the same rows behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from pgflow_ref.errors import InvalidFlow, shown
from pgflow_ref.shape import (
    FlowShape,
    Options,
    StepShape,
    check_options,
    check_slug,
    check_step_type,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.json_contract import Json
    from pgflow_ref.shape import StepType


def compile_flow(shape: FlowShape) -> list[str]:
    """The SQL statements that create this flow, one for the flow and one for each step.

    Only options that were given are written; the steps stand in the order of their declaration, or,
    where one is declared before a step that it needs, in the nearest order that has no such step.

    Raises:
        InvalidFlow: see `check`.

    Example:
        >>> steps = (StepShape("a"), StepShape("b", ("a",), Options(timeout=30)))
        >>> for statement in compile_flow(FlowShape("f", Options(max_attempts=3), steps)):
        ...     print(statement)
        SELECT pgflow.create_flow('f', max_attempts => 3);
        SELECT pgflow.add_step('f', 'a');
        SELECT pgflow.add_step('f', 'b', ARRAY['a'], timeout => 30);
    """
    # Slugs are pasted into the text: `check` has made sure that they hold nothing but letters,
    # digits and underscores, and options nothing but integers.
    check(shape)
    options = _options_sql(shape.options)
    statements = [f"SELECT pgflow.create_flow({_quoted(shape.slug)}{options});"]
    statements.extend(step_sql(shape.slug, step) for step in in_order(shape))
    return statements


def step_sql(flow: str, step: StepShape) -> str:
    """The statement that adds one step, whose slugs and options have been checked."""
    names = ", ".join(_quoted(slug) for slug in step.depends_on)
    array = f", ARRAY[{names}]" if names else ""
    kind = ", step_type => 'map'" if step.is_map else ""
    given = f"{_quoted(flow)}, {_quoted(step.slug)}{array}{_options_sql(step.options)}{kind}"
    return f"SELECT pgflow.add_step({given});"


def check(shape: FlowShape) -> None:
    """Check a flow as a whole.

    Raises:
        InvalidFlow: a wrong slug or option; a step that is declared twice; a dependency that is
            unknown, named twice, or the step itself; steps that wait for each other in a circle; a
            map step with several dependencies.
    """
    check_slug(shape.slug, flow=shape.slug)
    check_options(shape.options, flow=shape.slug)
    known: set[str] = set()
    for step in shape.steps:
        check_slug(step.slug, flow=shape.slug, step=step.slug or "")  # None would be the flow
        check_options(step.options, flow=shape.slug, step=step.slug)
        check_step_type(step, flow=shape.slug)
        if step.slug in known:
            raise InvalidFlow("this step is declared twice", flow=shape.slug, step=step.slug)
        known.add(step.slug)
    for step in shape.steps:
        _check_dependencies(step, known, flow=shape.slug)
    if len(in_order(shape)) < len(shape.steps):
        circle = " → ".join(_find_circle(shape))
        raise InvalidFlow(f"steps wait for each other in a circle: {circle}", flow=shape.slug)


def in_order(shape: FlowShape) -> list[StepShape]:
    """The steps, each after all that it depends on, else as declared; steps in circles are missing.

    Linear in steps and dependencies but for a heap of the steps that are ready.
    """
    steps = shape.steps
    position = {step.slug: index for index, step in enumerate(steps)}
    waits_for = [len(step.depends_on) for step in steps]
    dependents: list[list[int]] = [[] for _ in steps]
    for index, step in enumerate(steps):
        for slug in step.depends_on:
            dependents[position[slug]].append(index)
    ready = [index for index, count in enumerate(waits_for) if count == 0]
    heapify(ready)
    ordered: list[StepShape] = []
    while ready:
        index = heappop(ready)
        ordered.append(steps[index])
        for dependent in dependents[index]:
            waits_for[dependent] -= 1
            if waits_for[dependent] == 0:
                heappush(ready, dependent)
    return ordered


def to_json(shape: FlowShape) -> dict[str, Json]:
    """The shape as JSON, with only what was given: what `from_json` reads and tools exchange.

    Example:
        >>> to_json(FlowShape("f", Options(), (StepShape("a"), StepShape("b", ("a",)))))
        {'slug': 'f', 'steps': [{'slug': 'a'}, {'slug': 'b', 'depends_on': ['a']}]}
    """
    steps: list[Json] = []
    for step in in_order(shape):
        needs: dict[str, Json] = {"depends_on": list(step.depends_on)} if step.depends_on else {}
        kind: dict[str, Json] = {"step_type": "map"} if step.is_map else {}
        steps.append({"slug": step.slug, **needs, **step.options.given(), **kind})
    return {"slug": shape.slug, **shape.options.given(), "steps": steps}


def from_json(data: Mapping[str, object]) -> FlowShape:
    """Read a shape from JSON and check it; keys that a shape does not have are ignored.

    Raises:
        InvalidFlow: see `check`; or a part has the wrong type.
    """
    if not isinstance(data, Mapping):
        raise InvalidFlow(f"a flow is an object, not {type(data).__name__}", flow=None)
    slug = data.get("slug")
    check_slug(slug, flow=slug)
    assert isinstance(slug, str)
    listed = data.get("steps", [])
    if not isinstance(listed, list) or not all(isinstance(step, dict) for step in listed):
        raise InvalidFlow("steps is a list of objects", flow=slug)
    shape = FlowShape(slug, _read_options(data), tuple(_read_step(slug, step) for step in listed))
    check(shape)
    return shape


def mermaid(shape: FlowShape) -> str:
    """The graph as a Mermaid flowchart, for a README, a pull request or a terminal.

    A map step is drawn as a box with two walls, and with `[]` after its slug.

    Example:
        >>> print(mermaid(FlowShape("f", Options(), (StepShape("a"), StepShape("b", ("a",))))))
        flowchart TD
            step_0["a"]
            step_1["b"]
            step_0 --> step_1
    """
    # `end` and `graph` are fine slugs and reserved words of Mermaid: so ids are numbers.
    steps = in_order(shape)
    ids = {step.slug: f"step_{index}" for index, step in enumerate(steps)}
    nodes = [
        f'    {ids[step.slug]}[["{step.slug}[]"]]'
        if step.is_map
        else f'    {ids[step.slug]}["{step.slug}"]'
        for step in steps
    ]
    edges = [f"    {ids[need]} --> {ids[step.slug]}" for step in steps for need in step.depends_on]
    return "\n".join(["flowchart TD", *nodes, *edges])


def _quoted(slug: str) -> str:
    return "'" + slug + "'"  # not an f-string, which would write the name of an enum's member


def _options_sql(options: Options) -> str:
    return "".join(f", {name} => {int(value)}" for name, value in options.given().items())


def _check_dependencies(step: StepShape, known: set[str], *, flow: str) -> None:
    seen: set[str] = set()
    needs: tuple[object, ...] = step.depends_on  # nobody has looked at their types yet
    for need in needs:
        if need == step.slug:
            raise InvalidFlow("a step does not depend on itself", flow=flow, step=step.slug)
        if not isinstance(need, str) or need not in known:
            raise InvalidFlow(
                f"depends on {shown(need)}, which is no step", flow=flow, step=step.slug
            )
        if need in seen:
            # The core counts the names but stores each once: the step would wait for ever.
            raise InvalidFlow(f"depends on {need!r} twice", flow=flow, step=step.slug)
        seen.add(need)


def _find_circle(shape: FlowShape) -> Sequence[str]:
    """One circle, as slugs, the first one again at the end."""
    placed = {step.slug for step in in_order(shape)}
    needs = {step.slug: step.depends_on for step in shape.steps if step.slug not in placed}
    slug = next(iter(needs))
    path: dict[str, None] = {}
    while slug not in path:
        path[slug] = None
        slug = next(need for need in needs[slug] if need in needs)
    walked = list(path)
    return [*walked[walked.index(slug) :], slug]


def _read_options(data: Mapping[str, object]) -> Options:
    # Types are checked by `check_options`, which knows flow and step.
    return Options(
        max_attempts=data.get("max_attempts"),  # type: ignore[arg-type]
        base_delay=data.get("base_delay"),  # type: ignore[arg-type]
        timeout=data.get("timeout"),  # type: ignore[arg-type]
        start_delay=data.get("start_delay"),  # type: ignore[arg-type]
    )


def _read_step(flow: str, data: Mapping[str, object]) -> StepShape:
    slug = data.get("slug")
    check_slug(slug, flow=flow, step="" if slug is None else slug)
    assert isinstance(slug, str)
    needs = data.get("depends_on", [])
    if not isinstance(needs, list) or not all(isinstance(need, str) for need in needs):
        raise InvalidFlow("depends_on is a list of slugs", flow=flow, step=slug)
    # As with options, the type is checked by `check`, which knows more.
    kind: StepType = data.get("step_type", "single")  # type: ignore[assignment]
    return StepShape(slug, tuple(needs), _read_options(data), kind)
