"""One task and its handler in, one outcome out, whatever the handler does."""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgflow_ref import TaskFailed
from pgflow_ref.execute import (
    STOPPED,
    arguments,
    call,
    call_async,
    completed,
    failed,
    is_async,
    prepare,
    timed_out,
    unknown_step,
)
from pgflow_ref.flow import Context
from pgflow_ref.json_contract import encode
from pgflow_ref.shape import StepShape
from pgflow_ref.task import Completed, Failed, Outcome, Task, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

NOBODY = UUID(int=0)


class Never:
    def is_set(self) -> bool:
        return False


CONTEXT = Context(NOBODY, "f", "s", 0, 1, None, NOBODY, Never())


def run(handler: Callable[..., Any], argument: Any = None) -> Outcome:
    """Perform a handler as the worker does, which asks first whether it is to be awaited."""
    if is_async(handler):
        return asyncio.run(call_async(handler, argument, CONTEXT))
    return call(handler, argument, CONTEXT)


def raising(error: BaseException) -> list[Callable[..., Any]]:
    """A plain function and a coroutine function that raise the error."""

    def plain(_argument: Any, _context: Any) -> None:
        raise error

    async def awaited(_argument: Any, _context: Any) -> None:
        raise error

    return [plain, awaited]


def returning(value: object) -> list[Callable[..., Any]]:
    def plain(_argument: Any, _context: Any) -> object:
        return value

    async def awaited(_argument: Any, _context: Any) -> object:
        return value

    return [plain, awaited]


# Arguments


@pytest.mark.parametrize(
    ("depends_on", "task_input", "argument", "flow_input"),
    [
        pytest.param((), '{"run": {"id": 7}}', {"id": 7}, {"id": 7}, id="root"),
        pytest.param((), '{"run": null}', None, None, id="root, null"),
        pytest.param(
            (), '{"run": [false, 0, ""]}', [False, 0, ""], [False, 0, ""], id="root, list"
        ),
        pytest.param(("a",), '{"run": 5, "a": {"x": 1}}', {"a": {"x": 1}}, 5, id="one dependency"),
        pytest.param(("b", "a"), '{"a": 1, "b": 2, "run": {}}', {"b": 2, "a": 1}, {}, id="several"),
        pytest.param(("a",), '{"run": 5, "a": null}', {"a": None}, 5, id="output None"),
        pytest.param(("a",), '{"run": 5}', {"a": None}, 5, id="missing output"),
        pytest.param(("a",), '{"run": 5, "a": 1, "c": 2}', {"a": 1}, 5, id="nothing else"),
    ],
)
def test_arguments(
    depends_on: tuple[str, ...], task_input: str, argument: Any, flow_input: Any
) -> None:
    got = arguments(StepShape("s", depends_on), task_input)
    assert got == (argument, flow_input)
    if isinstance(argument, dict):
        assert list(got[0]) == list(argument)  # type: ignore[arg-type]


@pytest.mark.parametrize("needs", [(), ("lines",)])
@pytest.mark.parametrize("element", [None, 7, False, "", ["tea"], {"run": 1}, {"lines": 2}])
def test_a_map_step_gets_its_element(needs: tuple[str, ...], element: Any) -> None:
    step = StepShape("s", needs, step_type="map")
    assert arguments(step, encode(element), '{"id": 7}') == (element, {"id": 7})


def test_a_map_step_needs_the_runs_input_beside_its_element() -> None:
    with pytest.raises(AssertionError, match="the run's input comes with a task of a map step"):
        arguments(StepShape("s", step_type="map"), "7")


@pytest.mark.parametrize("is_map", [False, True])
def test_a_task_is_prepared(is_map: bool) -> None:
    key = TaskKey(UUID(int=1), "s", 4, 2)
    task = Task(key, "f", 9, "7", "[7]") if is_map else Task(key, "f", 9, '{"run": 7}')
    step, stopping = StepShape("s", step_type="map" if is_map else "single"), Never()
    argument, context = prepare(step, task, NOBODY, stopping)
    assert argument == 7
    assert context == Context(UUID(int=1), "f", "s", 4, 2, [7] if is_map else 7, NOBODY, stopping)


@pytest.mark.parametrize("task_input", ["[1]", '{"a": 1}', "oops"])
def test_inputs_of_another_form(task_input: str) -> None:
    with pytest.raises((AssertionError, KeyError, ValueError)):
        arguments(StepShape("s"), task_input)


