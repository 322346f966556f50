"""The files of `fixtures/histories`: a history for each core and flow, and how two are compared.

A file is JSON with a line for each effect, so that a change shows in a review, and other programs
can read it.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from conformance.harness.cases import FIXTURES
from conformance.histories.scrub import Call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

HISTORIES: Final = FIXTURES / "histories"


class HistoryError(Exception):
    """A file of a history is wrong; the message names it."""


def path_of(case: str, core: str) -> Path:
    """Where the history of a case on a core is.

    Args:
        case: its id.
        core: the label of the core.

    Example:
        >>> path_of("histories.chain", "0.5.0").parts[-2:]
        ('0.5.0', 'chain.json')
    """
    return HISTORIES / core / f"{case.partition('.')[2]}.json"


def written(case: str, core: str, calls: Sequence[Call]) -> str:
    """The text of a file."""
    listed = ",\n".join(_call(call) for call in calls)
    head = f'"case": {json.dumps(case)},\n"core": {json.dumps(core)},\n"calls": '
    return f"{{\n{head}[\n{listed}\n]\n}}\n"


def load(path: Path) -> list[Call]:
    """Read a file.

    Raises:
        HistoryError: it cannot be read, or is no history.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["calls"]
        return [
            Call(str(one["call"]), tuple(dict(effect) for effect in one["does"])) for one in listed
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HistoryError(
            f"{path} is no history ({type(error).__name__}: {error}); --record writes it anew"
        ) from None


def difference(recorded: Sequence[Call], found: Sequence[Call]) -> list[str]:
    """What is different, for people, call by call; none: nothing is.

    What was recorded has a `-`, what happened a `+`.

    Example:
        >>> before = [Call("complete_task", ({"of": "run 1", "was": {"n": 2}, "is": {"n": 1}},))]
        >>> after = [Call("complete_task", ({"of": "run 1", "was": {"n": 2}, "is": {"n": 0}},))]
        >>> difference(before, after)
        ['@@ call 1, complete_task @@', '- run 1: n 2 → 1', '+ run 1: n 2 → 0']
    """
    old, new = (list(_lines(calls)) for calls in (recorded, found))
    lines: list[str] = []
    shown = -1
    before, after = ([f"{one.of}: {one.says}" for one in side] for side in (old, new))
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            continue
        first = old[i1] if i1 < i2 else new[j1]
        if first.number != shown:
            lines.append(f"@@ call {first.number}, {first.call} @@")
            shown = first.number
        lines += [f"- {text}" for text in _joined(old[i1:i2])]
        lines += [f"+ {text}" for text in _joined(new[j1:j2])]
    return lines


@dataclass(frozen=True, slots=True)
class _Line:
    """One thing that a call did to one thing.

    Attributes:
        number: that of the call, from 1.
        call: its name.
        of: to what.
        says: what.
        whole: how many lines the effect has that this is a part of.
    """

    number: int
    call: str
    of: str
    says: str
    whole: int = 1


def _lines(calls: Sequence[Call]) -> Iterator[_Line]:
    """A line for each call and for each column of what it did, so that a difference is small."""
    for number, call in enumerate(calls, 1):
        yield _Line(number, call.name, "call", call.name)
        for effect in call.does:
            says = list(_says(effect))
            yield from (_Line(number, call.name, effect["of"], one, len(says)) for one in says)


def _joined(lines: Sequence[_Line]) -> Iterator[str]:
    """Lines as text; an effect that is there with all its columns in one."""
    for (_, of), group in groupby(lines, key=lambda line: (line.number, line.of)):
        parts = list(group)
        if len(parts) == parts[0].whole:
            yield f"{of}: {', '.join(part.says for part in parts)}"
        else:
            yield from (f"{of}: {part.says}" for part in parts)


def _says(effect: Mapping[str, Any]) -> Iterator[str]:
    was, became = effect.get("was"), effect.get("is")
    if isinstance(became, dict):
        for key, value in became.items():
            before = f"{_shown(was.get(key))} → " if isinstance(was, dict) else ""
            yield f"{key} {before}{_shown(value)}"
    elif "is" in effect:
        yield "gone" if became is None else str(became)
    for key in sorted(effect.keys() - {"of", "was", "is"}):
        yield f"{key} {_shown(effect[key])}"


def _call(call: Call) -> str:
    effects = ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in call.does)
    return f'{{"call": {json.dumps(call.name)}, "does": [\n{effects}\n]}}'


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
