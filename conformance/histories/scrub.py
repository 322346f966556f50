"""From what was noted of a case to its history: what happened, without what is different each time.

A history is a list of calls, each with what it did. Ids become stable names (`run 1`, `worker 1`),
times the word `time`. What a worker is free to do is left out: how often and how it reads, when it
registers and gives signs of life. What several changes in one call do to one row is one effect, and
effects are sorted, because the planner may make them in any order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conformance.histories.tracing import Change

Effect = dict[str, Any]
"""What happened to one thing: `of` says to what, `was` and `is` what is different."""

HANDLER: Final = "handler"
"""The call that a worker makes of a handler, among the calls of the core."""

_READS: Final = frozenset({"read", "read_with_poll", "set_vt", "set_vt_batch"})
"""What a worker does with messages as it likes."""

_NAMED: Final = frozenset(("flow_slug", "run_id", "step_slug", "task_index", "message_id"))
"""Columns that say of what a row is, which its name says already."""

_ORDER: Final = ("run", "step", "task", "message")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[+-][\d:]+|Z)?")
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Call:
    """A call and what it did.

    Attributes:
        name: the function of the core that a client called, or `handler`.
        does: its effects.
    """

    name: str
    does: tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """What ids are called in a history.

    Attributes:
        runs: the ids of the runs, in order.
        workers: the names of workers, by id.
    """

    runs: Sequence[str]
    workers: Mapping[str, str]

    def of(self, found: str) -> str:
        """The name of an id.

        Example:
            >>> Names(["1b4e28ba-2fa1-11d2-883f-0016d3cca427"], {}).of("another")
            'an id'
        """
        if found in self.runs:
            return f"run {list(self.runs).index(found) + 1}"
        return self.workers.get(found, "an id")

    def scrub(self, value: Any) -> Any:
        """A value without ids and times, its keys sorted.

        Example:
            >>> Names(["1b4e28ba-2fa1-11d2-883f-0016d3cca427"], {}).scrub(
            ...     {"of": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "at": "2026-01-31 10:00:00"}
            ... )
            {'at': 'time', 'of': 'run 1'}
        """
        if isinstance(value, dict):
            return {key: self.scrub(value[key]) for key in sorted(value)}
        if isinstance(value, list):
            return [self.scrub(one) for one in value]
        if isinstance(value, str):
            return _ID.sub(lambda found: self.of(found[0]), _TIME.sub("time", value))
        return value


@dataclass(frozen=True, slots=True)
class Seen:
    """A call of a handler, as its worker told it.

    Attributes:
        run_id, step_slug, task_index: of which task.
        input: the handler's argument, in the form `split` of the contract.
    """

    run_id: str
    step_slug: str
    task_index: int
    input: Any


def history(changes: Iterable[Change], seen: Iterable[Seen], names: Names) -> list[Call]:
    """The history of a case. Pure.

    Args:
        changes: what was noted.
        seen: the calls of handlers, in the order in which they were made.
        names: what ids are called.
    """
    inputs: dict[str, list[Any]] = defaultdict(list)
    for call in seen:
        inputs[f"{names.of(call.run_id)}, task {call.step_slug} {call.task_index}"].append(
            names.scrub(call.input)
        )
    found: list[Call] = []
    for (_, name), made in groupby(changes, key=lambda one: (one.txid, one.call)):
        effects = [*_rows(made_here := list(made), names), *_sent(made_here, names)]
        if effects:
            found.append(Call(name, tuple(effects)))
        for effect in effects:
            if _is_claim(effect):
                task = str(effect["of"])
                sees = {"sees": inputs[task].pop(0)} if inputs[task] else {"called": False}
                found.append(Call(HANDLER, ({"of": task, **sees},)))
    # What nobody had claimed: a handler that was called once more than its task was started.
    for task, left in sorted(inputs.items()):
        found += [Call(HANDLER, ({"of": task, "sees": one, "claimed": False},)) for one in left]
    return found


def split(input_: Any, handler_input: str, *, is_root: bool, is_map: bool) -> Any:
    """A handler's argument in the form that is the same for all workers.

    Args:
        input_: what the handler saw.
        handler_input: the form that its worker has, `split` or `whole`.
        is_root: whether its step depends on no other.
        is_map: whether it is a map step, whose handlers see an element in both forms.

    Example:
        >>> split({"run": 1, "a": 2}, "whole", is_root=False, is_map=False)
        {'a': 2}
        >>> split({"run": 1}, "whole", is_root=True, is_map=False)
        1
    """
    if handler_input != "whole" or is_map or not isinstance(input_, dict):
        return input_
    if is_root:
        return input_.get("run")
    return {key: value for key, value in input_.items() if key != "run"}


def _is_claim(effect: Effect) -> bool:
    """Whether a worker that has handlers, not the harness, started a task."""
    became = effect.get("is")
    if ", task " not in effect["of"] or not isinstance(became, dict):
        return False
    return became.get("status") == "started" and became.get("last_worker_id") != "harness"


def _rows(changes: Sequence[Change], names: Names) -> Iterator[Effect]:
    """What a call did to rows, those of messages included, sorted."""
    by_row: dict[tuple[int, str], list[Change]] = defaultdict(list)
    for change in changes:
        if change.source != "sent":
            kind = "message" if change.source == "archive" else change.source
            by_row[_ORDER.index(kind), _name(kind, change.row, names)].append(change)
    for (kind_index, name), made in sorted(by_row.items(), key=lambda item: item[0]):
        if _ORDER[kind_index] == "message":
            if words := _of_message(made):
                yield {"of": name, "is": words}
        elif effect := _of_row(made, names):
            yield {"of": name, **effect}


def _name(kind: str, row: Mapping[str, Any], names: Names) -> str:
    of = row["message"] if kind == "message" else row
    run = names.of(str(of["run_id"]))
    if kind == "run":
        return run
    index = "" if kind == "step" else f" {of.get('task_index', 0)}"
    return f"{run}, {kind} {of['step_slug']}{index}"


def _of_row(made: Sequence[Change], names: Names) -> Effect:
    """What is different in a row after all changes of one call; nothing, where it is the same."""
    was, now = made[0].old, made[-1].new
    if now is None:
        return {"is": None}
    before = {} if was is None else was
    keys = sorted(key for key in now.keys() - _NAMED if before.get(key) != now[key])
    became = {key: names.scrub(now[key]) for key in keys}
    if was is None:
        return {"is": became}
    return (
        {"was": {key: names.scrub(before.get(key)) for key in keys}, "is": became} if keys else {}
    )


def _of_message(made: Sequence[Change]) -> str:
    """What became of a message in one call, in words; nothing, where a worker only read it."""
    words: set[str] = set()
    for change in made:
        hidden = {f"hidden for {change.hidden} s"} if (change.hidden or 0) > 0 else set()
        if change.source == "archive":
            words.add("in the archive")
        elif change.old is None:
            words |= {"sent", *hidden}
        elif change.new is None:
            words.add("out of the queue")
        elif change.call not in _READS and change.old["vt"] != change.new["vt"]:
            words |= hidden or {"visible"}
    return ", ".join(sorted(words, reverse=True))


def _sent(changes: Sequence[Change], names: Names) -> Iterator[Effect]:
    """The events that a call sent, in order; of several of one kind in a row, the order is free."""
    sent = [change.row for change in changes if change.source == "sent"]
    for _, alike in groupby(sent, key=lambda row: row["payload"].get("event_type")):
        for row in sorted(alike, key=lambda row: str(row["event"])):
            payload = names.scrub(row["payload"])
            more = {key: names.scrub(row[key]) for key in ("topic", "private")}
            of = f"{payload.get('run_id')}, event {row['event']}"
            yield {"of": of, "is": payload, **more}
