"""Flows and steps: `is_valid_slug`, `create_flow`, `add_step`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pgflow_ref.model import queue
from pgflow_ref.model.calls import OMITTED
from pgflow_ref.model.rows import DepRow, Flow, FlowRow, StepRow
from pgflow_ref.model.state import (
    FOREIGN_KEY_VIOLATION,
    RAISED,
    UNDEFINED_FUNCTION,
    Refused,
    check,
    not_null,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.model import calls
    from pgflow_ref.model.state import Transaction

_SLUG: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LONGEST_SLUG: Final = 128
_RESERVED: Final = "run"  # the key of the run's input in a task's input
_DEFAULTS: Final = (3, 5, 60)  # of create_flow: max_attempts, base_delay, timeout
_STEP_TYPES: Final = ("single", "map")


def is_valid_slug(slug: str | None) -> bool:
    """`pgflow.is_valid_slug`."""
    return (
        slug is not None
        and len(slug) <= _LONGEST_SLUG
        and _SLUG.fullmatch(slug) is not None
        and slug != _RESERVED
    )


def create_flow(tx: Transaction, call: calls.CreateFlow) -> list[FlowRow]:
    """`pgflow.create_flow`.

    The options of a flow that exists stay as they are; those given are checked all the same.
    """
    given = (call.max_attempts, call.base_delay, call.timeout)
    options = [
        default if value is OMITTED else value
        for value, default in zip(given, _DEFAULTS, strict=True)
    ]
    not_null(call.flow_slug, *options)
    slug, (attempts, delay, timeout) = call.flow_slug, options
    assert slug is not None
    assert attempts is not None
    assert delay is not None
    assert timeout is not None
    check(delay >= 0, "opt_base_delay_is_nonnegative")
    check(attempts >= 0, "opt_max_attempts_is_nonnegative")
    check(timeout > 0, "opt_timeout_is_positive")
    check(is_valid_slug(slug), "slug_is_valid")
    row = FlowRow(slug, attempts, delay, timeout, tx.now)
    if slug not in tx.flows:
        tx.put_flow(Flow(row, {}, {}))
    elif tx.flows[slug].row[1:4] != row[1:4]:
        tx.note("definition_is_kept_silently")
    if slug not in tx.queue_names:
        queue.create(tx, slug)
    return [tx.flows[slug].row]


def add_step(tx: Transaction, call: calls.AddStep) -> list[StepRow]:
    """`pgflow.add_step`.

    A step that exists stays as it is, but for dependencies, which are added to those it has.
    """
    deps = () if call.deps_slugs is OMITTED or call.deps_slugs is None else call.deps_slugs
    kind = _kind(tx, call, deps)
    delay = _start_delay(tx, call)
    slug, flow_slug = call.step_slug, call.flow_slug
    attempts, base_delay, timeout = (
        None if value is OMITTED else value
        for value in (call.max_attempts, call.base_delay, call.timeout)
    )
    not_null(flow_slug, slug)
    assert flow_slug is not None
    assert slug is not None
    check(base_delay is None or base_delay >= 0, "opt_base_delay_is_nonnegative")
    check(attempts is None or attempts >= 0, "opt_max_attempts_is_nonnegative")
    check(delay is None or delay >= 0, "opt_start_delay_is_nonnegative")
    check(timeout is None or timeout > 0, "opt_timeout_is_positive")
    check(is_valid_slug(slug), "steps_step_slug_check")
    check(kind in _STEP_TYPES, "steps_step_type_check")
    flow = tx.flows.get(flow_slug)
    if tx.has("add_step_in_one_statement"):
        # Foreign keys are looked at when the statement, dependencies and all, is over.
        _check_deps(tx, flow, slug, deps)
        flow = _known_flow(flow)
    else:
        flow = _known_flow(flow)
        _check_deps(tx, flow, slug, deps)
    index = max((step.step_index for step in flow.steps.values()), default=-1) + 1
    options = (attempts, base_delay, timeout, delay)
    row = StepRow(flow_slug, slug, kind, index, len(deps), *options, tx.now)
    if slug not in flow.steps:
        flow = flow._replace(steps={**flow.steps, slug: row})
        _note_new_step(tx, flow_slug)
    elif flow.steps[slug][2:3] + flow.steps[slug][4:9] != row[2:3] + row[4:9]:
        tx.note("definition_is_kept_silently")
    tx.put_flow(_with_deps(tx, flow, slug, deps))
    return [flow.steps[slug]]


def _kind(tx: Transaction, call: calls.AddStep, deps: Sequence[str | None]) -> str:
    """The type of the step, where the core knows types."""
    if not tx.has("map_steps"):
        if call.step_type is not OMITTED:
            raise Refused(UNDEFINED_FUNCTION)
        return "single"
    kind = "single" if call.step_type is OMITTED or call.step_type is None else call.step_type
    if kind == "map" and len(deps) > 1:
        raise Refused(RAISED)
    return kind


def _start_delay(tx: Transaction, call: calls.AddStep) -> int | None:
    """The start delay, where the core knows one."""
    if call.start_delay is OMITTED:
        return None
    if not tx.has("start_delay"):
        raise Refused(UNDEFINED_FUNCTION)
    return call.start_delay


def _known_flow(flow: Flow | None) -> Flow:
    if flow is None:
        raise Refused(FOREIGN_KEY_VIOLATION, "steps_flow_slug_fkey")
    return flow


def _check_deps(tx: Transaction, flow: Flow | None, slug: str, deps: Sequence[str | None]) -> None:
    """What each row of `pgflow.deps` must be by itself."""
    if flow is None and (None in deps or slug in deps):
        tx.note("add_step_in_one_statement")
    for dep in deps:
        not_null(dep)
        check(dep != slug, "deps_check")


def _with_deps(tx: Transaction, flow: Flow, slug: str, deps: Sequence[str | None]) -> Flow:
    """The flow with the step's dependencies; each must be a step of the flow."""
    rows = dict(flow.deps)
    for dep in deps:
        assert dep is not None
        if dep not in flow.steps:
            raise Refused(FOREIGN_KEY_VIOLATION, "deps_flow_slug_dep_slug_fkey")
        rows.setdefault((dep, slug), DepRow(flow.row.flow_slug, dep, slug, tx.now))
    return flow._replace(deps=rows)


def _note_new_step(tx: Transaction, flow_slug: str) -> None:
    if any(run.row.flow_slug == flow_slug and run.states for run in tx.runs.values()):
        tx.note("new_step_is_not_in_run")
