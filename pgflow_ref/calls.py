"""What a client does, as generators: they yield what they need done and are sent what came of it.

A call that takes several steps (look, wait, look again) is written once here, and performed by the
synchronous and by the asynchronous client alike (`client.py`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from uuid import UUID

from pgflow_ref import operations as ops
from pgflow_ref.errors import InvalidFlow, RunFailed, RunNotFound, RunTimeout
from pgflow_ref.flow import Flow
from pgflow_ref.json_contract import encode, printable
from pgflow_ref.shape import MAX_STEP_SLUG, check_slug

if TYPE_CHECKING:
    from pgflow_ref.operations import Operation, Run

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Clock:
    """Say what time it is, in seconds on a clock that never goes back."""


Call: TypeAlias = Generator["Operation[Any] | Sleep | Clock", Any, T]


def start_flow(flow: Flow | str, run_input: object, run_id: UUID | None) -> Call[UUID]:
    """Start one run; see `PgFlow.start_flow`."""
    started: UUID = yield ops.start_flow(_slug(flow), encode(run_input), run_id)
    return started


def start_flow_sync(
    flow: Flow | str, run_input: object, *, timeout: float, poll_interval: float
) -> Call[Run]:
    """Start one run and wait for its end; see `PgFlow.start_flow_sync`."""
    if not (timeout >= 0 and poll_interval > 0):  # so put, NaN is neither
        raise ValueError(
            f"timeout is at least 0 and poll_interval above 0, not {timeout} and {poll_interval}"
        )
    run_id = yield from start_flow(flow, run_input, None)
    give_up_at = (yield Clock()) + timeout
    while True:
        run = yield from get_run_with_states(run_id)
        if run.status == "failed":
            raise RunFailed(run, _reason(run))
        if run.is_over:
            return run
        left = give_up_at - (yield Clock())
        if left <= 0:
            raise RunTimeout(run_id, timeout)
        yield Sleep(min(poll_interval, left))


def get_run(run_id: UUID | str) -> Call[Run]:
    """One run; see `PgFlow.get_run`."""
    run: Run | None = yield ops.get_run(_run_id(run_id))
    if run is None:
        raise RunNotFound(run_id)
    return run


def get_run_with_states(run_id: UUID | str) -> Call[Run]:
    """One run with its steps; see `PgFlow.get_run_with_states`."""
    run: Run | None = yield ops.get_run_with_states(_run_id(run_id))
    if run is None:
        raise RunNotFound(run_id)
    return run


def _slug(flow: Flow | str) -> str:
    if isinstance(flow, Flow):
        return flow.slug
    if not isinstance(flow, str):
        raise InvalidFlow("a flow is given as a Flow or its slug", flow=flow)
    # What another language declared may have a slug that Python would not: the database knows.
    # But what is no text to PostgreSQL, or too long for any core, cannot even be asked for.
    if printable(flow) != flow or len(flow) > MAX_STEP_SLUG:
        check_slug(flow, flow=flow)
    return flow


def _run_id(run_id: UUID | str) -> UUID:
    if isinstance(run_id, UUID):
        return run_id
    try:
        return UUID(run_id)
    except (ValueError, AttributeError, TypeError):
        raise RunNotFound(run_id) from None


def _reason(run: Run) -> str:
    for state in run.step_states:
        if state.status == "failed":
            return f"step {state.step_slug!r}: {state.error_message}"
    return "no step says why"
