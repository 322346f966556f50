"""Nobody starves: what the order of transactions tells, with histories made by hand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from conformance.harness.eventlog import Event
from conformance.mixed.fairness import idle, passed_over, unfair_shares

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Queue:
    """A queue whose changes are noted; one transaction after the other, if not said otherwise."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.rows: dict[int, dict[str, Any]] = {}
        self.txid = 100

    def change(self, message: int, txid: int, below: tuple[int, int], **columns: Any) -> None:
        old = self.rows.get(message)
        self.rows[message] = {"msg_id": message, **(old or {}), **columns}
        at = BEGIN + timedelta(seconds=len(self.events))
        number = len(self.events)
        new = self.rows[message]
        self.events.append(Event(number, at, txid, "message", old, new, *below))

    def send(self, *messages: int, vt: str = "2026-01-01T00:00:00+00:00") -> None:
        self.txid += 1
        for message in messages:
            self.change(message, self.txid, (self.txid, self.txid + 1), read_ct=0, vt=vt)

    def show(self, message: int) -> None:
        self.txid += 1
        below = (self.txid, self.txid + 1)
        self.change(message, self.txid, below, vt="2026-01-01T00:00:00+00:00")

    def read(self, *messages: int, since: int | None = None) -> None:
        """Read messages.

        Args:
            messages: which.
            since: the number of the transaction, where it began to write before others did.
        """
        if since is None:
            self.txid += 1
        txid = self.txid if since is None else since
        for message in messages:
            count = self.rows[message]["read_ct"] + 1
            below = (txid, self.txid + 1)
            self.change(message, txid, below, read_ct=count, vt="2026-01-01T01:00:00+00:00")

    def delete(self, message: int) -> None:
        self.txid += 1
        old = self.rows.pop(message)
        at = BEGIN + timedelta(seconds=len(self.events))
        self.events.append(Event(len(self.events), at, self.txid, "message", old, None))

    def problems(self, workers: int = 2) -> list[str]:
        return list(passed_over(self.events, workers))


def test_a_queue_that_is_read_in_order_is_fair() -> None:
    queue = Queue()
    queue.send(1, 2, 3)
    queue.send(4)
    queue.read(1, 2)
    queue.read(3)
    queue.delete(1)
    queue.read(4)
    assert queue.problems(workers=0) == []


@pytest.mark.parametrize(("times", "told"), [(1, []), (2, []), (3, [3])])
def test_more_reads_than_workers_must_not_pass_a_message_over(times: int, told: list[int]) -> None:
    queue = Queue()
    queue.send(*range(1, 10))
    for younger in range(2, 2 + times):
        queue.read(younger)
    queue.read(1)
    said = [f"message 1 was passed over by {count} reads of 2 workers" for count in told]
    assert queue.problems() == said


def test_a_read_of_older_messages_passes_nothing_over() -> None:
    queue = Queue()
    queue.send(1, 2, 3, 4)
    queue.read(1)
    queue.read(2)
    queue.read(3)
    queue.read(4)
    assert queue.problems(workers=0) == []


def test_what_another_is_just_reading_is_not_passed_over() -> None:
    queue = Queue()
    queue.send(1, 2)
    queue.txid += 1
    locking = queue.txid
    queue.read(2)
    queue.read(1, since=locking)
    assert queue.problems(workers=0) == []


def test_what_is_not_yet_visible_is_not_passed_over() -> None:
    queue = Queue()
    queue.send(1, vt="2026-01-01T00:30:00+00:00")
    queue.send(2, vt="2026-01-01T00:00:00.5+00:00")
    queue.read(2)
    queue.read(1)
    assert queue.problems(workers=0) == []


def test_what_is_hidden_waits_from_when_it_is_shown() -> None:
    queue = Queue()
    queue.send(1, vt="infinity")
    queue.send(2, 3)
    queue.read(2)
    queue.show(1)
    queue.read(3)
    queue.read(1)
    assert queue.problems(workers=1) == []
    assert queue.problems(workers=0) == ["message 1 was passed over by 1 reads of 0 workers"]


def test_a_read_that_looked_before_the_message_was_there_passes_nothing_over() -> None:
    queue = Queue()
    queue.send(2)
    early = queue.txid  # it began before the message was sent
    queue.send(1)
    queue.read(2, since=early)
    queue.read(1)
    assert queue.problems(workers=0) == []


def test_who_completes_nothing_has_starved() -> None:
    assert list(idle({"a": 1, "b": 2})) == []
    assert list(idle({"a": 1, "b": 0})) == ["b completed no task: it starved"]


def test_a_share_is_fair_by_the_number_of_workers() -> None:
    done = [("x", 60), ("x", 25), ("y", 15)]
    assert list(unfair_shares(done, 0.25)) == []
    (problem,) = unfair_shares(done, 0.5)
    assert problem.startswith("y completed 15 of 100 tasks with 1 of 3 workers, less than 50%")
