"""Flows and inputs from a seed: graphs of steps whose outputs an oracle can tell.

No output is false, 0 or empty text, and no number is a fraction: what languages make of those is
the JSON contract's part, and would only be noise here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from random import Random

Path: TypeAlias = list[str | int]

MOST_STEPS: Final = 8
ONLY_SOME: Final = "only_some"
"""A field that only some inputs have: who asks for it fails in the runs of the others."""

_SLEEPS: Final = (0.005, 0.01, 0.02)  # seconds: with them, who is fast has not done most
_SOME_FAIL: Final = 0.1
_RETRIES: Final = 0.15
_DEPENDENCIES: Final = (0, 1, 1, 2, 2, 3)


@dataclass(frozen=True)
class Source:
    """A value that a handler can reach.

    Attributes:
        path: the way to it.
        kind: `number`, `numbers` (an array of them), or `object`.
    """

    path: Path
    kind: str

    def numbers(self) -> Path | None:
        """The path to all its numbers, if it has any."""
        return {"number": self.path, "numbers": [*self.path, "*"]}.get(self.kind)


_INPUT: Final = (
    Source(["run", "n"], "number"),
    Source(["run", "list"], "numbers"),
    Source(["run", "nested", "deep", 0], "number"),
    Source(["run", "nested"], "object"),
)


def flow_of(random: Random, slug: str, *, maps: bool = False) -> dict[str, Any]:
    """A flow of 2 to 8 steps, any graph.

    Args:
        random: what it is made from; the same state gives the same flow.
        slug: its name.
        maps: whether some steps are map steps.
    """
    made: list[Source] = []
    steps: list[dict[str, Any]] = []
    for number in range(random.randint(2, MOST_STEPS)):
        count = min(random.choice(_DEPENDENCIES), len(made))
        needs = sorted(random.sample(range(len(made)), count))
        arrays = [source for source in made if source.kind == "numbers"]
        name = f"step_{number}"
        if maps and arrays and random.random() < 1 / 2:
            source = random.choice(arrays)
            step, kind = _map_step(random, name, str(source.path[0]))
        else:
            step, kind = _step(random, name, [made[need] for need in needs])
        steps.append(step)
        made.append(Source([name], kind))
    may_fail = [one for one in steps if "step_type" not in one and "fail" not in one["handler"][0]]
    if may_fail and random.random() < 1 / 2:
        _make_fail_in_some(random.choice(may_fail))
    return {"slug": slug, "max_attempts": 3, "base_delay": 1, "steps": steps}


def input_of(random: Random, number: int) -> dict[str, Any]:
    """The input of a run; one in ten lacks a field."""
    given: dict[str, Any] = {
        "n": number + 1,
        "list": [random.randint(1, 1_000) for _ in range(random.randint(1, 5))],
        "nested": {
            "deep": [random.randint(1, 1_000)],
            "text": random.choice(["é", "😀", "x" * 99]),
        },
    }
    if random.random() >= _SOME_FAIL:
        given[ONLY_SOME] = random.randint(1, 9)
    return given


def _step(random: Random, name: str, needs: list[Source]) -> tuple[dict[str, Any], str]:
    handler, kind = _handler(random, [*_INPUT, *needs])
    step: dict[str, Any] = {"slug": name, "handler": handler}
    if needs:
        step["depends_on"] = [str(need.path[0]) for need in needs]
    return step, kind


def _map_step(random: Random, name: str, over: str) -> tuple[dict[str, Any], str]:
    """A step with a task for each element of another's array; its output is an array, too."""
    made = random.choice([{"sum": [["element"], ["element"]]}, {"pick": ["element"]}])
    handler = [{"sleep": random.choice(_SLEEPS)}, made]
    return {"slug": name, "depends_on": [over], "step_type": "map", "handler": handler}, "numbers"


def _handler(random: Random, sources: list[Source]) -> tuple[list[dict[str, Any]], str]:
    """Instructions that come to something, and the kind of what they come to."""
    handler: list[dict[str, Any]] = []
    if random.random() < _RETRIES:
        handler.append({"fail": "not yet", "attempts": random.choice([1, 1, 2])})
    handler.append({"sleep": random.choice(_SLEEPS)})
    kind = random.choice(["number", "number", "numbers", "numbers", "object"])
    if kind == "number":
        paths = [path for source in sources if (path := source.numbers())]
        handler.append({"sum": random.sample(paths, random.randint(1, len(paths)))})
    elif kind == "numbers":
        arrays = [source.path for source in sources if source.kind == "numbers"]
        handler.append({"pick": random.choice(arrays)})
    else:
        chosen = random.sample(sources, random.randint(1, len(sources)))
        picked = {f"key {index}": source.path for index, source in enumerate(chosen)}
        handler.append({"pick": picked} if random.random() < 3 / 4 else {"return": {"always": [1]}})
    return handler, kind


def _make_fail_in_some(step: dict[str, Any]) -> None:
    """Let a step fail at once in runs whose input lacks a field."""
    step["handler"].insert(0, {"pick": ["run", ONLY_SOME]})
    step["max_attempts"] = 1
