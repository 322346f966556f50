"""Calls about definitions: look at flows, create them, replace them, delete them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pgflow_ref import operations as ops
from pgflow_ref.calls.names import flow_slug, stored_slug
from pgflow_ref.calls.requests import Atomic, Call, Tell
from pgflow_ref.calls.retries import until_free
from pgflow_ref.capabilities import Capabilities, probe
from pgflow_ref.compare import differences, mismatch, unsupported
from pgflow_ref.compile import check, compile_flow, in_order, step_sql
from pgflow_ref.errors import CoreUnsupported, FlowMismatch, InvalidFlow
from pgflow_ref.flow import Flow
from pgflow_ref.shape import FlowShape, Options, StepShape, check_slug

if TYPE_CHECKING:
    from pgflow_ref.operations import Queue, StoredFlow

_OPTIONS: Final = ("max_attempts", "base_delay", "timeout", "start_delay")
_KEYS: Final = ("slug", "deps", "depends_on", *_OPTIONS, "step_type")


@dataclass(frozen=True, slots=True)
class FlowUpserted:
    """What became of a flow's definition.

    Attributes:
        flow_slug: the flow.
        status: `compiled` where there was none, `recompiled` where there was one, which is gone
            with its runs.

    Example:
        >>> FlowUpserted("order", "compiled").status
        'compiled'
    """

    flow_slug: str
    status: Literal["compiled", "recompiled"]


def flow_exists(flow: Flow | str) -> Call[bool]:
    """Whether the database has a flow; see `PgFlow.flow_exists`."""
    exists: bool = yield ops.flow_exists(flow_slug(flow))
    return exists


def ensure_flow(flow: Flow) -> Call[tuple[str, ...]]:
    """Create what is missing of a flow; see `PgFlow.ensure_flow`."""
    if not isinstance(flow, Flow):
        raise InvalidFlow("what is to be ensured is given as a Flow, with its steps", flow=flow)
    shape = flow.shape
    check(shape)
    statements: tuple[str, ...] = yield Atomic(_ensure(shape))
    steps = sum(statement.startswith("SELECT pgflow.add_step(") for statement in statements)
    yield Tell("pgflow.flow.ensured", shape.slug, count=steps)
    return statements


def upsert_flow(
    slug: str,
    steps: Sequence[Mapping[str, object]],
    *,
    max_attempts: int,
    base_delay: int,
    timeout: int,
) -> Call[FlowUpserted]:
    """Define a flow, anew where it is there; see `PgFlow.upsert_flow`."""
    shape = read_shape(slug, steps, Options(max_attempts, base_delay, timeout))
    there = yield from until_free(lambda: _upsert(shape))
    yield Tell("pgflow.flow.ensured", slug, count=len(shape.steps))
    return FlowUpserted(slug, "recompiled" if there else "compiled")


def delete_flow(flow: Flow | str) -> Call[bool]:
    """Delete a flow and all that it left; see `PgFlow.delete_flow`."""
    slug = stored_slug(flow)
    there = yield from until_free(lambda: _delete(slug))
    if there:
        yield Tell("pgflow.flow.deleted", slug)
    return there


def read_shape(slug: object, steps: object, options: Options) -> FlowShape:
    """Make a shape of plain data, such as parsed JSON.

    Args:
        slug: the flow's.
        steps: mappings with the keys `slug`, `deps` or `depends_on`, `max_attempts`, `base_delay`,
            `timeout`, `start_delay` and `step_type`, all but the first optional.
        options: the flow's.

    Raises:
        InvalidFlow: something is missing, unknown or of the wrong type; which step it is.

    Example:
        >>> read_shape("f", [{"slug": "a"}, {"slug": "b", "deps": ["a"]}], Options()).steps[1]
        ... # doctest: +ELLIPSIS
        StepShape(slug='b', depends_on=('a',), ...)
    """
    check_slug(slug, flow=slug)
    assert isinstance(slug, str)
    if isinstance(steps, (str, bytes)) or not isinstance(steps, Sequence):
        raise InvalidFlow(f"steps is a list of mappings, not {type(steps).__name__}", flow=slug)
    if not steps:
        raise InvalidFlow("it has no steps, so there is nothing to do", flow=slug)
    shapes = (_read_step(slug, number, step) for number, step in enumerate(steps))
    shape = FlowShape(slug, options, tuple(shapes))
    check(shape)
    return shape


def _read_step(flow: str, number: int, step: object) -> StepShape:
    if not isinstance(step, Mapping):
        raise InvalidFlow(
            f"steps[{number}] is a mapping with a slug, not {type(step).__name__}", flow=flow
        )
    slug = step.get("slug")
    if slug is None:
        raise InvalidFlow(f"steps[{number}] has no slug", flow=flow)
    check_slug(slug, flow=flow, step=slug)
    unknown = [key for key in step if key not in _KEYS]
    if unknown:
        raise InvalidFlow(
            f"{unknown[0]!r:.80} is no key of a step; those are {', '.join(_KEYS)}",
            flow=flow,
            step=slug,
        )
    if "deps" in step and "depends_on" in step:
        raise InvalidFlow("deps and depends_on are the same; give one", flow=flow, step=slug)
    needs = step.get("deps", step.get("depends_on"))
    needs = () if needs is None else needs
    if not isinstance(needs, (list, tuple)) or not all(isinstance(need, str) for need in needs):
        raise InvalidFlow("deps is a list of slugs", flow=flow, step=slug)
    # Types of options are checked by `check`, which knows flow and step.
    options = Options(*(step.get(name) for name in _OPTIONS))
    kind = step.get("step_type")
    return StepShape(slug, tuple(needs), options, "single" if kind is None else kind)


def _ensure(shape: FlowShape) -> Call[tuple[str, ...]]:
    yield ops.lock_flow(shape.slug)
    yield from _check_core(shape)
    stored: StoredFlow | None = yield ops.stored_flow(shape.slug)
    queue: Queue = yield ops.queue_of(shape.slug)
    compiled = compile_flow(shape)
    if stored is None:
        statements = compiled
    else:
        statements = [] if queue.exists else compiled[:1]  # it leaves the flow as it is
        there = {step.slug for step in stored.shape.steps}
        missing = [step for step in in_order(shape) if step.slug not in there]
        if len(differences(shape, stored.shape)) > len(missing):
            raise FlowMismatch(mismatch(shape, stored.shape) or "")
        statements += [step_sql(shape.slug, step) for step in missing]
    for statement in statements:
        yield ops.define(statement)
    return tuple(statements)


def _upsert(shape: FlowShape) -> Call[bool]:
    yield ops.lock_flow(shape.slug)
    yield from _check_core(shape)
    queue: Queue = yield ops.queue_of(shape.slug)
    # The queue stays: its ids go on counting, and whoever listens to it goes on hearing.
    there = yield from _empty(shape.slug, queue)
    for statement in compile_flow(shape):
        yield ops.define(statement)
    return there


def _delete(slug: str) -> Call[bool]:
    yield ops.lock_flow(slug)
    queue: Queue = yield ops.queue_of(slug)
    there = yield from _empty(slug, queue)
    if queue.exists and not queue.shared_with:
        yield ops.drop_queue(slug)
    yield ops.forget_queue(slug)
    return there


def _empty(slug: str, queue: Queue) -> Call[bool]:
    yield ops.lock_runs(slug)
    if queue.exists:
        yield ops.delete_messages(slug)
    yield ops.delete_history(slug)
    there: bool = yield ops.delete_definition(slug)
    return there


def _check_core(shape: FlowShape) -> Call[None]:
    capabilities: Capabilities = yield probe()
    lacking = unsupported(shape, capabilities)
    if lacking is not None:
        raise CoreUnsupported(lacking)
