"""The worker as a state machine: what it knows, what happened, and so what to do.

    state, commands = step(state, *events)

There is no clock here, no connection and no thread. The shell (`worker/`) performs commands and
reports what came of them as events, each with the time at which it was seen; chance is an input as
well (`MessagesRead.chance`). So every schedule can be played by a test, as often as it likes.

The rules, in the order in which `rules.py` applies them after every event:

1.  A task that has run for its timeout fails, and what its handler still returns is dropped. When
    the time to stop is over, the same happens to all that still run.
2.  Results that are ready together are recorded together, one batch at a time on each recorder. A
    full worker that waits for nothing but its results shares them out over its recorders: while
    one batch is recorded, tasks that took the place of the other run. A batch that the database
    refuses is taken apart, so that one bad result does not hold up the others; an output that it
    refuses alone becomes a failure that says so, and a failure that it refuses is told to people.
    While the database is away the batch waits, longer each time.
3.  A task holds a slot from its claim until its result is recorded. A worker reads when it has a
    free slot, and never more messages than free slots. Results of a full worker are followed by a
    read and a claim in the same round trip, for the slots that they free. What a read finds is
    claimed at once; messages that the claim leaves out are somebody else's, or over, and are left
    alone. An empty read is followed by a wait (`polling.py`). A result that may have made work,
    tasks that were recovered, and a slot that frees in a full worker, end it.
4.  A sign of life is due every heartbeat interval, whatever else goes on.
5.  Tasks that nobody works on any more are looked for about every recovery interval, when the
    reader has nothing else to do; it is one connection.
6.  A stopping worker reads nothing more, and is stopped when nothing runs or waits any more. That
    the database wants it to leave is a reason to stop like any other.
"""

from pgflow_ref.machine.rules import step, wake_at
from pgflow_ref.machine.state import Phase, Plan, Running, State

__all__ = ["Phase", "Plan", "Running", "State", "step", "wake_at"]
