"""pgmq, as far as pgflow and its workers use it.

A queue is a table `q_<name>` with an archive `a_<name>`, both with the name in lower case.
Source: pgmq 1.11.1, the functions of the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgflow_ref.model.calls import OMITTED
from pgflow_ref.model.rows import SECOND, MessageRow, Queue
from pgflow_ref.model.state import (
    NEGATIVE_LIMIT,
    RAISED,
    UNDEFINED_TABLE,
    WRONG_KIND_OF_OBJECT,
    Refused,
    not_null,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.model import calls
    from pgflow_ref.model.rows import Instant, Jsonb
    from pgflow_ref.model.state import Transaction

_LONGEST_NAME: Final = 47
_POLL_SECONDS: Final = 5
_POLL_INTERVAL_MS: Final = 100


def create(tx: Transaction, name: str) -> None:
    """`pgmq.create`. A name whose table is there already, in whatever case, shares it."""
    if len(name) > _LONGEST_NAME:
        tx.note("flow_slug_of_48_refused")
        raise Refused(RAISED)
    folded = name.lower()
    if folded in tx.queues:
        tx.note("flow_case_shares_queue")
    elif any(f"q_{folded}" in queue.beside for queue in tx.queues.values()):
        # CREATE TABLE IF NOT EXISTS is content with the index of that name; what follows is not.
        tx.note("flow_and_index_collide")
        raise Refused(WRONG_KIND_OF_OBJECT)
    else:
        tx.put_queue(name, Queue({}, {}, 0, _beside(tx, f"q_{folded}")))
    tx.queue_names |= {name}


def _beside(tx: Transaction, table: str) -> frozenset[str]:
    """The names of a new queue's indexes and sequence, which share a name space with queues.

    Where a name is taken, PostgreSQL finds another for a key or a sequence; the index on vt, which
    pgmq names itself, is then left out in silence.
    """
    taken = {f"q_{name}" for name in tx.queues}.union(*(q.beside for q in tx.queues.values()))

    def free(wanted: str) -> str:
        names = (wanted, *(f"{wanted}{number}" for number in range(1, len(taken) + 2)))
        return next(name for name in names if name not in taken)

    return frozenset({free(f"{table}_pkey"), free(f"{table}_msg_id_seq")}) | (
        {f"{table}_vt_idx"} - taken
    )


def drop(tx: Transaction, call: calls.DropQueue) -> list[bool]:
    """`pgmq.drop_queue`."""
    if call.queue_name.lower() not in tx.queues:
        return [False]
    tx.queues = {name: q for name, q in tx.queues.items() if name != call.queue_name.lower()}
    tx.queue_names -= {call.queue_name}
    return [True]


def queue_of(tx: Transaction, name: str) -> Queue:
    """The queue's tables."""
    try:
        return tx.queues[name.lower()]
    except KeyError:
        raise Refused(UNDEFINED_TABLE) from None


def send(tx: Transaction, name: str, message: Jsonb | None, delay: int = 0) -> int:
    """`pgmq.send`: the new message's id."""
    queue = queue_of(tx, name)
    number = queue.last_id + 1
    row = MessageRow(number, 0, tx.now, None, tx.clock + delay * SECOND, message)
    tx.put_queue(name, queue._replace(messages={**queue.messages, number: row}, last_id=number))
    return number


def archive(tx: Transaction, name: str, numbers: Sequence[int]) -> int:
    """`pgmq.archive`: how many of these messages were in the queue."""
    queue = queue_of(tx, name)
    found = [number for number in numbers if number in queue.messages]
    if found:
        moved = {n: queue.messages[n]._replace(archived_at=tx.now) for n in found}
        left = {n: row for n, row in queue.messages.items() if n not in moved}
        tx.put_queue(name, queue._replace(messages=left, archive={**queue.archive, **moved}))
    return len(found)


def delete(tx: Transaction, call: calls.Delete) -> list[bool]:
    """`pgmq.delete`."""
    queue = queue_of(tx, call.queue_name)
    left = {n: row for n, row in queue.messages.items() if n != call.msg_id}
    tx.put_queue(call.queue_name, queue._replace(messages=left))
    return [len(left) < len(queue.messages)]


def set_vt(tx: Transaction, name: str, number: int, delay: int) -> list[MessageRow]:
    """`pgmq.set_vt`."""
    queue = queue_of(tx, name)
    if number not in queue.messages:
        return []
    row = queue.messages[number]._replace(vt=tx.clock + delay * SECOND)
    tx.put_queue(name, queue._replace(messages={**queue.messages, number: row}))
    return [row]


def set_vt_batch(tx: Transaction, call: calls.SetVtBatch) -> list[MessageRow]:
    """`pgflow.set_vt_batch`; of two offsets for one message the first counts, by no promise."""
    if call.msg_ids is None or call.vt_offsets is None:
        return []
    if len(call.msg_ids) != len(call.vt_offsets):
        raise Refused(RAISED)
    queue, rows = queue_of(tx, call.queue_name), []
    offsets: dict[int | None, int | None] = {}
    for number, offset in zip(call.msg_ids, call.vt_offsets, strict=True):
        offsets.setdefault(number, offset)
    for number, offset in offsets.items():
        if number is not None and number in queue.messages:
            not_null(offset)
            assert offset is not None
            rows += set_vt(tx, call.queue_name, number, offset)
    return rows


def read(tx: Transaction, name: str, hide: int | None, limit: int | None) -> list[MessageRow]:
    """`pgmq.read`: visible messages, oldest first, hidden from now on."""
    queue = queue_of(tx, name)
    if limit is not None and limit < 0:
        raise Refused(NEGATIVE_LIMIT)
    visible = sorted(number for number, row in queue.messages.items() if row.vt <= tx.clock)
    rows = {}
    for number in visible[:limit]:
        not_null(hide)
        assert hide is not None
        row, until = queue.messages[number], tx.clock + hide * SECOND
        rows[number] = row._replace(read_ct=row.read_ct + 1, last_read_at=tx.clock, vt=until)
    if rows:
        tx.put_queue(name, queue._replace(messages={**queue.messages, **rows}))
    return list(rows.values())


def read_with_poll(tx: Transaction, call: calls.ReadWithPoll) -> list[MessageRow]:
    """`read_with_poll`: reads until there is something, or time is up.

    It looks whether time is up before it looks into the queue.
    """
    given, interval = call.max_poll_seconds, call.poll_interval_ms
    seconds = _POLL_SECONDS if given is OMITTED else given
    stop_at = tx.clock + seconds * SECOND
    pause = _pause(_POLL_INTERVAL_MS if interval is OMITTED else interval)
    if seconds <= 0:
        tx.note("poll_of_no_time_reads_nothing")
    while tx.clock < stop_at:
        rows = read(tx, call.queue_name, call.vt, call.qty)
        if rows:
            return rows
        tx.clock += pause
    return []


def _pause(milliseconds: int | None) -> Instant:
    """How long a poll sleeps. Where the server would not sleep, and look without end, a while."""
    if milliseconds is None or milliseconds <= 0:
        milliseconds = _POLL_INTERVAL_MS
    return milliseconds * 1_000
