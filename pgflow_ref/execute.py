"""One task and its handler in, one outcome out.

This module owns the two ends of a handler: which argument the input of the core becomes, and which
text an error becomes. It never raises: whatever a handler does, there is an outcome.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final

from pgflow_ref.errors import NotJson, TaskFailed
from pgflow_ref.flow import Context
from pgflow_ref.json_contract import decode, encode, printable
from pgflow_ref.shape import RESERVED_SLUG
from pgflow_ref.task import Completed, Failed, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from uuid import UUID

    from pgflow_ref.flow import Handler, Stopping
    from pgflow_ref.json_contract import Json
    from pgflow_ref.shape import StepShape
    from pgflow_ref.task import Task

STOPPED: Final = Failed("The worker was stopped before the task was over", "stopped")
"""The outcome of a task that still ran when its worker's time to stop had passed."""


def arguments(step: StepShape, task_input: str, flow_input: str | None = None) -> tuple[Json, Json]:
    """What the handler gets, and the run's input, out of what `pgflow.start_tasks` gave.

    Cores before 0.12 give `{"run": …, "<dependency>": …}`. A step without dependencies gets the
    run's input as it is, any other the object of its dependencies' outputs. A task of a map step
    is given its element and nothing else, so that the run's input has to come with it.

    Example:
        >>> from pgflow_ref.shape import StepShape
        >>> arguments(StepShape("pay", ("check",)), '{"run": {"id": 7}, "check": true}')
        ({'check': True}, {'id': 7})
        >>> arguments(StepShape("pack", ("lines",), step_type="map"), '"tea"', '{"id": 7}')
        ('tea', {'id': 7})
    """
    whole = decode(task_input)
    if step.is_map:
        assert flow_input is not None, "the run's input comes with a task of a map step"
        return whole, decode(flow_input)
    assert isinstance(whole, dict), "start_tasks builds an object"
    of_run = whole[RESERVED_SLUG]
    if not step.depends_on:
        return of_run, of_run
    return {slug: whole.get(slug) for slug in step.depends_on}, of_run


def prepare(
    step: StepShape, task: Task, worker_id: UUID, stopping: Stopping
) -> tuple[Json, Context]:
    """The two arguments of a task's handler.

    Args:
        step: the task's step.
        task: the task, with the input that the core gave.
        worker_id: whose task it is.
        stopping: is set when that worker is asked to stop.
    """
    argument, flow_input = arguments(step, task.input, task.flow_input)
    run_id, step_slug, task_index, attempt = task.key
    where = (run_id, task.flow_slug, step_slug, task_index, attempt)
    return argument, Context(*where, flow_input, worker_id, stopping)


def is_async(handler: Handler) -> bool:
    """Whether the handler is to be awaited rather than called in a thread."""
    called = getattr(handler, "__call__", handler)  # noqa: B004  # an object with async __call__
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called)


def call(handler: Handler, argument: Json, context: Context) -> Outcome:
    """Perform a handler that is a plain function."""
    try:
        value = handler(argument, context)
        _check_awaited(value, "declare it with `async def`")
        return completed(value)
    except BaseException as error:  # noqa: BLE001  # sys.exit() in a handler ends a task, no worker
        return failed(error)


async def call_async(handler: Handler, argument: Json, context: Context) -> Outcome:
    """Perform a handler that is a coroutine function."""
    try:
        waiting: Awaitable[object] = handler(argument, context)  # type: ignore[assignment]
        value = await waiting
        _check_awaited(value, "await it")
        return completed(value)
    except BaseException as error:  # noqa: BLE001  # also a cancellation: its outcome is dropped
        return failed(error)


def _check_awaited(value: object, remedy: str) -> None:
    """Say so where a handler returned a coroutine, which Python would only warn of."""
    if inspect.iscoroutine(value):
        value.close()
        raise TaskFailed(f"the handler returned a coroutine; {remedy}")


def completed(value: object) -> Outcome:
    """The outcome of a handler that returned this value; None is stored as SQL NULL.

    Example:
        >>> completed([1, False])
        Completed(output='[1, false]')
        >>> completed({"when": object()})
        Failed(message='Output cannot be stored: $.when: object is not a JSON value', kind='error')
    """
    try:
        return Completed(None if value is None else encode(value))
    except NotJson as error:
        return Failed(f"Output cannot be stored: {error}")


def failed(error: BaseException) -> Failed:
    """The outcome of a handler that raised: its type and text, or the bare text of `TaskFailed`.

    Example:
        >>> failed(KeyError("total"))
        Failed(message="KeyError: 'total'", kind='error')
        >>> failed(TaskFailed("card declined"))
        Failed(message='card declined', kind='error')
    """
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  # an exception whose __str__ raises is still a failure
        text = "(its text cannot be read)"
    if not isinstance(error, TaskFailed):
        name = type(error).__qualname__
        text = f"{name}: {text}" if text else name
    return Failed(printable(text))


def timed_out(seconds: float) -> Failed:
    """The outcome of a task that ran longer than it may.

    Example:
        >>> timed_out(30)
        Failed(message='Task timed out after 30s', kind='timeout')
    """
    return Failed(f"Task timed out after {seconds:.15g}s", "timeout")


def unknown_step(step: str, flow: str) -> Failed:
    """The outcome of a task whose step the code does not have; TypeScript says the same."""
    return Failed(f'Step "{step}" does not exist in flow "{flow}"')
