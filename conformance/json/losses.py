"""What values became on their way, against what is known: plain data in, sentences out.

A value passes stations: the run's input that a client wrote, the output of each step, and the run's
output. At each the server has compared what is there with what was sent, and with what is to be
expected there, given the losses that are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from conformance.harness import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conformance.json.values import KnownLoss, Value

WORDS: Final = ("start", "work", "work")
"""What the workers of a route do with a value, in order."""
WRITTEN: Final = "an equal number, written in another way"
"""The excuse of what is no loss: jsonb keeps the zero of 1.10, and JSON promises nothing of it."""


SINCE: Final = "2026-11-25"
"""When the known losses were measured first."""


class Station(NamedTuple):
    """What is at one station of a value's way; the server has compared it.

    Attributes:
        expected: whether it is equal to what is to be expected here.
        sent: whether it is equal to what was sent.
        written: whether it is also written like that.
        text: its beginning, as JSON, or why there is nothing.
    """

    expected: bool
    sent: bool
    written: bool
    text: str


@dataclass
class Verdict:
    """What became of all values on one route.

    Attributes:
        problems: what was lost, and nobody knew.
        stale: what is known to be lost, and was not.
        excused: what was lost, and is known.
        losses: what the report says of each value.
    """

    problems: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    losses: list[records.Loss] = field(default_factory=list)

    def put_into(self, record: records.Case, file: str) -> records.Case:
        """The record of a case that says so.

        Args:
            record: what there is to say apart from values.
            file: where the known losses stand.
        """
        outcome, problems, deviation = record.outcome, record.problems, record.deviation
        if outcome == "passed" and self.stale:
            outcome, problems = "unexpected_pass", tuple(self.stale)
        elif outcome == "passed" and self.excused:
            outcome, problems = "deviation", tuple(self.excused)
            deviation = records.Deviation(summary(self.losses), file, SINCE)
        note = summary(self.losses)
        return replace(record, outcome=outcome, problems=problems, deviation=deviation, note=note)


def known_losses(
    value: Value, route: Sequence[str], words: Sequence[str] = WORDS
) -> list[KnownLoss | None]:
    """What is known to happen at each station, in order."""
    return [value.lost.get((name, word)) for name, word in zip(route, words, strict=True)]


def expected(value: Value, route: Sequence[str]) -> list[str | None]:
    """What a value is to be at each station, as JSON; at last in the run's output.

    What is lost once stays lost: it does not matter what a value had become before a worker that
    loses it. Behind a worker that refuses it there is nothing.
    """
    now: str | None = value.text if value.stored is None else value.stored
    there: list[str | None] = []
    for loss in known_losses(value, route):
        if loss is not None and now is not None:
            now = loss.becomes
        there.append(now)
    return [*there, now]


def refused(value: Value, route: Sequence[str], why: str) -> list[Station]:
    """The stations of a value that the first worker did not start a run with."""
    return [
        Station(there is None, False, False, "an error" if there is None else f"nothing ({why})")
        for there in expected(value, route)
    ]


def judge(
    value: Value,
    route: Sequence[str],
    stations: Sequence[Station],
    into: Verdict,
    words: Sequence[str] = WORDS,
) -> None:
    """Add what became of one value; the last station is where nobody works on it any more."""
    known = known_losses(value, route, words)
    for station, loss, who in zip(stations, [*known, None], [*route, ""], strict=True):
        if station.expected:
            continue
        where = f"behind {who}" if who else "in the run's output"
        if loss is not None and station.sent:
            into.stale.append(
                f"{value.name}: {who} is known to lose it, and does not: take that out of the file"
            )
        else:
            into.problems.append(f"{value.name}: {where} it is {station.text}")
        break
    end = stations[-1]
    came, excuse = "", ""
    if not end.sent:
        good = all(station.expected for station in stations)
        came, excuse = end.text, _excuse(route, known) if good else ""
        if good:
            into.excused.append(f"{value.name}: it comes as {came}: {excuse}")
    elif not end.written:
        came, excuse = end.text, WRITTEN
    into.losses.append(records.Loss(value.name, tuple(route), came, excuse))


def summary(losses: Iterable[records.Loss]) -> str:
    """How many values were lost, in a few words."""
    lost = [loss for loss in losses if loss.came and loss.excuse != WRITTEN]
    known = sum(bool(loss.excuse) for loss in lost)
    words = [f"{known} lost as is known"] if known else []
    words += [f"{len(lost) - known} lost"] if len(lost) > known else []
    return ", ".join(words) or "nothing lost"


def _excuse(route: Sequence[str], known: Sequence[KnownLoss | None]) -> str:
    said = [
        f"{who}: {loss.reason.says} ({loss.reason.reference})"
        for who, loss in zip(route, known, strict=True)
        if loss is not None
    ]
    return "; ".join(dict.fromkeys(said))
