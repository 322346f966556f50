"""When a job is to run: what a delay and a time may be."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Final

from pgflow_ref.errors import InvalidDelay, InvalidSchedule

MAX_SECONDS: Final = 2**31 - 1
"""The longest delay, about 68 years: pgmq takes it as a 32-bit integer (`pgmq.set_vt`)."""


def seconds(value: float | timedelta, name: str = "delay") -> float:
    """A number of seconds from 0 on, or a timedelta, as seconds.

    Raises:
        InvalidDelay: it is neither, or longer than `MAX_SECONDS`.

    Example:
        >>> seconds(timedelta(minutes=1))
        60.0
        >>> seconds(-1)
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.InvalidDelay: delay is between 0 and 2147483647 seconds, not -1
    """
    if isinstance(value, timedelta):
        given: float = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidDelay(f"{name} is a number of seconds or a timedelta, not {value!r:.80}")
    else:
        given = value
    if not 0 <= given <= MAX_SECONDS:  # so put, NaN is not
        far_off = isinstance(given, int) and given.bit_length() > 100  # noqa: PLR2004
        shown = "a number that is far off" if far_off else repr(value)
        raise InvalidDelay(f"{name} is between 0 and {MAX_SECONDS} seconds, not {shown}")
    return given


def whole_seconds(delay: float | timedelta) -> int:
    """A delay as pgmq counts it, in whole seconds: rounded up, so that nothing runs too early.

    Raises:
        InvalidDelay: see `seconds`.

    Example:
        >>> whole_seconds(0.2)
        1
    """
    return math.ceil(seconds(delay))


def instant(at: datetime) -> datetime:
    """An aware datetime, of whatever zone, in UTC.

    Raises:
        InvalidSchedule: it is no aware datetime.

    Example:
        >>> instant(datetime.fromisoformat("2026-05-08T14:00:00+02:00"))
        datetime.datetime(2026, 5, 8, 12, 0, tzinfo=datetime.timezone.utc)
    """
    if not isinstance(at, datetime):
        raise InvalidSchedule(f"a job is scheduled at a datetime, not {at!r:.80}")
    if at.utcoffset() is None:
        raise InvalidSchedule(
            f"{at} has no time zone; say which one is meant, such as "
            "datetime.now(timezone.utc) + timedelta(hours=1)"
        )
    try:
        return at.astimezone(timezone.utc)
    except OverflowError:  # within a day of the end, or the beginning, of Python's calendar
        if at.year == 1:
            return datetime.min.replace(tzinfo=timezone.utc)
        return datetime.max.replace(tzinfo=timezone.utc)