def test_a_handler_gets_argument_and_context() -> None:
    seen: list[object] = []

    def plain(argument: Any, context: Context) -> None:
        seen.append((argument, context))

    async def awaited(argument: Any, context: Context) -> None:
        seen.append((argument, context))

    for handler in (plain, awaited):
        assert run(handler, {"a": 1}) == Completed(None)
    assert seen == [({"a": 1}, CONTEXT)] * 2


# What is awaited


async def coroutine_function(argument: Any, _context: Any) -> Any:
    await asyncio.sleep(0)
    return argument


def function(argument: Any, _context: Any) -> Any:
    return argument


class Awaited:
    async def __call__(self, argument: Any, _context: Any) -> Any:
        return argument

    async def method(self, argument: Any, _context: Any) -> Any:
        return argument


class Called:
    def __call__(self, argument: Any, _context: Any) -> Any:
        return argument


@pytest.mark.parametrize(
    ("handler", "awaited"),
    [
        (function, False),
        (Called(), False),
        (functools.partial(function), False),
        (lambda argument, _: argument, False),
        (coroutine_function, True),
        (Awaited(), True),
        (Awaited().method, True),
        (functools.partial(coroutine_function), True),
        (functools.partial(Awaited().method), True),
    ],
)
def test_what_is_awaited(handler: Callable[..., Any], awaited: bool) -> None:
    assert is_async(handler) is awaited
    assert run(handler, [1]) == Completed("[1]")


def test_a_coroutine_that_nobody_awaits() -> None:
    """And no warning of Python's that it was never awaited, which would be an error here."""

    def handler(argument: Any, context: Any) -> Any:
        return coroutine_function(argument, context)

    assert run(handler) == Failed("the handler returned a coroutine; declare it with `async def`")


# Outputs


@pytest.mark.parametrize(
    ("value", "output"),
    [
        (None, None),
        (False, "false"),
        (0, "0"),
        ("", '""'),
        ([], "[]"),
        ({}, "{}"),
        ([None], "[null]"),
        ({"a": (1, 2.5, "é")}, '{"a": [1, 2.5, "é"]}'),
    ],
)
def test_outputs(value: object, output: str | None) -> None:
    assert completed(value) == Completed(output)
    for handler in returning(value):
        assert run(handler) == Completed(output)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": [{1}]}, "$.a[0]: set is not a JSON value"),
        (float("nan"), "$: NaN is not a JSON number"),
        (b"a", "$: bytes is not a JSON value"),
        ("a\x00", "$: PostgreSQL's jsonb has no U+0000"),
        ({"\ud800": 1}, '$["\\ud800"]: a lone surrogate, U+D800, is not text'),
        ({1: 2}, "$: a key is text, not int 1"),
        (iter(()), "$: tuple_iterator is not a JSON value"),
    ],
)
def test_outputs_that_cannot_be_stored(value: object, reason: str) -> None:
    for handler in returning(value):
        assert run(handler) == Failed(f"Output cannot be stored: {reason}")


# Errors


class Mute(Exception):
    def __str__(self) -> str:
        return ""


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307


class Rude(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Outer:
    class Inner(Exception):
        pass


class Hostile(Exception):
    pass


Hostile.__qualname__ = "Hos\ud800tile"


class Declined(TaskFailed):
    pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(ValueError("no"), "ValueError: no", id="text"),
        pytest.param(ValueError(), "ValueError", id="no text"),
        pytest.param(KeyError("total"), "KeyError: 'total'", id="KeyError"),
        pytest.param(ValueError("a", 1), "ValueError: ('a', 1)", id="several arguments"),
        pytest.param(ValueError("line\nline"), "ValueError: line\nline", id="lines"),
        pytest.param(ValueError("a\x00b"), "ValueError: a\\u0000b", id="NUL"),
        pytest.param(ValueError("a\ud800b"), "ValueError: a\\ud800b", id="surrogate"),
        pytest.param(Hostile("x"), "Hos\\ud800tile: x", id="surrogate in the type's name"),
        pytest.param(Outer.Inner("x"), "Outer.Inner: x", id="nested type"),
        pytest.param(Mute(), "Mute", id="empty text"),
        pytest.param(Broken(), "Broken: (its text cannot be read)", id="raising __str__"),
        pytest.param(NoText(), "NoText: (its text cannot be read)", id="__str__ of a number"),
        pytest.param(Rude(), "Rude: (its text cannot be read)", id="exiting __str__"),
        pytest.param(TaskFailed("card declined"), "card declined", id="TaskFailed"),
        pytest.param(TaskFailed("a\x00b"), "a\\u0000b", id="TaskFailed, NUL"),
        pytest.param(TaskFailed(""), "", id="TaskFailed, empty"),
        pytest.param(Declined("no"), "no", id="descendant of TaskFailed"),
        pytest.param(GeneratorExit("x"), "GeneratorExit: x", id="GeneratorExit"),
        pytest.param(asyncio.CancelledError(), "CancelledError", id="CancelledError"),
        pytest.param(MemoryError(), "MemoryError", id="MemoryError"),
    ],
)
def test_errors(error: BaseException, message: str) -> None:
    assert failed(error) == Failed(message)
    for handler in raising(error):
        assert run(handler) == Failed(message)


