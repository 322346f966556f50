"""What pgflow calls JSON: which Python values it takes, and how they come back.

Every value keeps what it is on the way through the database: false, 0, "" and [] stay themselves,
integers have no limit, and a number with a fraction that a float cannot hold exactly arrives as a
`decimal.Decimal`. What JSON or PostgreSQL's jsonb cannot hold is refused, with the path to it, in
place of being bent into something near: a key that is no text, NaN, a lone surrogate.

The standard library writes and reads nearly everything. Two things it cannot do, and only then the
slower functions of `json_slow.py` step in: a `Decimal` as a JSON number, and nesting or integers
beyond Python's own limits.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

from pgflow_ref.errors import NotJson
from pgflow_ref.json_slow import number, read, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json: TypeAlias = "bool | int | float | Decimal | str | list[Json] | dict[str, Json] | None"
"""A JSON value in Python."""

_LEAST_LIMIT_ON_DIGITS: Final = 640  # that sys.set_int_max_str_digits takes
_DEEP: Final = 200  # levels that the standard library surely manages on top of the caller's own
_MAX_DIGITS: Final = 131_072  # before the point in PostgreSQL's numeric
_MAX_SCALE: Final = 16_383  # after the point
_MAX_TEXT: Final = 0x0FFF_FFFF  # bytes of one string in a jsonb
_MANY_BITS: Final = 435_000  # a little less than the largest integer has
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def encode(value: object) -> str:
    """Write a value as JSON text that PostgreSQL takes as jsonb.

    Args:
        value: None, bool, int, float, Decimal, str, and lists, tuples and dicts (with text as
            keys) of them. A tuple is written as an array.

    Raises:
        NotJson: with the path to the first value that cannot be written.

    Example:
        >>> encode({"price": Decimal("19.90"), "tags": ()})
        '{"price": 19.90, "tags": []}'
        >>> encode({"items": [1, float("nan")]})
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.NotJson: $.items[1]: NaN is not a JSON number
    """
    if _survey(value):
        return write(value)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, check_circular=False)


def decode(text: str) -> Json:
    """Read JSON text, losing nothing: see the module's head for numbers.

    Raises:
        NotJson: the text is not JSON.

    Example:
        >>> decode('[0.1, 0.1234567890123456789, 12345678901234567890]')
        [0.1, Decimal('0.1234567890123456789'), 12345678901234567890]
    """
    try:
        value: Json = _DECODER.decode(text)
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        said = "Unexpected UTF-8 BOM" if text.startswith("\ufeff") else str(error)
        raise NotJson("$", f"not JSON: {said}") from None
    except (RecursionError, ValueError):
        # Too deep, or more digits than Python turns into an int without being asked to.
        value = read(text)
    return value


def printable(text: str) -> str:
    r"""Make any text fit for PostgreSQL: what it cannot store is written as an escape.

    Example:
        >>> printable("a\x00b")
        'a\\u0000b'
    """
    if "\x00" in text:
        text = text.replace("\x00", "\\u0000")
    if _SURROGATE.search(text):
        text = _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text


def _survey(value: object) -> bool:
    """Check every part of the value; say whether the standard library would fail to write it.

    A loop over a stack and not a recursion, because depth is the sender's choice. The path to a
    part is put into words only when something is wrong with it.
    """
    special = False
    keys: list[object] = []  # the way to the container at the top of the stack
    open_ids: dict[int, None] = {}  # the containers on that way, to notice a circle
    stack: list[Iterator[tuple[object, object]]] = [iter(((_ROOT, value),))]
    while stack:
        for key, part in stack[-1]:
            kind = type(part)
            if kind is str:
                assert isinstance(part, str)
                if len(part) > _MAX_TEXT // 4 or not part.isascii() or "\x00" in part:
                    _check_text(part, keys, key)
            elif kind is bool or part is None:
                pass
            elif isinstance(part, (dict, list, tuple)):
                if id(part) in open_ids:
                    raise NotJson(_path(keys, key), "contains itself")
                open_ids[id(part)] = None
                keys.append(key)
                if isinstance(part, dict):
                    _check_keys(part, keys)
                    stack.append(iter(part.items()))
                else:
                    stack.append(enumerate(part))
                special = special or len(stack) > _DEEP
                break
            else:
                special = _check_scalar(part, keys, key) or special
        else:
            stack.pop()
            if stack:
                keys.pop()
                open_ids.popitem()
    return special


_ROOT: Final = object()


def _path(keys: Iterable[object], key: object) -> str:
    """Put a way into words, like `$.items[3]["unit price"]`."""
    words = []
    for part in (*keys, key):
        if part is _ROOT:
            words.append("$")
        elif isinstance(part, str):
            plain = _PLAIN_KEY.fullmatch(part)
            words.append(f".{part}" if plain else f"[{json.dumps(part)}]")
        else:
            words.append(f"[{part}]")
    return "".join(words)


def _check_keys(container: dict[object, object], keys: list[object]) -> None:
    for key in container:
        if not isinstance(key, str):
            raise NotJson(_path(keys[:-1], keys[-1]), f"a key is text, not {_show(key)}")
        if len(key) > _MAX_TEXT // 4 or not key.isascii() or "\x00" in key:
            _check_text(key, keys, key)


def _check_scalar(part: object, keys: list[object], key: object) -> bool:
    """Check a value that has no parts; True when the standard library cannot write it."""
    if isinstance(part, str):
        _check_text(part, keys, key)
        return False
    if isinstance(part, int):
        if part.bit_length() > _MANY_BITS and abs(part) >= 10**_MAX_DIGITS:
            raise NotJson(_path(keys, key), f"PostgreSQL holds at most {_MAX_DIGITS} digits")
        return part.bit_length() > 3 * _LEAST_LIMIT_ON_DIGITS
    if isinstance(part, float):
        if not math.isfinite(part):
            shown = "NaN" if math.isnan(part) else "an infinity"
            raise NotJson(_path(keys, key), f"{shown} is not a JSON number")
        return False
    if isinstance(part, Decimal):
        _check_decimal(part, keys, key)
        return True
    raise NotJson(_path(keys, key), f"{_show(part)} is not a JSON value")


def _check_text(text: str, keys: list[object], key: object) -> None:
    if "\x00" in text:
        raise NotJson(_path(keys, key), "PostgreSQL's jsonb has no U+0000")
    found = _SURROGATE.search(text)
    if found:
        raise NotJson(_path(keys, key), f"a lone surrogate, U+{ord(found[0]):04X}, is not text")
    if len(text) * 4 > _MAX_TEXT and len(text.encode()) > _MAX_TEXT:
        raise NotJson(_path(keys, key), f"a text in jsonb has at most {_MAX_TEXT} bytes")


def _check_decimal(part: Decimal, keys: list[object], key: object) -> None:
    if not part.is_finite():
        raise NotJson(_path(keys, key), f"{part} is not a JSON number")
    exponent = part.as_tuple().exponent
    assert isinstance(exponent, int)
    if part.adjusted() >= _MAX_DIGITS or exponent < -_MAX_SCALE:
        raise NotJson(
            _path(keys, key),
            f"PostgreSQL holds {_MAX_DIGITS} digits before the point and {_MAX_SCALE} after it",
        )


def _show(value: object) -> str:
    name = type(value).__name__
    if isinstance(value, int) and value.bit_length() > _LEAST_LIMIT_ON_DIGITS:
        return f"{name} of {value.bit_length()} bits"
    return f"{name} {value!r}" if isinstance(value, (int, float)) else name


def _no_number(text: str) -> Json:
    raise NotJson("$", f"not JSON: {text} is not a JSON number")


_DECODER: Final = json.JSONDecoder(parse_float=number, parse_constant=_no_number)
