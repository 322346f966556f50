"""JSON values as the suite compares and shows them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

_SHOWN: Final = 300  # characters of a value in a message


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: true is not 1, and 1 and 1.0 are one number."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if _is_number(left) and _is_number(right):
        return Decimal(str(left)) == Decimal(str(right))
    return type(left) is type(right) and bool(left == right)


def show(value: Any) -> str:
    """A value for a message, not too long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