@pytest.mark.parametrize(
    ("error", "message"),
    [(SystemExit(1), "SystemExit: 1"), (KeyboardInterrupt("x"), "KeyboardInterrupt: x")],
)
def test_errors_that_end_processes_end_a_task(error: BaseException, message: str) -> None:
    plain, awaited = raising(error)
    assert call(plain, None, CONTEXT) == Failed(message)
    waiting = call_async(awaited, None, CONTEXT)
    with pytest.raises(StopIteration) as ended:  # no event loop, which would make it its own
        waiting.send(None)
    assert ended.value.value == Failed(message)


def test_exit_is_no_end() -> None:
    assert run(lambda *_: sys.exit("bye")) == Failed("SystemExit: bye")


def test_endless_recursion_is_an_error_like_any_other() -> None:
    def forever(argument: Any, context: Any) -> Any:
        return forever(argument, context)

    outcome = run(forever)
    assert isinstance(outcome, Failed)
    assert outcome.message.startswith("RecursionError: maximum recursion depth exceeded")


def test_a_handler_that_stops_being_callable() -> None:
    broken: Any = 5
    assert call(broken, None, CONTEXT) == Failed("TypeError: 'int' object is not callable")
    waiting = call_async(broken, None, CONTEXT)
    assert asyncio.run(waiting) == Failed("TypeError: 'int' object is not callable")


def test_awaiting_what_cannot_be_awaited() -> None:
    outcome = asyncio.run(call_async(function, [1], CONTEXT))
    assert outcome == Failed("TypeError: object list can't be used in 'await' expression")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(st.characters(exclude_categories=[])))
def test_any_message_can_be_stored(text: str) -> None:
    for error in (ValueError(text), TaskFailed(text)):
        message = failed(error).message
        assert "\x00" not in message
        message.encode()


# Cancellation


def test_a_cancelled_handler_has_an_outcome_too() -> None:
    cleaned = []

    async def handler(_argument: Any, _context: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    async def cancel() -> Outcome:
        running = asyncio.ensure_future(call_async(handler, None, CONTEXT))
        await asyncio.sleep(0)
        running.cancel()
        return await running

    assert asyncio.run(cancel()) == Failed("CancelledError")
    assert cleaned == [True]


def test_a_handler_may_answer_a_cancellation() -> None:
    async def handler(_argument: Any, _context: Any) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "as far as I got"
        raise AssertionError

    async def cancel() -> Outcome:
        running = asyncio.ensure_future(call_async(handler, None, CONTEXT))
        await asyncio.sleep(0)
        running.cancel()
        return await running

    assert asyncio.run(cancel()) == Completed('"as far as I got"')


def test_a_handler_that_is_thrown_away() -> None:
    """As when an event loop is closed under it: no error, and no warning."""

    class Once:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def handler(_argument: Any, _context: Any) -> None:
        await Once()

    waiting = call_async(handler, None, CONTEXT)
    waiting.send(None)
    waiting.close()


# Texts that others read


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (3, "Task timed out after 3s"),
        (60.0, "Task timed out after 60s"),
        (0.5, "Task timed out after 0.5s"),
        (1_234_567, "Task timed out after 1234567s"),
        (float(2**31 - 1), "Task timed out after 2147483647s"),
    ],
)
def test_timed_out(seconds: float, message: str) -> None:
    assert timed_out(seconds) == Failed(message, "timeout")


def test_an_unknown_step_is_told_as_in_typescript() -> None:
    assert unknown_step("x", "f") == Failed('Step "x" does not exist in flow "f"')


def test_stopped() -> None:
    told = "The worker was stopped before the task was over"
    assert Failed(told, "stopped") == STOPPED
