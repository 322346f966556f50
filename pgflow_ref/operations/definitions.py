"""Definitions: flows and their steps as the database has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_ref.operations.operation import Operation, as_int, nothing
from pgflow_ref.shape import FlowShape, Options, StepShape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgflow_ref.operations.operation import Row


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """A flow as the database has it, with the options that are in force there.

    Attributes:
        shape: slug, steps in order, dependencies; options of steps as stored, of the flow in full.
        timeouts: seconds by step slug, the flow's where a step has none.
    """

    shape: FlowShape
    timeouts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of a flow, whether the flow is there or not.

    Attributes:
        exists: whether there is one.
        shared_with: other flows in the same queue: slugs that differ only by case.
    """

    exists: bool
    shared_with: tuple[str, ...]


def flow_exists(flow_slug: str) -> Operation[bool]:
    """Whether the database has a flow."""
    return Operation(
        "look for a flow",
        "SELECT EXISTS (SELECT 1 FROM pgflow.flows WHERE flow_slug = %(flow_slug)s)",
        {"flow_slug": flow_slug},
        lambda rows: bool(rows[0][0]),
    )


def lock_flow(flow_slug: str) -> Operation[None]:
    """Wait until nobody else defines or deletes this flow, to the end of the transaction.

    Slugs that differ only by case share a queue, and so this lock.
    """
    return Operation(
        "lock a flow",
        "SELECT pg_advisory_xact_lock(hashtextextended('pgflow.flow ' || lower(%(flow_slug)s), 0))",
        {"flow_slug": flow_slug},
        nothing,
    )


def queue_of(flow_slug: str) -> Operation[Queue]:
    """The queue of a flow, and who else has it."""
    return Operation(
        "look for a flow's queue",
        "SELECT to_regclass('pgmq.' || quote_ident('q_' || lower(%(flow_slug)s))) IS NOT NULL,"
        " ARRAY(SELECT f.flow_slug FROM pgflow.flows f WHERE f.flow_slug <> %(flow_slug)s"
        " AND lower(f.flow_slug) = lower(%(flow_slug)s) ORDER BY f.flow_slug)",
        {"flow_slug": flow_slug},
        _queue,
    )


def define(statement: str) -> Operation[None]:
    """Run one of the statements of `compile.compile_flow`.

    Its slugs and numbers are pasted into it, and may be: they were checked there, and hold nothing
    but ASCII letters, digits and underscores.
    """
    return Operation("define a flow", statement, {}, nothing)


def stored_flow(flow_slug: str) -> Operation[StoredFlow | None]:
    """A flow's definition with its steps; None where the database has none of that name."""
    return Operation(
        "read a flow's definition",
        "SELECT f.opt_max_attempts, f.opt_base_delay, f.opt_timeout, s.step_slug,"
        " s.opt_max_attempts, s.opt_base_delay, s.opt_timeout,"
        " ARRAY(SELECT d.dep_slug FROM pgflow.deps d WHERE d.flow_slug = s.flow_slug"
        " AND d.step_slug = s.step_slug ORDER BY d.dep_slug), s.step_type,"
        # Cores before 0.5.3 have no such column: looked up in the row as JSON, it is then NULL.
        " (to_jsonb(s) ->> 'opt_start_delay')::integer"
        " FROM pgflow.flows f LEFT JOIN pgflow.steps s USING (flow_slug)"
        " WHERE f.flow_slug = %(flow_slug)s ORDER BY s.step_index",
        {"flow_slug": flow_slug},
        lambda rows: _stored_flow(flow_slug, rows) if rows else None,
    )


def _queue(rows: Sequence[Row]) -> Queue:
    exists, others = rows[0]
    assert isinstance(others, list)
    return Queue(bool(exists), tuple(map(str, others)))


def _stored_flow(slug: str, rows: Sequence[Row]) -> StoredFlow:
    options = Options(*(as_int(value) for value in rows[0][:3]))
    steps: list[StepShape] = []
    timeouts: dict[str, int] = {}
    for _, _, flow_timeout, step, attempts, delay, timeout, needs, kind, late in rows:
        if step is None:
            continue  # a flow without steps
        assert isinstance(needs, list)
        own = Options(attempts, delay, timeout, late)  # type: ignore[arg-type]
        steps.append(StepShape(str(step), tuple(map(str, needs)), own, kind))  # type: ignore[arg-type]
        timeouts[str(step)] = as_int(flow_timeout if timeout is None else timeout)
    return StoredFlow(FlowShape(slug, options, tuple(steps)), timeouts)
