"""The arguments that moves are made with: mostly sensible, and sometimes not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pgflow_ref.model.calls import OMITTED

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST: Final = 2**31 - 1
NOBODY: Final = UUID(int=404)
WORKERS: Final = (UUID(int=1), UUID(int=2), UUID(int=3))


def mostly(usual: Iterable[Any], odd: Iterable[Any]) -> list[Any]:
    """Values of which about one in six is odd."""
    usual, odd = list(usual), list(odd)
    return usual * (5 * len(odd)) + odd * len(usual)


FLOWS: Final = [
    *("f", "F", "g", "_", "a" * 47, "a" * 48, "a" * 48, "a" * 128, "a" * 129),
    *(
        "f_vt_idx",
        "f_pkey",
        "f_pkey1",
        "F_msg_id_seq",
        "f_pkey_pkey",
        "",
        "run",
        "1f",
        "a b",
        "a-b",
        "é",
        "f\n",
        None,
    ),
]
STEPS: Final = mostly(
    "abcd", ["A", "a" * 128, "a" * 129, "", "run", "1a", "a.b", "ß", "a\n", "'", None]
)
ATTEMPTS: Final = mostly([OMITTED, 0, 1, 2], [None, -1, 5, LARGEST])
FEW_ATTEMPTS: Final = [1, 1, 2, 3, 0, OMITTED]
DELAYS: Final = mostly([OMITTED, 0, 1, 5, LARGEST], [None, -1])
TIMEOUTS: Final = mostly([OMITTED, 1, 60], [None, 0, -1, LARGEST])
START_DELAYS: Final = mostly([OMITTED], [None, 0, 1, 5, -1, LARGEST])
JSON: Final = mostly(
    ["{}", "[]", "[1, 2]", '["x", null, {"a": []}]', '"done"', None],
    ["null", "true", "false", "0", '""', "1.50", "-1e2", '{"run": 1}', '["a"]', '{"b": {"": [0]}}'],
)
INPUTS: Final = mostly(["{}", "[]", "[1, 2]", '[[1], "x", null]', '{"x": 1}'], ["null", "7", None])
SECONDS: Final = mostly([0, 1, 2, 5, 30], [-1, LARGEST, None])
ERRORS: Final = mostly(["it broke", "again"], [None, "", "é\n'"])
KINDS: Final = mostly([OMITTED], [None, "single", "map", "odd"])

# Steps with what they wait for; a step that begins with "m" is a map step where there are any.
SHAPES: Final[tuple[dict[str, tuple[str, ...]], ...]] = (
    {"a": ()},
    {"a": (), "b": ("a",)},
    {"a": (), "b": ()},
    {"a": (), "b": (), "c": ("b",)},
    {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")},
    {"a": (), "b": ("a",), "c": ("b", "a")},
    {"B": (), "a": ("B",), "b": ("B",)},
    {"a": (), "b": ("a", "a")},
    {},
    {"m": ()},
    {"m2": (), "m": (), "a": ("m", "m2")},
    {"m": (), "m2": (), "a": ("m2", "m")},
    {"m": (), "a": ("m",)},
    {"a": (), "m": ("a",)},
    {"a": (), "m": ("a",), "n": ("m",), "mm": ("m",)},
    {"m": (), "mm": ("m",), "b": ("mm",), "c": ("mm", "m")},
    {"a": (), "m": ("a",), "m2": ("a",), "b": ("m", "m2")},
    {f"m{n}": (f"m{n - 1}",) if n else () for n in range(3)},
)
CHAIN: Final = {f"m{n}": (f"m{n - 1}",) if n else () for n in range(50)}
