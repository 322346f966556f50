"""JSON the slow way, for what the standard library cannot do.

It has no JSON number for a `Decimal`, no integers of more digits than Python's own limit, and no
depth beyond Python's own stack. These two functions have no limit, and keep to the grammar of JSON
(RFC 8259) all the same. `json_contract.py` says when they step in.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Final, NoReturn

from pgflow_ref.errors import NotJson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_ref.json_contract import Json

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"(-?(?:0|[1-9][0-9]*))((?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
_LITERALS: Final[dict[str, Json]] = {"true": True, "false": False, "null": None}
_LITERAL: Final = re.compile("true|false|null")

# What may stand at the reader's place.
_VALUE: Final = "a value"
_FIRST_VALUE: Final = "a value or ]"
_KEY: Final = "a key"
_FIRST_KEY: Final = "a key or }"
_COMMA: Final = "a comma or the end"


def number(text: str) -> float | Decimal:
    """A number with a fraction or an exponent: a float, where that holds it exactly as written."""
    near = float(text)
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise NotJson("$", f"a number that nothing can hold: {text[:40]}") from None
    # repr, because 0.1 as written is what people mean, not the binary fraction behind it.
    return near if math.isfinite(near) and Decimal(repr(near)) == exact else exact


def write(value: object) -> str:
    """Write a value that has been checked."""
    return "".join(_written(value))


def read(text: str) -> Json:
    """Read JSON text of any depth, with integers of any length.

    Raises:
        NotJson: it is not JSON.
    """
    root: list[Json] = []
    stack: list[list[Json] | dict[str, Json]] = [root]
    keys: list[str] = [""]  # the key that waits for its value, for each open container
    wanted, place = _VALUE, _skip(text, 0)
    while place < len(text):
        top, char = stack[-1], text[place]
        if (wanted, char) in ((_FIRST_VALUE, "]"), (_FIRST_KEY, "}")) or (
            wanted == _COMMA and len(stack) > 1 and char == ("}" if isinstance(top, dict) else "]")
        ):
            stack.pop()
            keys.pop()
            wanted, place = _COMMA, place + 1
        elif wanted == _COMMA and len(stack) > 1 and char == ",":
            wanted, place = _KEY if isinstance(top, dict) else _VALUE, place + 1
        elif wanted in (_KEY, _FIRST_KEY) and char == '"':
            keys[-1], place = _key(text, place)
            wanted = _VALUE
        elif wanted in (_VALUE, _FIRST_VALUE):
            value, place = _open_or_scalar(text, place)
            if isinstance(top, dict):
                top[keys[-1]] = value
            else:
                top.append(value)
            wanted = _COMMA
            if isinstance(value, (list, dict)):
                stack.append(value)
                keys.append("")
                wanted = _FIRST_KEY if isinstance(value, dict) else _FIRST_VALUE
        else:
            _refuse(wanted, place)
        place = _skip(text, place)
    if wanted != _COMMA or len(stack) > 1:
        _refuse(wanted, place)
    return root[0]


def _open_or_scalar(text: str, place: int) -> tuple[Json, int]:
    """The value at this place, a container as yet empty, and the place after it."""
    char = text[place]
    if char in "[{":
        return ([] if char == "[" else {}), place + 1
    if char == '"':
        return _string(text, place)
    literal = _LITERAL.match(text, place)
    if literal:
        return _LITERALS[literal[0]], literal.end()
    found = _NUMBER.match(text, place)
    if found is None:
        _refuse(_VALUE, place)
    # By way of Decimal, which has no limit on digits.
    value = number(found[0]) if found[2] else int(Decimal(found[1]))
    return value, found.end()


def _key(text: str, place: int) -> tuple[str, int]:
    key, place = _string(text, place)
    place = _skip(text, place)
    if text[place : place + 1] != ":":
        _refuse("a colon", place)
    return key, place + 1


def _string(text: str, place: int) -> tuple[str, int]:
    try:
        string, end = scanstring(text, place + 1)
    except json.JSONDecodeError as error:
        raise NotJson("$", f"not JSON: {error}") from None
    return string, end


def _skip(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    return space.end() if space else place


def _refuse(wanted: str, place: int) -> NoReturn:
    raise NotJson("$", f"not JSON: there is no {wanted.removeprefix('a ')} at character {place}")


def _written(value: object) -> Iterator[str]:
    """A value piece by piece, without recursion."""
    stack: list[Iterator[str | tuple[object]]] = [iter([(value,)])]
    while stack:
        piece = next(stack[-1], None)
        if piece is None:
            stack.pop()
        elif isinstance(piece, str):
            yield piece
        elif isinstance(piece[0], (list, tuple, dict)):
            stack.append(_pieces(piece[0]))
        elif isinstance(piece[0], Decimal):
            yield str(piece[0])
        elif isinstance(piece[0], int) and not isinstance(piece[0], bool):
            yield f"{Decimal(int(piece[0])):f}"
        else:
            yield json.dumps(piece[0], ensure_ascii=False)


def _pieces(
    container: list[object] | tuple[object, ...] | dict[str, object],
) -> Iterator[str | tuple[object]]:
    """A container as text pieces and, wrapped in a tuple, the values still to be written."""
    if isinstance(container, dict):
        yield "{"
        for index, (key, part) in enumerate(container.items()):
            yield (", " if index else "") + json.dumps(key, ensure_ascii=False) + ": "
            yield (part,)
        yield "}"
    else:
        yield "["
        for index, part in enumerate(container):
            if index:
                yield ", "
            yield (part,)
        yield "]"
