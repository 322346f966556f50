"""What a flow of instructions must come to, computed in plain Python, without pgflow.

It knows the contract's instructions that have one outcome in every language, and no worker's code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_USUAL_ATTEMPTS = 3


class Fails(Exception):
    """A handler fails at an attempt."""


@dataclass
class Expected:
    """What must become of one run.

    Attributes:
        outputs: the outputs of the steps that complete, if they are reached; of a map step, the
            array of its tasks' outputs.
        inputs: what the handlers of each step see, by the form of their worker's inputs: one for
            each task.
        attempts: how often each task of a step is tried, if it is reached.
        failing: the steps that fail, if they are reached. One of them is, and fails the run.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)

    @property
    def status(self) -> str:
        """Of the run."""
        return "failed" if self.failing else "completed"

    def output(self, flow: Mapping[str, Any]) -> dict[str, Any] | None:
        """Of the run: that of its leaves, if it completes."""
        if self.failing:
            return None
        inner = {slug for step in flow["steps"] for slug in step.get("depends_on", ())}
        return {slug: made for slug, made in self.outputs.items() if slug not in inner}


def expected(flow: Mapping[str, Any], given: Any) -> Expected:
    """What must become of a run of this flow with this input.

    Example:
        >>> flow = {"steps": [{"slug": "a", "handler": [{"sum": [["run", "n", "*"]]}]}]}
        >>> expected(flow, {"n": [1, 2]}).outputs
        {'a': 3}
    """
    told = Expected()
    for step in flow["steps"]:
        slug, needs = step["slug"], step.get("depends_on", ())
        if any(need not in told.outputs for need in needs):
            continue  # it is never reached
        whole = {"run": given, **{need: told.outputs[need] for need in needs}}
        is_map = step.get("step_type") == "map"
        if is_map:
            elements = told.outputs[needs[0]] if needs else given
            tasks = [{"element": element} for element in elements]
            told.inputs[slug] = {"split": elements, "whole": elements}
        else:
            tasks = [whole]
            split = {need: told.outputs[need] for need in needs} if needs else given
            told.inputs[slug] = {"split": [split], "whole": [whole]}
        limit = step.get("max_attempts", flow.get("max_attempts", _USUAL_ATTEMPTS))
        outputs = [_tried(step["handler"], task, limit, told, slug) for task in tasks]
        if slug not in told.failing:
            told.outputs[slug] = outputs if is_map else outputs[0]
    return told


def _tried(
    handler: Sequence[Mapping[str, Any]], inputs: Any, limit: int, told: Expected, slug: str
) -> Any:
    """The output of one task, after as many attempts as it takes."""
    for attempt in range(1, limit + 1):
        told.attempts[slug] = attempt
        try:
            return perform(handler, inputs, attempt)
        except Fails:
            continue
    told.failing.add(slug)
    return None


def perform(handler: Sequence[Mapping[str, Any]], inputs: Any, attempt: int) -> Any:
    """The output of a handler at an attempt.

    Raises:
        Fails: it fails.
    """
    output: Any = None
    for instruction in handler:
        ((name, what),) = ((k, v) for k, v in instruction.items() if k != "attempts")
        if name == "return":
            output = what
        elif name == "pick" and isinstance(what, dict):
            output = {key: _pick(path, inputs) for key, path in what.items()}
        elif name == "pick":
            output = _pick(what, inputs)
        elif name == "sum":
            output = _sum(what, inputs)
        elif name == "fail" and attempt <= instruction.get("attempts", attempt):
            raise Fails(what)
        elif name not in ("fail", "sleep"):
            raise ValueError(f"the oracle does not know {name}")
    return output


def _pick(path: Sequence[str | int], inputs: Any) -> Any:
    found = list(_at(path, inputs))
    return found if "*" in path else found[0]


def _sum(paths: Sequence[Sequence[str | int]], inputs: Any) -> int:
    total = 0
    for path in paths:
        for number in _at(path, inputs):
            if type(number) is not int:
                raise Fails(f"no number at {path}")
            total += number
    return total


def _at(path: Sequence[str | int], value: Any) -> Iterator[Any]:
    if not path:
        yield value
        return
    key, *rest = path
    if key == "*" and isinstance(value, list):
        for element in value:
            yield from _at(rest, element)
        return
    try:
        inner = value[key]
    except (LookupError, TypeError):
        raise Fails(f"nothing at {key!r}") from None
    yield from _at(rest, inner)
