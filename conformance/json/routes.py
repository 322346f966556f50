"""Which ways values go: who starts the run, who runs its first step, and who its second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from conformance.harness.cases import Case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from conformance.harness.adapters import Adapter

FIRST: Final = "one"
SECOND: Final = "two"

FLOW: Final = {
    "slug": "passage",
    "max_attempts": 1,
    "steps": [
        {"slug": FIRST, "handler": [{"pick": ["run"]}]},
        {"slug": SECOND, "depends_on": [FIRST], "handler": [{"pick": [FIRST]}]},
    ],
}
"""Each step's output is what it was given."""

_T = TypeVar("_T")


def routes(workers: Sequence[_T]) -> Iterator[tuple[_T, _T, _T]]:
    """Ways over all workers, so that every two of them follow each other in both places.

    Example:
        >>> ["".join(route) for route in routes("ab")]
        ['aaa', 'abb', 'bab', 'bba']
    """
    count = len(workers)
    for first in range(count):
        for second in range(count):
            yield workers[first], workers[second], workers[(first + second) % count]


def cases_of(adapters: Sequence[Adapter]) -> list[Case]:
    """A case for each route; those of a quick run are as many as there are workers."""
    return [
        Case(
            id=f"json.{'_'.join(adapter.name for adapter in route)}",
            promise="A JSON value is what it was, whoever starts a run with it and whoever hands"
            " it on.",
            reference="pgflow.runs.input and step_tasks.output are jsonb; RFC 8259",
            flow=FLOW,
            worker={"poll_interval": 0.05},
            runs=(),
            quick=index % (len(adapters) + 1) == 1 % len(adapters),
            within=60,
        )
        for index, route in enumerate(routes(adapters))
    ]
