"""Percentiles by nearest rank: each is a value that was measured, never one in between."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that is not below `percent` of all values.

    Args:
        values: the measurements, in any order.
        percent: above 0, up to 100.

    Raises:
        ValueError: there are no values, or the percentage is out of range.

    Example:
        >>> percentile([4.0, 1.0, 3.0, 2.0], 50)
        2.0
    """
    if not values:
        raise ValueError("there are no values to take a percentile of")
    if not 0 < percent <= 100:  # noqa: PLR2004  # what a percentage is
        raise ValueError(f"a percentage is above 0 and at most 100, not {percent}")
    # Multiplied before it is divided: 0.07 * 100 is a little above 7.
    return sorted(values)[math.ceil(percent * len(values) / 100) - 1]
