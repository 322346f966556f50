"""Transactions that may meet others on their way, and are tried again then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from pgflow_ref.calls.requests import Atomic, Call
from pgflow_ref.errors import FlowBusy

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_TRIES: Final = 5


def until_free(transaction: Callable[[], Call[T]]) -> Call[T]:
    """Perform a transaction, again where it met others on its way, but not for ever.

    Raises:
        FlowBusy: it met others each time.
    """
    done: T
    for _ in range(_TRIES - 1):
        try:
            done = yield Atomic(transaction())
        except FlowBusy:
            continue
        return done
    done = yield Atomic(transaction())
    return done
