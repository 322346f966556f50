"""Rule 3: when a worker reads, how much, and what it does with what it finds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from pgflow_ref.machine.state import longer
from pgflow_ref.protocol import (
    Claim,
    Command,
    Listening,
    MessagesRead,
    Notified,
    NotListening,
    Read,
)

if TYPE_CHECKING:
    from pgflow_ref.machine.state import State

_COMMIT: Final = 0.1  # seconds that most transactions take from their insert to their end


def take_in_messages(state: State, event: MessagesRead, commands: list[Command]) -> State:
    """A read came back: claim what it found, or wait."""
    state = state._replace(waiting=False)
    if event.message_ids:
        # Also while stopping: a message that was read would be invisible for a long time.
        commands.append(Claim(event.message_ids))
        return state._replace(poll_at=state.now, poll_wait=0.0)
    wait, random_wait = _wait(state, event)
    poll_at = state.now + wait
    return state._replace(reading=False, poll_at=poll_at, poll_wait=random_wait, poll_retry=0.0)


def _wait(state: State, event: MessagesRead) -> tuple[float, float]:
    """Seconds to wait after an empty read, and how many of them were drawn at random.

    With `long_poll` the server has waited already. A worker that listens waits for an insert, with
    three exceptions: an insert that the read may not have seen; one that was not told, because pgmq
    had told of another just before; and the moment at which a hidden message becomes visible, of
    which no insert tells: a task that is to be tried again, a delayed one. Any other, or one that
    does not hear at the moment, waits for a random time, longer after each empty read.
    """
    config = state.plan.config
    if config.signal_strategy == "long_poll":
        return 0.0, 0.0
    least, most = config.min_poll_interval, config.max_poll_interval
    if not state.listening:
        longest = min(3 * (state.poll_wait or least), most)
        wait = least + (longest - least) * event.chance
        return wait, wait
    if state.heard:
        return 0.0, 0.0
    wait = config.notify_fallback_interval
    untold = state.notified_at + config.notify_throttle + _COMMIT - state.now
    if config.notify_throttle and untold > 0:
        wait = min(wait, untold)
    if event.visible_in is not None:
        # What is visible, and was not read, is in another's hands: no hurry.
        wait = min(wait, event.visible_in if event.visible_in > 0 else least)
    return wait, 0.0


def take_in_signal(state: State, event: Listening | NotListening | Notified) -> State:
    """Something was inserted, or it may have been while nobody listened: read, and read again."""
    if isinstance(event, Listening):
        state = state._replace(listening=True, listen_retry=0.0)
    elif isinstance(event, Notified):
        state = state._replace(notified_at=state.now)
    else:
        wait, listened = longer(state.listen_retry), state.listening
        listen_at = state.now + wait
        state = state._replace(listening=False, listen_at=listen_at, listen_retry=wait)
        if not listened:
            return state  # and so it has not relied on it
    return state._replace(poll_at=state.now, poll_wait=0.0, heard=True)


def take_in_failure(state: State) -> State:
    """A read or a claim did not come back."""
    wait = longer(state.poll_retry)
    poll_at = state.now + wait
    return state._replace(reading=False, waiting=False, poll_at=poll_at, poll_retry=wait)


def read(state: State, commands: list[Command]) -> State:
    """Read as much as there are slots for, if it is time to."""
    if not state.can_read or state.now < state.poll_at:
        return state
    quantity = min(state.free, state.plan.config.batch_size)
    wait = _long_poll(state)
    commands.append(Read(quantity, state.plan.visibility_timeout, wait))
    return state._replace(reading=True, waiting=wait > 0, heard=False)


def _long_poll(state: State) -> int:
    """Seconds that a read may wait in the server; not past a recovery, which would wait for it."""
    if state.plan.config.signal_strategy != "long_poll":
        return 0
    longest = min(state.plan.config.max_poll_interval, state.recover_at - state.now)
    return max(1, math.ceil(longest))
