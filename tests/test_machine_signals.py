"""The worker's machine: hearing of messages, waiting for them in the server, recovery, leaving."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pgflow_ref.machine import Phase, State, step, wake_at
from pgflow_ref.protocol import (
    Cancel,
    CancelRead,
    Claim,
    Command,
    Deprecated,
    Event,
    Heartbeat,
    Listen,
    Listening,
    MarkStopped,
    MessagesRead,
    Notified,
    NotListening,
    PollFailed,
    Read,
    Recorded,
    Recover,
    Recovered,
    Registered,
    Run,
    StopRequested,
    TasksClaimed,
    Woke,
)
from tests.playing import (
    GIVEN_BACK,
    MAKE,
    NO,
    ONE,
    VISIBILITY,
    busy,
    calm,
    finished,
    new,
    play,
    reading,
    record,
    waiting,
)
from tests.simulation import broken_promise

if TYPE_CHECKING:
    from tests.simulation import Step

READ = Read(10, VISIBILITY)


# notify


def listening(**options: object) -> State:
    """A worker at time 0 that listens, and has just read nothing; it waits for 30 seconds."""
    return play(
        new(signal_strategy="notify", **options),
        (Registered(0.0), [Heartbeat(), Listen(), READ]),
        (MessagesRead(0.0, (), 0.0), []),
        (Listening(0.0), [READ]),
        (MessagesRead(0.0, (), 0.0), []),
    )


def test_a_worker_that_listens_reads_when_it_is_told_to_and_now_and_then() -> None:
    state = listening(notify_throttle=0)
    assert wake_at(state) == 30.0
    state = play(
        state,
        (Notified(7.0), [READ]),
        (MessagesRead(7.0, (1,), 0.0), [Claim((1,))]),
        (TasksClaimed(7.0, (ONE,)), [Run(ONE), Read(9, VISIBILITY)]),
        (MessagesRead(7.0, (), 0.0), []),
        (finished(7.0, ONE), [record(ONE)]),
        (Recorded(7.1), []),
    )
    assert wake_at(state) == 37.0


def test_one_that_polls_does_not_listen() -> None:
    play(new(), (Registered(0.0), [Heartbeat(), READ]))


def test_what_is_told_while_a_read_is_under_way_is_looked_for_again() -> None:
    play(
        listening(),
        (Notified(7.0), [READ]),
        (Notified(7.1), []),
        (MessagesRead(7.2, (), 0.0), [READ]),
    )


def test_what_is_told_to_a_full_worker_is_read_when_it_has_a_slot() -> None:
    state = busy(ONE, signal_strategy="notify")
    play(
        state,
        (Listening(0.1), []),
        (Notified(0.2), []),
        (finished(1.0, ONE), [record(ONE, reads=1)]),
        (Recorded(1.1), [Read(1, VISIBILITY)]),
    )


def test_an_insert_that_is_not_told_so_soon_after_another_is_found() -> None:
    """Pgmq tells of no insert within the throttle after the last of which it told."""
    state = play(
        listening(notify_throttle=2.0),
        (Notified(7.0), [READ]),
        (MessagesRead(7.5, (), 0.0), []),
    )
    assert wake_at(state) == 9.1  # and a moment for its transaction to end
    state = play(state, (Woke(9.1), [READ]), (MessagesRead(9.2, (), 0.0), []))
    assert wake_at(state) == 39.2


@pytest.mark.parametrize(
    ("visible_in", "at"),
    [
        (None, 30.0),
        (12.5, 12.5),
        (0.25, 0.25),
        (45.0, 30.0),
        (0.0, 1.0),  # in another's hands: the shortest wait between two reads
        (-3.0, 1.0),
    ],
)
def test_it_wakes_when_a_hidden_message_becomes_visible(
    visible_in: float | None, at: float
) -> None:
    """Of a task that is to be tried again no insert tells, nor of a delayed one."""
    state = play(
        new(signal_strategy="notify"),
        (Registered(0.0), [Heartbeat(), Listen(), READ]),
        (MessagesRead(0.0, (), 0.0), []),
        (Listening(0.0), [READ]),
        (MessagesRead(0.0, (), 0.0, visible_in), []),
    )
    assert wake_at(state) == at


def test_a_failure_of_its_own_makes_it_look_when_the_task_is_to_be_tried_again() -> None:
    state = play(
        calm(ONE, signal_strategy="notify"),
        (Listening(0.0), [Read(9, VISIBILITY)]),
        (MessagesRead(0.0, (), 0.0), []),
        (finished(1.0, ONE, NO), [record(ONE, outcome=NO)]),
        (Recorded(1.0), [READ]),
        (MessagesRead(1.0, (), 0.0, 10.0), []),
    )
    assert wake_at(state) == 11.0


def test_one_that_does_not_hear_polls() -> None:
    state = play(
        listening(),
        (NotListening(5.0), [READ]),  # what it has missed
        (MessagesRead(5.0, (), 1.0), []),
    )
    assert wake_at(state) == 5.1  # it tries to listen again
    state = play(state, (Woke(5.1), [Listen()]))
    assert wake_at(state) == 8.0  # three times the shortest wait, as any that polls
    play(
        state,
        (Listening(6.0), [READ]),  # what it has missed
        (MessagesRead(6.0, (), 1.0), []),
        (Woke(9.0), []),
        (Woke(36.0), [READ]),
    )


def test_while_it_cannot_listen_it_tries_less_often_each_time() -> None:
    state, now, waits = listening(), 0.0, []
    for _ in range(9):
        state, _ = step(state, NotListening(now))
        waits.append(round(state.listen_at - now, 6))
        now = state.listen_at
        state, commands = step(state, Woke(now))
        assert Listen() in commands
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    state, _ = step(state, Listening(now))
    state, _ = step(state, NotListening(now))
    assert round(state.listen_at - now, 6) == 0.1


def test_one_that_never_heard_reads_no_more_often_for_trying() -> None:
    state = play(
        new(signal_strategy="notify"),
        (Registered(0.0), [Heartbeat(), Listen(), READ]),
        (MessagesRead(0.0, (), 0.0), []),
        (NotListening(0.25), []),
        (Woke(0.375), [Listen()]),
        (NotListening(0.5), []),
    )
    assert wake_at(state) == 0.7
    play(state, (Woke(1.0), [Listen(), READ]))


def test_a_stopping_worker_hears_nothing() -> None:
    play(
        busy(ONE, signal_strategy="notify"),
        (Listening(0.1), []),
        (StopRequested(0.5), []),
        (Notified(0.6), []),
        (NotListening(0.7), []),
        (Woke(2.0), []),
        (finished(3.0, ONE), [record(ONE)]),
        (Recorded(3.1), [MarkStopped()]),
    )


# long_poll

LONG = Read(10, VISIBILITY, 5)


def patient(**options: object) -> State:
    """A worker at time 0 whose first read waits in the server."""
    return play(new(signal_strategy="long_poll", **options), (Registered(0.0), [Heartbeat(), LONG]))


def test_a_read_that_waits_in_the_server_is_followed_by_the_next() -> None:
    play(
        patient(),
        (MessagesRead(5.0, (), 1.0), [LONG]),
        (MessagesRead(7.0, (1,), 1.0), [Claim((1,))]),
        (TasksClaimed(7.1, (ONE,)), [Run(ONE), Read(9, VISIBILITY, 5)]),
    )


@pytest.mark.parametrize(("longest", "wait"), [(1.0, 1), (1.5, 2), (20, 20), (300, 300)])
def test_how_long_the_server_waits(longest: float, wait: int) -> None:
    play(
        new(signal_strategy="long_poll", max_poll_interval=longest),
        (Registered(0.0), [Heartbeat(), Read(10, VISIBILITY, wait)]),
    )


def test_a_full_worker_holds_no_poll() -> None:
    state = busy(ONE, signal_strategy="long_poll")
    assert not state.reading
    play(
        state,
        (Woke(1.0), []),
        (finished(2.0, ONE), [record(ONE, reads=1)]),
        (Recorded(2.1), [Read(1, VISIBILITY, 5)]),
    )


def test_while_the_database_is_away_long_polls_become_rarer() -> None:
    state = play(patient(), (PollFailed(0.0), []))
    assert wake_at(state) == 0.1


def test_stopping_does_not_wait_for_the_server() -> None:
    play(
        patient(),
        (StopRequested(1.0), [CancelRead()]),
        (MessagesRead(1.1, (), 0.0), [MarkStopped()]),
    )


def test_what_a_cancelled_read_still_found_is_claimed() -> None:
    play(
        patient(),
        (StopRequested(1.0), [CancelRead()]),
        (StopRequested(1.1), []),
        (MessagesRead(1.2, (1,), 0.0), [Claim((1,))]),
        (TasksClaimed(1.3, (ONE,)), [record(ONE, outcome=GIVEN_BACK)]),
        (Recorded(1.4), [MarkStopped()]),
    )


def test_a_read_that_is_over_is_not_cancelled() -> None:
    play(
        patient(),
        (MessagesRead(1.0, (1,), 0.0), [Claim((1,))]),
        (StopRequested(1.1), []),
        (TasksClaimed(1.3, ()), [MarkStopped()]),
    )
    play(patient(), (PollFailed(1.0), []), (StopRequested(1.05), [MarkStopped()]))


def test_a_read_that_answers_at_once_is_not_cancelled() -> None:
    play(reading(), (StopRequested(1.0), []))


# Recovery


def test_stalled_tasks_are_looked_for_about_every_interval() -> None:
    state = waiting(recovery_interval=10, min_poll_interval=100, max_poll_interval=300)
    state = play(state, (Woke(9.9), []), (Woke(10.0), [Recover()]))
    for chance, wait in ((0.0, 7.5), (0.5, 10.0), (1.0, 12.5)):
        after, commands = step(state, Recovered(11.0, 0, chance))
        assert commands == []
        assert wake_at(after) == 11.0 + wait


def test_no_recovery() -> None:
    state = waiting(recovery_interval=None)
    state, commands = step(state, Woke(3599.0))
    assert Recover() not in commands


def test_what_was_recovered_is_read() -> None:
    state = play(waiting(recovery_interval=0.5), (Woke(0.5), [Recover()]))
    play(state, (Recovered(0.6, 0, 0.5), []))
    play(state, (Recovered(0.6, 3, 0.5), [READ]))


def test_recovery_waits_for_the_reader_and_goes_before_the_next_read() -> None:
    play(
        reading(recovery_interval=1),
        (Woke(2.0), []),
        (MessagesRead(3.0, (1,), 0.0), [Claim((1,))]),
        (TasksClaimed(3.1, (ONE,)), [Run(ONE), Recover()]),
        (Woke(3.2), []),
        (Recovered(4.0, 0, 0.5), [Read(9, VISIBILITY)]),
    )


def test_a_full_worker_recovers_too() -> None:
    play(
        busy(MAKE, recovery_interval=5),
        (Woke(5.0), [Recover()]),
        (finished(5.5, MAKE), [record(MAKE, reads=1)]),  # and it holds up no result
        (Recorded(5.6), []),
        (Recovered(6.0, 0, 0.5), [Read(1, VISIBILITY)]),
    )


def test_the_server_waits_no_longer_than_until_the_next_recovery() -> None:
    play(
        new(signal_strategy="long_poll", recovery_interval=7, max_poll_interval=300),
        (Registered(0.0), [Heartbeat(), Read(10, VISIBILITY, 7)]),
        (MessagesRead(6.5, (), 0.0), [Read(10, VISIBILITY, 1)]),
        (MessagesRead(7.5, (), 0.0), [Recover()]),
        (Recovered(7.6, 0, 0.5), [Read(10, VISIBILITY, 7)]),
    )


def test_a_stopping_worker_recovers_nothing_but_waits_for_what_is_under_way() -> None:
    play(
        busy(MAKE, recovery_interval=5),
        (StopRequested(4.0), []),
        (Woke(6.0), []),
        (finished(7.0, MAKE), [record(MAKE)]),
        (Recorded(7.1), [MarkStopped()]),
    )
    play(
        waiting(recovery_interval=0.5),
        (Woke(0.5), [Recover()]),
        (StopRequested(0.6), []),
        (Recovered(0.7, 5, 0.5), [MarkStopped()]),
    )


# The database wants it to leave


def test_a_deprecated_worker_stops_as_if_it_was_asked_to() -> None:
    state = play(
        busy(ONE, stop_timeout=10),
        (Deprecated(1.0), []),
        (Deprecated(6.0), []),  # it is told again with each sign of life
    )
    assert state.phase is Phase.STOPPING
    assert wake_at(state) == 11.0
    play(state, (finished(7.0, ONE), [record(ONE)]), (Recorded(7.1), [MarkStopped()]))


def test_a_deprecated_worker_that_is_asked_to_stop_waits_no_longer() -> None:
    play(
        busy(ONE),
        (Deprecated(1.0), []),
        (StopRequested(2.0), [Cancel(ONE), record(ONE, outcome=GIVEN_BACK)]),
    )


def test_a_stopping_worker_that_is_deprecated_goes_on_stopping() -> None:
    state = play(busy(ONE, stop_timeout=10), (StopRequested(1.0), []), (Deprecated(2.0), []))
    assert wake_at(state) == 11.0


# Mistakes that the schedules by chance notice


def deaf(state: State, event: Event) -> tuple[State, list[Command]]:
    """It hears, and does not read."""
    return step(state, Woke(event.now) if isinstance(event, Notified) else event)


def trusting(state: State, event: Event) -> tuple[State, list[Command]]:
    """It relies on hearing of everything, also of what pgmq does not tell."""
    if isinstance(event, MessagesRead):
        event = replace(event, visible_in=None)
    return step(state, event)


def forlorn(state: State, event: Event) -> tuple[State, list[Command]]:
    """When it no longer hears it does not listen again."""
    state, commands = step(state, event)
    return state._replace(listen_at=float("inf")), commands


def clinging(state: State, event: Event) -> tuple[State, list[Command]]:
    """It recovers though it stops."""
    state, commands = step(state, event)
    if state.phase is Phase.STOPPING and isinstance(event, StopRequested):
        return state, [*commands, Recover()]
    return state, commands


def careless(state: State, event: Event) -> tuple[State, list[Command]]:
    """It never recovers."""
    state, commands = step(state, event)
    return state._replace(recover_at=float("inf")), commands


def rash(state: State, event: Event) -> tuple[State, list[Command]]:
    """Told twice to leave, it waits for nothing any more."""
    return step(state, StopRequested(event.now) if isinstance(event, Deprecated) else event)


@pytest.mark.parametrize(
    ("mistake", "noticed"),
    [
        (deaf, "it could read, and does not"),
        (trusting, "it could read, and does not"),
        (forlorn, "it could listen, and does not"),
        (clinging, "a stopping worker recovers nothing"),
        (careless, "it could recover, and does not"),
        (rash, "it had time left"),
    ],
)
def test_mistakes_are_noticed(mistake: Step, noticed: str) -> None:
    assert any(noticed in broken_promise(seed, mistake) for seed in range(300))
