"""Calls about runs: start them at once or later, wait for them, look at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pgflow_ref import operations as ops
from pgflow_ref.calls.names import flow_slug, run_uuid, step_slug
from pgflow_ref.calls.requests import Atomic, Call, Clock, NewIds, Sleep, Tell
from pgflow_ref.calls.schedule import instant, whole_seconds
from pgflow_ref.errors import (
    NotJson,
    RunFailed,
    RunNotFound,
    RunTimeout,
    StepNotCompleted,
    StepNotFound,
)
from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from pgflow_ref.flow import Flow, Step
    from pgflow_ref.json_contract import Json
    from pgflow_ref.operations import Run, StepOutput


def start_flow(flow: Flow | str, run_input: object, run_id: UUID | None) -> Call[UUID]:
    """Start one run; see `PgFlow.start_flow`."""
    slug = flow_slug(flow)
    started: UUID = yield ops.start_flow(slug, encode(run_input), run_id)
    yield Tell("pgflow.run.started", slug, started)
    return started


def start_flows(flow: Flow | str, inputs: Iterable[object]) -> Call[list[UUID]]:
    """Start a run for each input; see `PgFlow.start_flows`."""
    slug = flow_slug(flow)
    encoded = _encode_all(inputs)
    if not encoded:
        return []
    run_ids: list[UUID] = yield NewIds(len(encoded))
    yield ops.start_flows(slug, encoded, run_ids)
    for run_id in run_ids:
        yield Tell("pgflow.run.started", slug, run_id)
    return run_ids


def enqueue(
    job: Flow | str,
    run_input: object,
    delay: float | timedelta | None,
    scheduled_at: datetime | None,
) -> Call[UUID]:
    """Start one run, now or later; see `PgFlow.enqueue`."""
    if scheduled_at is not None:
        return (yield from enqueue_at(job, run_input, scheduled_at))
    return (yield from enqueue_in(job, run_input, 0 if delay is None else delay))


def enqueue_in(job: Flow | str, run_input: object, delay: float | timedelta) -> Call[UUID]:
    """Start one run whose first tasks wait; see `PgFlow.enqueue_in`."""
    seconds = whole_seconds(delay)
    if seconds == 0:
        return (yield from start_flow(job, run_input, None))
    slug = flow_slug(job)
    started: UUID = yield Atomic(_start_in(slug, encode(run_input), seconds))
    yield Tell("pgflow.run.started", slug, started)
    return started


def enqueue_at(job: Flow | str, run_input: object, at: datetime) -> Call[UUID]:
    """Start one run whose first tasks wait for a time; see `PgFlow.enqueue_at`."""
    moment = instant(at)
    slug = flow_slug(job)
    started: UUID = yield Atomic(_start_at(slug, encode(run_input), moment))
    yield Tell("pgflow.run.started", slug, started)
    return started


def _start_in(slug: str, run_input: str, seconds: int) -> Call[UUID]:
    started: UUID = yield ops.start_flow(slug, run_input, None)
    yield ops.delay_run(started, seconds)
    return started


def _start_at(slug: str, run_input: str, at: datetime) -> Call[UUID]:
    started: UUID = yield ops.start_flow(slug, run_input, None)
    yield ops.schedule_run(started, at)
    return started


def _encode_all(inputs: Iterable[object]) -> Sequence[str]:
    if isinstance(inputs, (str, bytes, Mapping)):
        raise NotJson("$", f"inputs are given as a list of inputs, not as {type(inputs).__name__}")
    encoded: list[str] = []
    for index, run_input in enumerate(inputs):
        try:
            encoded.append(encode(run_input))
        except NotJson as error:  # noqa: PERF203  # which of them it is
            path = f"$[{index}]{error.path.removeprefix('$')}"
            raise NotJson(path, error.reason) from None
    return encoded


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
    run: Run | None = yield ops.get_run(run_uuid(run_id))
    if run is None:
        raise RunNotFound(run_id)
    return run


def get_run_with_states(run_id: UUID | str) -> Call[Run]:
    """One run with its steps; see `PgFlow.get_run_with_states`."""
    run: Run | None = yield ops.get_run_with_states(run_uuid(run_id))
    if run is None:
        raise RunNotFound(run_id)
    return run


def get_step_output(run_id: UUID | str, step: Step[..., object] | str) -> Call[Json]:
    """What a step put out in a run; see `PgFlow.get_step_output`."""
    uuid, slug = run_uuid(run_id), step_slug(step)
    found: StepOutput | None = yield ops.get_step_output(uuid, slug)
    if found is None:
        raise RunNotFound(run_id)
    if found.status is None:
        raise StepNotFound(uuid, str(step) if slug is None else slug)
    if found.status != "completed":
        raise StepNotCompleted(uuid, str(slug), found.status)
    return found.output


def get_flow_input(run_id: UUID | str) -> Call[Json]:
    """What a run was started with; see `PgFlow.get_flow_input`."""
    run = yield from get_run(run_id)
    return run.input


def _reason(run: Run) -> str:
    for state in run.step_states:
        if state.status == "failed":
            return f"step {state.step_slug!r}: {state.error_message}"
    return "no step says why"
