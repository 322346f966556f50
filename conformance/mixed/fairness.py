"""Nobody starves: neither a worker nor a message, judged by the order of transactions.

A queue is read from its oldest message on, and a read skips what another is just reading. So a
message that can be read may be *passed over* - a younger one is read, and it is not - by a read
that looked before the message was there or while somebody else had it locked, and by no other. The
log tells both apart without a clock: a reader that began to write only after another one had looked
did not have the message locked then. What the log cannot tell apart is whether a message came just
before or just after a read looked; that can be so once for each worker. So no message is passed
over by more reads than there are workers, and each is read before the next one after that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from conformance.harness.eventlog import Event


@dataclass
class Read:
    """One read of the queue: a transaction.

    Attributes:
        event: its first event.
        youngest: the youngest message that it took.
    """

    event: Event
    youngest: int


@dataclass
class Waiting:
    """A message that waits to be read.

    Attributes:
        txid: the transaction since which it does.
        visible_at: when it can be read; None: not until somebody says so.
        reads: the reads since then.
    """

    txid: int
    visible_at: datetime | None
    reads: list[Read] = field(default_factory=list)


def passed_over(events: Sequence[Event], workers: int) -> Iterator[str]:
    """The messages that more reads than there are workers have passed over.

    Args:
        events: the log.
        workers: how many workers read the queue.
    """
    reads: dict[int, Read] = {}
    waiting: dict[int, Waiting] = {}
    for event in events:
        if event.source != "message":
            continue
        message = event.row["msg_id"]
        if event.new is None:
            waiting.pop(message, None)
        elif event.old is None or event.old["read_ct"] == event.new["read_ct"]:
            infinite = event.new["vt"] == "infinity"
            waiting[message] = Waiting(event.txid, None if infinite else event.visible_at)
        else:
            if event.txid not in reads:
                read = reads[event.txid] = Read(event, message)
                for one in waiting.values():
                    one.reads.append(read)
            reads[event.txid].youngest = max(reads[event.txid].youngest, message)
            if message in waiting:
                count = _unfair(waiting.pop(message), message, event.txid)
                if count > workers:
                    yield f"message {message} was passed over by {count} reads of {workers} workers"


def _unfair(waiting: Waiting, message: int, reader: int) -> int:
    """How many reads passed a message over, though it was there and nobody had it locked."""
    return sum(
        read.youngest > message
        and waiting.txid < read.event.ended_below
        and waiting.visible_at is not None
        and waiting.visible_at <= read.event.at
        and read.event.begun_below <= reader
        for read in waiting.reads
    )


def idle(tasks: dict[str, int]) -> Iterator[str]:
    """The workers that got nothing to do, given how many tasks each completed."""
    for name, count in tasks.items():
        if not count:
            yield f"{name} completed no task: it starved"


def unfair_shares(done: Sequence[tuple[str, int]], least: float) -> Iterator[str]:
    """The languages that did less than a part of what their number of workers asks for.

    Args:
        done: for each worker its language, and how many tasks it completed.
        least: the part, from 0 to 1.
    """
    whole: Any = sum(count for _, count in done)
    for language in sorted({one for one, _ in done}):
        counts = [count for one, count in done if one == language]
        fair = whole * len(counts) / len(done)
        if sum(counts) < least * fair:
            yield (
                f"{language} completed {sum(counts)} of {whole} tasks with {len(counts)} of"
                f" {len(done)} workers, less than {least:.0%} of its fair share"
            )
