"""What workers are given to do: flows whose handlers do nothing, and how many runs of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Returns = Literal["nothing", "input", "time", "tasks"]
"""What a handler returns.

`nothing` is an empty object, `input` the run's input, `time` when it began (seconds, UTC), and
`tasks`, of Python alone, an object of that (`at`) and of how many asyncio tasks its loop holds.
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """A flow and its queued runs.

    Attributes:
        slug: of the flow, and the workload's name.
        says: what it is, for people.
        steps: each step with those that it waits for.
        runs: how many are queued; a quick measurement has a fifth of them.
        payload: bytes of text in each run's input.
        returns: what each handler returns.
    """

    slug: str
    says: str
    steps: dict[str, tuple[str, ...]]
    runs: int
    payload: int = 0
    returns: Returns = "nothing"

    @property
    def tasks(self) -> int:
        """How many tasks all of its runs have."""
        return self.runs * len(self.steps)


_WIDTH: Final = 50
_BRANCHES: Final[dict[str, tuple[str, ...]]] = {f"branch_{n}": ("split",) for n in range(_WIDTH)}

ONE_STEP: Final = Workload("one_step", "one step", {"only": ()}, 5_000)
SIX_STEPS: Final = Workload(
    "six_steps",
    "six steps: one, two side by side, one, two side by side",
    {
        "first": (),
        "left": ("first",),
        "right": ("first",),
        "meet": ("left", "right"),
        "tell": ("meet",),
        "store": ("meet",),
    },
    1_000,
)
FAN_OUT: Final = Workload(
    "fan_out", f"one step, then {_WIDTH} side by side", {"split": (), **_BRANCHES}, 100
)
ONE_KB: Final = Workload("one_kb", "one step, 1 kB", {"only": ()}, 2_000, 1_000, "input")
HUNDRED_KB: Final = Workload("hundred_kb", "one step, 100 kB", {"only": ()}, 300, 100_000, "input")
TIMED: Final = Workload("timed", "one step that says when it began", {"only": ()}, 0, 0, "time")
"""No run of it is queued beforehand: they are started one by one."""

COUNTED: Final = Workload("counted", "one step that counts tasks", {"only": ()}, 0, 0, "tasks")
"""The same, for whoever asks as well what the worker's loop holds."""

WORKLOADS: Final = (ONE_STEP, SIX_STEPS, FAN_OUT, ONE_KB, HUNDRED_KB)
