"""The worker's machine: each rule as a short schedule, and thousands of schedules by chance."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgflow_ref import WorkerConfig, machine
from pgflow_ref.machine import Phase, Plan, State, step, wake_at
from pgflow_ref.protocol import (
    Abandon,
    Cancel,
    Claim,
    Command,
    Event,
    Finished,
    Heartbeat,
    MarkStopped,
    MessagesRead,
    NotRecorded,
    PollFailed,
    Read,
    Record,
    Recorded,
    Register,
    Registered,
    Run,
    Started,
    StopRequested,
    TasksClaimed,
    Woke,
)
from pgflow_ref.task import Failed, Outcome, Task
from tests.playing import (
    GIVEN_BACK,
    LATE,
    MAKE,
    MORE,
    NO,
    OK,
    ONE,
    THREE,
    TWO,
    VISIBILITY,
    busy,
    calm,
    finished,
    new,
    play,
    reading,
    record,
    result,
    task,
    waiting,
)
from tests.simulation import broken_promise, simulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation import Step

# Start


def test_the_first_commands() -> None:
    state = play(
        new(),
        (Started(0.0), [Register()]),
        (Woke(0.5), []),
        (Registered(1.0), [Heartbeat(), Read(10, VISIBILITY)]),
    )
    assert state.phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("timeouts", "given_timeout", "expected"),
    [
        ({"a": 60.0, "b": 30.0}, None, 62),
        ({"a": 3.0}, None, 5),
        ({}, None, 62),
        ({"a": 60.0}, 5, 5),
    ],
)
def test_a_read_hides_messages_for_longer_than_their_tasks_may_take(
    timeouts: dict[str, float], given_timeout: int | None, expected: int
) -> None:
    plan = Plan(WorkerConfig(visibility_timeout=given_timeout), timeouts, frozenset())
    assert plan.visibility_timeout == expected


def test_a_step_changes_no_state_but_its_own() -> None:
    before = busy(ONE)
    copy = before._replace(running=dict(before.running))
    step(before, finished(1.0, ONE))
    step(before, Woke(99.0))
    assert before == copy


def test_time_never_goes_back() -> None:
    state = play(busy(ONE), (Woke(20.0), []), (finished(10.0, ONE), [record(ONE, reads=1)]))
    assert state.now == 20.0


# Rule 1: timeouts


def test_a_task_fails_at_its_timeout_and_what_it_returns_is_dropped() -> None:
    play(
        busy(ONE),
        (Woke(29.999), []),
        (Woke(30.0), [Cancel(ONE), record(ONE, outcome=LATE, reads=1)]),
        (finished(30.5, ONE), []),
        (Recorded(31.0), [Read(1, VISIBILITY)]),
    )


def test_just_in_time() -> None:
    play(busy(ONE), (finished(29.999, ONE), [record(ONE, reads=1)]))


def test_a_handler_that_returns_after_its_timeout_is_late_whoever_notices_first() -> None:
    """An async handler that blocks the event loop returns before the loop can wake up."""
    state, commands = step(busy(ONE), finished(31.0, ONE))
    recorded = [command for command in commands if isinstance(command, Record)]
    assert recorded == [record(ONE, outcome=LATE, reads=1)]
    assert state.running == {}


def test_the_time_of_a_task_begins_when_it_is_claimed() -> None:
    state = play(
        reading(max_concurrency=2, batch_size=1),
        (MessagesRead(0.0, (1,), 0.0), [Claim((1,))]),
        (TasksClaimed(5.0, (ONE,)), [Run(ONE), Read(1, VISIBILITY)]),
        (MessagesRead(6.0, (2,), 0.0), [Claim((2,))]),
        (TasksClaimed(7.0, (TWO,)), [Run(TWO)]),
        (Woke(35.0), [Cancel(ONE), record(ONE, outcome=LATE, reads=1)]),
    )
    assert wake_at(state) == 37.0


def test_tasks_that_are_late_together_fail_together() -> None:
    play(
        busy(ONE, TWO),
        (Woke(40.0), [Cancel(ONE), Cancel(TWO), record(ONE, TWO, outcome=LATE, reads=2)]),
    )


def test_each_step_has_its_own_timeout_and_one_that_the_code_lacks_has_60_seconds() -> None:
    unknown = task(3, "unheard_of")
    state = busy(task(1, "end"), task(2, "make"), unknown)
    assert [running.deadline for running in state.running.values()] == [30.0, 60.0, 60.0]


# Rule 2: results


def test_results_that_are_ready_together_are_recorded_together_one_batch_at_a_time() -> None:
    play(
        calm(ONE, TWO, THREE),
        (finished(0.1, ONE), [record(ONE)]),
        (finished(0.2, TWO), []),
        (finished(0.3, THREE, NO), []),
        (Recorded(0.4), [Record((result(TWO), result(THREE, NO)))]),
        (Recorded(0.5), [Read(10, VISIBILITY)]),
    )


def test_what_happened_at_once_is_taken_in_together() -> None:
    events = (finished(0.1, ONE), finished(0.2, TWO), Woke(0.3), finished(0.3, THREE))
    state, commands = step(calm(ONE, TWO, THREE), *events)
    assert commands == [record(ONE, TWO, THREE)]
    assert state.now == 0.3


def test_results_are_recorded_side_by_side_where_there_are_several_recorders() -> None:
    play(
        calm(ONE, TWO, THREE, task(9), recorders=2),
        (finished(0.1, ONE), [record(ONE)]),
        (finished(0.2, TWO), [record(TWO, lane=1)]),
        (finished(0.3, THREE), []),  # both have something to do
        (finished(0.3, task(9)), []),
        (Recorded(0.4, lane=1), [record(THREE, task(9), lane=1)]),
        (Recorded(0.5), []),
        (Recorded(0.6, lane=1), []),
    )


def test_a_batch_that_one_recorder_is_refused_is_taken_apart_by_both() -> None:
    play(
        calm(task(9), ONE, TWO, THREE, recorders=2),
        (finished(0.1, task(9)), [record(task(9))]),
        (finished(0.1, ONE), [record(ONE, lane=1)]),
        (finished(0.1, TWO), []),
        (finished(0.1, THREE), []),
        (Recorded(0.2, lane=1), [record(TWO, THREE, lane=1)]),
        (Recorded(0.3), []),
        (NotRecorded(0.4, "no", lane=1), [record(TWO), record(THREE, lane=1)]),
        (Recorded(0.5), []),
        (
            NotRecorded(0.6, "no", lane=1),
            [record(THREE, outcome=Failed("Output cannot be stored: no"))],
        ),
    )


def test_while_the_database_is_away_all_recorders_wait() -> None:
    play(
        calm(ONE, TWO, recorders=2),
        (finished(0.1, ONE), [record(ONE)]),
        (NotRecorded(0.2), []),
        (finished(0.25, TWO), []),
        (Woke(0.31), [record(ONE, TWO)]),
    )


def refused_together(**options: Any) -> State:
    """A batch of three has been refused; the first of them is on its way alone."""
    return play(
        calm(task(9), ONE, TWO, THREE, **options),
        (finished(0.1, task(9)), [record(task(9))]),
        (finished(0.1, ONE), []),
        (finished(0.1, TWO), []),
        (finished(0.1, THREE), []),
        (Recorded(0.2), [record(ONE, TWO, THREE)]),
        (NotRecorded(0.3, "no"), [record(ONE)]),
    )


def test_a_refused_batch_is_taken_apart() -> None:
    bad = Failed("Output cannot be stored: bad")
    play(
        refused_together(),
        (Recorded(0.4), [record(TWO)]),
        (NotRecorded(0.5, "bad"), [record(TWO, outcome=bad)]),
        (Recorded(0.6), [record(THREE), Read(9, VISIBILITY)]),
        (Recorded(0.7), []),
    )


def test_after_a_refused_batch_results_go_together_again() -> None:
    play(
        refused_together(),
        (Recorded(0.4), [record(TWO)]),
        (Recorded(0.5), [record(THREE)]),
        (Recorded(0.6), []),
        (Woke(1.0), [Read(10, VISIBILITY)]),
        (MessagesRead(1.1, (4, 5, 6), 0.0), [Claim((4, 5, 6))]),
        (TasksClaimed(1.2, MORE), [*map(Run, MORE), Read(7, VISIBILITY)]),
        (finished(1.3, MORE[0]), [record(MORE[0])]),
        (finished(1.4, MORE[1]), []),
        (finished(1.5, MORE[2]), []),
        (Recorded(1.6), [record(MORE[1], MORE[2])]),
    )


def test_a_refused_batch_does_not_slow_down_those_that_come_after_it() -> None:
    """Else a busy worker, whose outbox is never empty, records one by one from then on."""
    state = play(
        refused_together(),
        (Woke(1.0), [Read(7, VISIBILITY)]),
        (MessagesRead(1.1, (4, 5, 6), 0.0), [Claim((4, 5, 6))]),
        (TasksClaimed(1.2, MORE), [*map(Run, MORE), Read(4, VISIBILITY)]),
        *((finished(1.3, one), []) for one in MORE),
        (Recorded(1.4), [record(TWO)]),
        (Recorded(1.5), [record(THREE)]),
    )
    play(state, (Recorded(1.6), [record(*MORE)]))


def test_a_result_that_is_refused_alone_fails_with_the_reason() -> None:
    bad = Failed("Output cannot be stored: bad")
    play(
        busy(ONE),
        (finished(0.1, ONE), [record(ONE, reads=1)]),
        (NotRecorded(0.2, "bad"), [record(ONE, outcome=bad, reads=1)]),
        (Recorded(0.3), [Read(1, VISIBILITY)]),
    )


def test_a_failure_that_is_refused_holds_up_no_other_result() -> None:
    state = play(
        calm(ONE, TWO),
        (finished(0.1, ONE, NO), [record(ONE, outcome=NO)]),
        (finished(0.2, TWO), []),
    )
    _, commands = step(state, NotRecorded(0.3, "bad"))
    assert record(TWO) in commands


def test_a_failure_that_will_never_be_taken_is_told_and_not_tried_for_ever() -> None:
    """Else it would keep its slot: a worker with one slot would never read again."""
    state = play(busy(ONE), (finished(0.1, ONE, NO), [record(ONE, outcome=NO, reads=1)]))
    state, commands = step(state, NotRecorded(0.2, "never"))
    assert Abandon((result(ONE, NO),)) in commands
    assert state.free == 1


def test_while_the_database_is_away_results_wait_longer_each_time() -> None:
    state = play(busy(ONE), (finished(0.0, ONE), [record(ONE, reads=1)]))
    now, waits = 0.0, []
    for _ in range(9):
        state = play(state, (NotRecorded(now), []))
        at = wake_at(state)
        assert at is not None
        waits.append(round(at - now, 6))
        state = play(state, (Woke(at - 0.001), []), (Woke(at), [record(ONE, reads=1)]))
        now = at
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_recorded_batch_ends_the_longer_waits() -> None:
    state = play(
        calm(ONE, TWO),
        (finished(0.0, ONE), [record(ONE)]),
        (NotRecorded(0.0), []),
        (Woke(0.1), [record(ONE)]),
        (NotRecorded(0.1), []),
        (Woke(0.31), [record(ONE)]),
        (Recorded(0.32), []),
        (finished(0.4, TWO), [record(TWO)]),
        (NotRecorded(0.4), []),
    )
    assert wake_at(state) == 0.5


def test_results_that_become_ready_meanwhile_go_with_the_batch() -> None:
    play(
        calm(ONE, TWO),
        (finished(0.0, ONE), [record(ONE)]),
        (NotRecorded(0.0), []),
        (finished(0.05, TWO), []),
        (Woke(0.1), [record(ONE, TWO)]),
    )


def test_results_that_become_ready_while_a_batch_fails_go_with_it() -> None:
    play(
        calm(ONE, TWO),
        (finished(0.0, ONE), [record(ONE)]),
        (finished(0.05, TWO), []),
        (NotRecorded(0.1), []),
        (Woke(0.2), [record(TWO, ONE)]),
    )


# Rule 3: reading


@pytest.mark.parametrize(
    ("max_concurrency", "batch_size", "quantity"),
    [(10, 10, 10), (5, 10, 5), (10, 5, 5), (1, 1, 1), (10_000, 10_000, 10_000)],
)
def test_a_read_is_as_large_as_slots_and_batches_are(
    max_concurrency: int, batch_size: int, quantity: int
) -> None:
    state = play(
        new(max_concurrency=max_concurrency, batch_size=batch_size),
        (Registered(0.0), [Heartbeat(), Read(quantity, VISIBILITY)]),
    )
    assert state.reading


def test_what_is_found_is_claimed_and_run_and_the_next_read_follows() -> None:
    play(
        reading(max_concurrency=3),
        (MessagesRead(0.1, (1, 2), 0.5), [Claim((1, 2))]),
        (TasksClaimed(0.2, (ONE, TWO)), [Run(ONE), Run(TWO), Read(1, VISIBILITY)]),
        (MessagesRead(0.3, (3,), 0.5), [Claim((3,))]),
        (TasksClaimed(0.4, (THREE,)), [Run(THREE)]),
    )


def test_messages_that_the_claim_leaves_out_are_left_alone() -> None:
    play(
        reading(max_concurrency=2),
        (MessagesRead(0.1, (1, 2), 0.5), [Claim((1, 2))]),
        (TasksClaimed(0.2, (TWO,)), [Run(TWO), Read(1, VISIBILITY)]),
        (MessagesRead(0.3, (1,), 0.5), [Claim((1,))]),
        (TasksClaimed(0.4, ()), [Read(1, VISIBILITY)]),
    )


def test_a_task_holds_its_slot_until_its_result_is_recorded() -> None:
    play(
        busy(ONE, TWO),
        (finished(0.1, ONE), [record(ONE, reads=1)]),
        (NotRecorded(0.2), []),
        (Woke(0.31), [record(ONE, reads=1)]),
        (Recorded(0.4), [Read(1, VISIBILITY)]),
    )


def test_a_full_worker_does_not_want_to_be_woken_to_read() -> None:
    assert wake_at(busy(ONE)) == 30.0
    assert wake_at(calm(ONE)) == 1.0


@pytest.mark.parametrize(
    ("chances", "waits"),
    [
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
        ([1.0, 1.0, 1.0], [3.0, 5.0, 5.0]),
        ([0.5, 0.5, 0.5], [2.0, 3.0, 3.0]),
        ([0.1, 1.0, 0.0, 1.0], [1.2, 3.6, 1.0, 3.0]),
    ],
)
def test_waits_after_empty_reads(chances: list[float], waits: list[float]) -> None:
    state, now, seen = reading(), 0.0, []
    for chance in chances:
        state = play(state, (MessagesRead(now, (), chance), []))
        at = wake_at(state)
        assert at is not None
        seen.append(round(at - now, 6))
        state = play(state, (Woke(at), [Read(10, VISIBILITY)]))
        now = at
    assert seen == waits


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.floats(0, 1), max_size=20),
    st.floats(0.001, 300),
    st.floats(0.001, 300),
)
def test_waits_after_empty_reads_are_bounded(chances: list[float], a: float, b: float) -> None:
    least, most = sorted((a, b))
    state = reading(min_poll_interval=least, max_poll_interval=most)
    before = least
    for chance in chances:
        state, _ = step(state._replace(now=0.0), MessagesRead(0.0, (), chance))
        wait = state.poll_at
        assert least <= wait * (1 + 1e-12)
        assert wait <= min(3 * before, most) * (1 + 1e-12)
        before = wait


def test_a_message_resets_the_wait() -> None:
    state = play(
        reading(max_concurrency=1),
        (MessagesRead(0.0, (), 1.0), []),
        (Woke(3.0), [Read(1, VISIBILITY)]),
        (MessagesRead(3.0, (1,), 1.0), [Claim((1,))]),
        (TasksClaimed(3.0, ()), [Read(1, VISIBILITY)]),
        (MessagesRead(3.0, (), 1.0), []),
    )
    assert wake_at(state) == 6.0  # 3 again, and not 5


@pytest.mark.parametrize(
    ("of", "outcome", "reads"),
    [
        pytest.param(task(1, "end"), OK, False, id="nothing waits for it"),
        pytest.param(task(1, "make"), OK, True, id="other steps wait for it"),
        pytest.param(task(1, "end"), NO, True, id="it is tried again"),
        pytest.param(task(1, "unheard_of"), NO, True, id="unknown step"),
    ],
)
def test_a_result_that_may_have_made_work_ends_the_wait(
    of: Task, outcome: Outcome, reads: bool
) -> None:
    play(
        calm(of),
        (finished(0.1, of, outcome), [record(of, outcome=outcome)]),
        (Recorded(0.2), [Read(10, VISIBILITY)] if reads else []),
    )


def test_a_slot_that_frees_in_a_full_worker_ends_the_wait() -> None:
    play(
        busy(ONE, TWO),
        (finished(0.1, ONE), [record(ONE, reads=1)]),
        (Recorded(0.2), [Read(1, VISIBILITY)]),
        (finished(0.3, TWO), [record(TWO)]),
        (MessagesRead(0.4, (), 0.0), []),
        (Recorded(0.5), []),
    )


def test_what_takes_the_place_of_results_comes_with_them() -> None:
    state = play(
        busy(ONE, TWO),
        (finished(0.1, ONE), [record(ONE, reads=1)]),
        (Recorded(0.2, tasks=(THREE,)), [Run(THREE)]),  # and it is full again
        (finished(0.3, TWO), [record(TWO, reads=1)]),
        (Recorded(0.4), [Read(1, VISIBILITY)]),  # the reader finds out whether there is no more
    )
    assert list(state.running) == [THREE.key]


def test_no_more_takes_the_place_of_results_than_a_read_may_bring() -> None:
    state = busy(ONE, TWO, THREE, batch_size=2)
    events = [finished(0.1, one) for one in (ONE, TWO, THREE)]
    state, commands = step(state, *events)
    assert commands == [record(ONE, TWO, THREE, reads=2)]
    state, commands = step(state, Recorded(0.2, tasks=(task(4), task(5))))
    assert commands == [Run(task(4)), Run(task(5)), Read(1, VISIBILITY)]


def test_what_takes_the_place_of_a_refused_result_waits_for_it() -> None:
    play(
        busy(ONE),
        (finished(0.1, ONE), [record(ONE, reads=1)]),
        (NotRecorded(0.2), []),
        (Woke(0.31), [record(ONE, reads=1)]),
        (Recorded(0.4, tasks=(TWO,)), [Run(TWO)]),
    )


def test_a_stopping_worker_replaces_nothing_but_runs_what_it_has_got() -> None:
    play(
        busy(ONE, MAKE),
        (finished(0.1, ONE), [record(ONE, reads=1)]),
        (StopRequested(0.2), []),
        (Recorded(0.3, tasks=(TWO,)), [Run(TWO)]),
        (finished(0.4, TWO), [record(TWO)]),
        (finished(0.5, MAKE), []),
        (Recorded(0.6), [record(MAKE)]),
        (Recorded(0.7), [MarkStopped()]),
    )


def test_what_is_claimed_beside_results_when_the_time_is_over_is_given_back() -> None:
    play(
        busy(ONE, stop_timeout=0),
        (finished(0.1, ONE), [record(ONE, reads=1)]),
        (StopRequested(0.2), []),
        (Recorded(0.3, tasks=(TWO,)), [record(TWO, outcome=GIVEN_BACK)]),
        (Recorded(0.4), [MarkStopped()]),
    )


def test_a_full_worker_that_waits_for_results_alone_shares_them_out() -> None:
    """While one recorder is on its way, the tasks that the other has brought run."""
    state = busy(ONE, TWO, THREE, recorders=2)
    state, commands = step(state, *(finished(0.1, one) for one in (ONE, TWO, THREE)))
    assert commands == [record(ONE, TWO, reads=2), record(THREE, lane=1, reads=1)]
    play(
        state,
        (Recorded(0.2, lane=1, tasks=(task(4),)), [Run(task(4))]),
        (finished(0.3, task(4)), [record(task(4), lane=1, reads=1)]),
        (Recorded(0.4, tasks=(task(5), task(6))), [Run(task(5)), Run(task(6))]),
    )


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(calm(ONE, TWO, recorders=2), id="it has free slots"),
        pytest.param(busy(ONE, TWO, THREE, recorders=2), id="another task runs"),
        pytest.param(busy(ONE, TWO), id="there is one recorder"),
    ],
)
def test_any_other_records_together_what_is_ready_together(state: State) -> None:
    state, commands = step(state, finished(0.1, ONE), finished(0.1, TWO))
    (command,) = commands
    assert isinstance(command, Record)
    assert command.results == (result(ONE), result(TWO))


def test_a_result_does_not_start_a_second_read() -> None:
    play(
        busy(MAKE, TWO, max_concurrency=10),
        (finished(0.1, MAKE), [record(MAKE)]),
        (Recorded(0.2), []),
    )


def failed_polls(state: State, events: Callable[[float], list[Event]]) -> list[float]:
    """How long the worker waits after each of nine polls that end with `events`."""
    now, waits = 0.0, []
    for _ in range(9):
        for event in events(now):
            state, _ = step(state, event)
        at = wake_at(state)
        assert at is not None
        waits.append(round(at - now, 6))
        state = play(state, (Woke(at), [Read(10, VISIBILITY)]))
        now = at
    return waits


WAITS = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_while_the_database_is_away_reads_become_rarer() -> None:
    assert failed_polls(reading(), lambda now: [PollFailed(now)]) == WAITS


def test_while_claims_fail_reads_become_rarer_too() -> None:
    """Each of them hides messages for as long as a task may take."""
    polls = failed_polls(reading(), lambda now: [MessagesRead(now, (1,), 0.0), PollFailed(now)])
    assert polls == WAITS


@pytest.mark.parametrize(
    "good",
    [
        [MessagesRead(0.3, (), 0.0), Woke(1.3)],
        [MessagesRead(0.3, (1,), 0.0), TasksClaimed(0.3, ())],
    ],
    ids=["empty", "claimed"],
)
def test_a_good_poll_ends_the_longer_waits(good: list[Event]) -> None:
    state = reading()
    for event in (PollFailed(0.0), Woke(0.1), PollFailed(0.1), Woke(0.3), *good):
        state, _ = step(state, event)
    state = play(state, (PollFailed(2.0), []))
    assert wake_at(state) == 2.1


# Rule 4: signs of life


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(waiting(heartbeat_interval=0.5), id="waiting"),
        pytest.param(reading(heartbeat_interval=0.5), id="reading"),
        pytest.param(busy(MAKE, heartbeat_interval=0.5), id="full"),
        pytest.param(
            step(busy(MAKE, heartbeat_interval=0.5), finished(0.0, MAKE))[0], id="recording"
        ),
        pytest.param(
            step(busy(MAKE, heartbeat_interval=0.5), StopRequested(0.0))[0], id="stopping"
        ),
    ],
)
def test_a_sign_of_life_is_due_whatever_else_goes_on(state: State) -> None:
    assert wake_at(state) == 0.5
    state = play(state, (Woke(0.499), []), (Woke(0.5), [Heartbeat()]), (Woke(0.9), []))
    state, commands = step(state, Woke(1.1))  # late
    assert commands[0] == Heartbeat()
    state, commands = step(state, Woke(1.6))
    assert commands == [Heartbeat()]


def test_a_sign_of_life_comes_with_any_event() -> None:
    play(
        busy(ONE, heartbeat_interval=5),
        (finished(7.0, ONE), [Heartbeat(), record(ONE, reads=1)]),
    )


def test_all_that_is_due_in_its_order() -> None:
    play(
        calm(ONE, heartbeat_interval=5),
        (
            Woke(30.0),
            [Cancel(ONE), Heartbeat(), record(ONE, outcome=LATE), Read(9, VISIBILITY)],
        ),
    )


# Rule 5: the end


def test_an_idle_worker_stops_at_once() -> None:
    state = play(waiting(), (StopRequested(0.5), [MarkStopped()]))
    assert state.phase is Phase.STOPPED
    assert wake_at(state) is None


@pytest.mark.parametrize(
    "event", [StopRequested(9.0), Woke(9.0), finished(9.0, ONE), StopRequested(99.0)]
)
def test_after_the_end_there_is_nothing(event: Event) -> None:
    state = play(waiting(), (StopRequested(0.5), [MarkStopped()]), (event, []))
    assert state.phase is Phase.STOPPED


def test_a_worker_that_is_stopped_before_it_began() -> None:
    state = play(
        new(),
        (StopRequested(0.0), []),
        (Started(0.1), [Register()]),
        (Registered(0.2), [Heartbeat(), MarkStopped()]),
    )
    assert state.phase is Phase.STOPPED


@pytest.mark.parametrize("event", [MessagesRead(1.0, (), 0.5), PollFailed(1.0)])
def test_a_stopping_worker_waits_for_its_read(event: Event) -> None:
    play(reading(), (StopRequested(0.5), []), (Woke(0.9), []), (event, [MarkStopped()]))


def test_what_was_read_before_the_stop_is_still_done() -> None:
    play(
        reading(),
        (StopRequested(0.5), []),
        (MessagesRead(1.0, (1, 2), 0.5), [Claim((1, 2))]),
        (TasksClaimed(2.0, (ONE,)), [Run(ONE)]),
        (finished(3.0, ONE, NO), [record(ONE, outcome=NO)]),
        (Recorded(4.0), [MarkStopped()]),
    )


def test_a_claim_that_fails_while_stopping() -> None:
    play(
        reading(),
        (StopRequested(0.5), []),
        (MessagesRead(1.0, (1,), 0.5), [Claim((1,))]),
        (PollFailed(2.0), [MarkStopped()]),
    )


def test_running_tasks_may_end() -> None:
    play(
        calm(MAKE, TWO),
        (StopRequested(0.5), []),
        (finished(5.0, MAKE), [record(MAKE)]),
        (Recorded(5.1), []),
        (finished(29.0, TWO), [record(TWO)]),
        (Recorded(29.1), [MarkStopped()]),
    )


def test_tasks_that_still_run_when_the_time_is_over_are_given_back() -> None:
    state = play(busy(ONE, MAKE, stop_timeout=10), (StopRequested(0.5), []))
    assert wake_at(state) == 10.5
    play(
        state,
        (Woke(10.4), []),
        (Woke(10.5), [Cancel(ONE), Cancel(MAKE), record(ONE, MAKE, outcome=GIVEN_BACK)]),
        (finished(10.6, ONE), []),
        (Recorded(10.7), [MarkStopped()]),
    )


def test_a_stopping_worker_still_holds_tasks_to_their_timeouts() -> None:
    play(
        busy(ONE, MAKE, stop_timeout=40),
        (StopRequested(0.5), []),
        (Woke(30.0), [Cancel(ONE), record(ONE, outcome=LATE)]),
        (Recorded(30.1), []),
        (Woke(40.5), [Cancel(MAKE), record(MAKE, outcome=GIVEN_BACK)]),
        (Recorded(40.6), [MarkStopped()]),
    )


def test_no_time_at_all() -> None:
    play(
        busy(ONE, stop_timeout=0),
        (StopRequested(0.5), [Cancel(ONE), record(ONE, outcome=GIVEN_BACK)]),
        (Recorded(0.6), [MarkStopped()]),
    )


def test_asked_twice_it_waits_for_no_task() -> None:
    play(
        busy(ONE),
        (StopRequested(0.5), []),
        (StopRequested(1.0), [Cancel(ONE), record(ONE, outcome=GIVEN_BACK)]),
        (Recorded(1.1), [MarkStopped()]),
    )


def test_asked_twice_it_does_not_wait_to_try_again_either() -> None:
    state = busy(ONE)
    for event in (finished(0.0, ONE), NotRecorded(0.0), Woke(0.1), NotRecorded(0.1)):
        state, _ = step(state, event)
    play(
        state,
        (StopRequested(0.15), []),
        (StopRequested(0.2), [record(ONE)]),
        (NotRecorded(0.25), [Abandon((result(ONE),)), MarkStopped()]),
    )


def test_what_is_claimed_when_the_time_is_over_is_given_back_without_being_run() -> None:
    """A plain function cannot be cancelled: it would go on after the worker has stopped."""
    play(
        reading(stop_timeout=0),
        (StopRequested(0.5), []),
        (MessagesRead(1.0, (1,), 0.5), [Claim((1,))]),
        (TasksClaimed(2.0, (ONE,)), [record(ONE, outcome=GIVEN_BACK)]),
        (Recorded(3.0), [MarkStopped()]),
    )


def test_results_are_tried_again_until_the_time_is_over_and_then_abandoned() -> None:
    play(
        busy(ONE, stop_timeout=1),
        (StopRequested(0.0), []),
        (finished(0.5, ONE), [record(ONE)]),
        (NotRecorded(0.8), []),
        (Woke(0.9), [record(ONE)]),
        (NotRecorded(1.0), [Abandon((result(ONE),)), MarkStopped()]),
    )


def test_all_that_waits_is_abandoned_together() -> None:
    state = play(
        busy(ONE, TWO, stop_timeout=1),
        (StopRequested(0.0), []),
        (finished(0.5, ONE), [record(ONE)]),
        (finished(0.6, TWO), []),
    )
    play(state, (NotRecorded(2.0), [Abandon((result(ONE), result(TWO))), MarkStopped()]))


def test_when_the_time_is_over_a_refused_batch_is_still_taken_apart() -> None:
    bad = Failed("Output cannot be stored: bad")
    play(
        busy(ONE, TWO, THREE, stop_timeout=0.5),
        (StopRequested(0.0), []),
        (finished(0.1, THREE), [record(THREE)]),
        (finished(0.1, ONE), []),
        (finished(0.1, TWO), []),
        (Recorded(0.2), [record(ONE, TWO)]),
        (NotRecorded(1.0, "no"), [record(ONE)]),
        (NotRecorded(1.1, "bad"), [record(ONE, outcome=bad)]),
        (Recorded(1.2), [record(TWO)]),
        (Recorded(1.3), [MarkStopped()]),
    )


def test_when_the_time_is_over_a_refused_failure_takes_no_other_result_with_it() -> None:
    state = play(
        busy(ONE, TWO, stop_timeout=0),
        (StopRequested(0.0), [Cancel(ONE), Cancel(TWO), record(ONE, TWO, outcome=GIVEN_BACK)]),
        (NotRecorded(0.1, "no"), [record(ONE, outcome=GIVEN_BACK)]),
    )
    play(
        state,
        (
            NotRecorded(0.2, "never"),
            [Abandon((result(ONE, GIVEN_BACK),)), record(TWO, outcome=GIVEN_BACK)],
        ),
        (Recorded(0.3), [MarkStopped()]),
    )


# Waking up


def test_when_it_wants_to_be_woken() -> None:
    assert wake_at(new()) is None
    assert wake_at(step(new(), Started(0.0))[0]) is None
    assert wake_at(reading(heartbeat_interval=5)) == 5.0
    assert wake_at(waiting(heartbeat_interval=5)) == 1.0
    assert wake_at(busy(ONE)) == 30.0
    assert wake_at(busy(MAKE)) == 60.0
    assert wake_at(busy(MAKE, ONE)) == 30.0


def test_being_woken_early_changes_nothing() -> None:
    state = calm(ONE)
    assert step(state, Woke(0.5)) == (state._replace(now=0.5), [])


def test_an_event_that_is_none_is_a_mistake_that_shows() -> None:
    event: Any = SimpleNamespace(now=0.0)
    with pytest.raises((AttributeError, AssertionError)):
        step(waiting(), event)


# Schedules by chance


@pytest.mark.parametrize("first", range(0, 2_000, 100))
def test_a_hundred_schedules(first: int) -> None:
    for seed in range(first, first + 100):
        simulate(seed)


def test_a_schedule_is_repeated_by_its_seed() -> None:
    def outline(seed: int) -> list[object]:
        seen: list[object] = []

        def watched(state: State, event: Event) -> tuple[State, list[Command]]:
            after = step(state, event)
            seen.append((event, after[1]))
            return after

        simulate(seed, watched)
        return seen

    assert outline(7) == outline(7)
    assert outline(7) != outline(8)


# A worker that breaks its promises is noticed. Each of these is the machine with one mistake.


def without_heartbeat(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    return state, [command for command in commands if command != Heartbeat()]


def greedy(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    return state, [
        replace(command, quantity=command.quantity + 1) if isinstance(command, Read) else command
        for command in commands
    ]


def forgetful(state: State, event: Event) -> tuple[State, list[Command]]:
    return step(state, Recorded(event.now) if isinstance(event, NotRecorded) else event)


def stubborn(state: State, event: Event) -> tuple[State, list[Command]]:
    return step(state, replace(event, refusal=None) if isinstance(event, NotRecorded) else event)


def repeating(state: State, event: Event) -> tuple[State, list[Command]]:
    if isinstance(event, Recorded):
        state = state._replace(outbox=state.outbox + state.recording.get(0, ()))
    return step(state, event)


def lenient(state: State, event: Event) -> tuple[State, list[Command]]:
    state = state._replace(plan=replace(state.plan, timeouts={}))
    return step(state, event)


def unstoppable(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    return state._replace(phase=Phase.RUNNING if state.stop_by else state.phase), commands


def abrupt(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    if isinstance(event, StopRequested) and state.phase is Phase.STOPPING:
        return state._replace(phase=Phase.STOPPED), [*commands, MarkStopped()]
    return state, commands


def hasty(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    return state._replace(poll_at=min(state.poll_at, state.now + 0.3)), commands


def lazy(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    return state._replace(poll_at=state.poll_at + 0.1), commands


def restless(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    return state._replace(heartbeat_at=state.now), commands


def wasteful(state: State, event: Event) -> tuple[State, list[Command]]:
    return step(
        state, replace(event, tasks=event.tasks[1:]) if isinstance(event, TasksClaimed) else event
    )


def untruthful(state: State, event: Event) -> tuple[State, list[Command]]:
    return step(state, replace(event, outcome=OK) if isinstance(event, Finished) else event)


def impatient(state: State, event: Event) -> tuple[State, list[Command]]:
    if isinstance(event, StopRequested):
        state = state._replace(stop_by=state.now)
    return step(state, event)


def unmarked(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    return state, [command for command in commands if command != MarkStopped()]


def insatiable(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    return state, [
        replace(command, read=replace(command.read, quantity=command.read.quantity + 1))
        if isinstance(command, Record) and command.read
        else command
        for command in commands
    ]


def curious(state: State, event: Event) -> tuple[State, list[Command]]:
    state, commands = step(state, event)
    read = Read(1, VISIBILITY)
    return state, [
        replace(command, read=read) if isinstance(command, Record) else command
        for command in commands
    ]


def absent_minded(state: State, event: Event) -> tuple[State, list[Command]]:
    return step(state, replace(event, tasks=()) if isinstance(event, Recorded) else event)


@pytest.mark.parametrize(
    ("mistake", "noticed"),
    [
        (without_heartbeat, "a sign of life is due"),
        (greedy, "it reads more than it has slots for"),
        (forgetful, "results are forgotten"),
        (stubborn, "what is refused for ever is tried for ever"),
        (repeating, "it is recorded already"),
        (lenient, "a task runs past its timeout"),
        (unstoppable, "a stopping worker reads nothing more"),
        (abrupt, "it stops too early"),
        (unmarked, "stopped, but not marked as such"),
        (hasty, "it read too early"),
        (lazy, "it could read, and does not"),
        (restless, "a busy loop"),
        (wasteful, "claimed tasks have no result"),
        (untruthful, "another outcome than the task's"),
        (impatient, "it had time left"),
        (insatiable, "more than it frees"),
        (curious, "it reads too early"),
        (curious, "a stopping worker reads nothing more"),
        (absent_minded, "claimed tasks have no result"),
    ],
)
def test_mistakes_are_noticed(mistake: Step, noticed: str) -> None:
    assert any(noticed in broken_promise(seed, mistake) for seed in range(100))


def test_the_simulation_plays_the_machine_as_it_is() -> None:
    assert simulate.__defaults__ == (machine.step,)
