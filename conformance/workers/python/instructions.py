"""The instructions of CONTRACT.md over plain values. What reaches outside comes in as a World."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pgflow_ref import TaskFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

KNOWN = {"return", "echo", "pick", "sum", "sleep", "fail", "hang", "exit", "garbage"}


@dataclass(frozen=True)
class World:
    """What a handler can do to the world around it."""

    attempt: int
    sleep: Callable[[float], Awaitable[None]]
    hang: Callable[[], Awaitable[None]]
    exit: Callable[[int], None]


async def perform(  # noqa: C901  # one case for each instruction
    handler: list[dict[str, Any]], argument: object, inputs: object, world: World
) -> object:
    """Perform a handler: its output is the last value that an instruction made, else None.

    `argument` is what the worker handed to the handler, `inputs` the object `{"run": …, …}` that
    paths lead into.
    """
    output: object = None
    for instruction in handler:
        match instruction:
            case {"return": value}:
                output = value
            case {"echo": _}:
                output = argument
            case {"pick": what}:
                output = _pick(what, inputs)
            case {"sum": paths}:
                output = _sum(paths, inputs)
            case {"garbage": _}:
                output = {"garbage": object()}
            case {"sleep": seconds}:
                await world.sleep(seconds)
            case {"hang": _}:
                await world.hang()
            case {"exit": code}:
                world.exit(code)
            case {"fail": text}:
                if world.attempt <= instruction.get("attempts", world.attempt):
                    raise TaskFailed(text)
    return output


def _pick(what: list[Any] | dict[str, list[Any]], inputs: object) -> object:
    if isinstance(what, dict):
        return {name: _pick(path, inputs) for name, path in what.items()}
    values = list(_select(what, inputs))
    return values if "*" in what else values[0]


def _sum(paths: list[list[Any]], inputs: object) -> object:
    total: Any = 0
    for path in paths:
        for value in _select(path, inputs):
            if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
                raise TaskFailed(f"no number at {_show(path)}")
            total += value
    return total


def _select(path: list[Any], inputs: object) -> Iterator[object]:
    """All values at a path: one, or with "*" any number."""
    values = [inputs]
    for key in path:
        values = [found for value in values for found in _inside(value, key, path)]
    return iter(values)


def _inside(value: object, key: str | int, path: list[Any]) -> list[Any]:
    if isinstance(value, list) and key == "*":
        return value
    try:
        if isinstance(value, dict if isinstance(key, str) else list):
            return [value[key]]  # type: ignore[index]
    except LookupError:
        pass
    raise TaskFailed(f"nothing at {_show(path)}")


def _show(path: list[Any]) -> str:
    return json.dumps(path, ensure_ascii=False, separators=(",", ":"))
