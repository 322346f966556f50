"""What the log says of attempts: errors, and how long messages were hidden."""

from __future__ import annotations

from conformance.harness import attempts
from conformance.harness.invariants import TaskId
from tests.harness.histories import (
    RUN,
    Story,
    claimed,
    deleted,
    message,
    of_run,
    play,
    queued,
    task,
)

A = TaskId(RUN, "a", 0)
STORY: Story = {  # every change is a second after the one before; the first at 1
    "it is sent": message(1, 7, 0, 1),
    "it is queued": queued(1, "a", 7),
    "it is read": message(2, 7, 1, 3 + 4.999),
    "it is claimed": claimed(3, "a", "w1"),
    "it fails": task(4, "a", status="queued", error_message="one"),
    "another is hidden": message(4, 8, 0, 100),
    "it is hidden": message(4, 7, 1, 7 + 1.8),
    "somebody shows it": message(5, 7, 1, 8),
    "it is read again": message(6, 7, 2, 9 + 5),
    "it is claimed again": claimed(7, "a", "w1", 2),
    "it fails again": task(8, "a", status="queued", error_message="two"),
    "it is claimed at last": claimed(9, "a", "w1", 3),
    "it fails at last": task(10, "a", status="failed", error_message="three"),
    "it is archived": deleted(10, 7),
}
OTHER: Story = {name: of_run("another", change) for name, change in STORY.items()}


def test_every_attempt_has_its_error() -> None:
    assert attempts.errors(play({**STORY, "b": of_run("x", STORY["it is queued"])}), A) == [
        "one",
        "two",
        "three",
    ]


def test_a_task_that_never_failed_has_no_errors() -> None:
    assert attempts.errors(play(STORY), TaskId(RUN, "b", 0)) == []
    assert attempts.errors(play(STORY), TaskId("another", "a", 0)) == []


def test_after_a_failure_the_message_is_hidden_for_whole_seconds_or_not_at_all() -> None:
    assert attempts.delays(play(STORY), A) == [2, None]


def test_what_hides_the_message_last_before_the_next_attempt_counts() -> None:
    mind_of_its_own = {"it is hidden again": message(5, 7, 1, 8 + 60)}
    names = list(STORY)
    before = {name: STORY[name] for name in names[: names.index("somebody shows it")]}
    after = {name: STORY[name] for name in names[names.index("it is read again") :]}
    assert attempts.delays(play({**before, **mind_of_its_own, **after}), A) == [60, None]
    for_ever = {"a case hides it": message(5, 7, 1)._replace(columns={"vt": "infinity"})}
    assert attempts.delays(play({**before, **for_ever, **after}), A) == [2, None]


def test_reads_are_those_changes_that_count() -> None:
    assert [attempts.hidden_for(read) for read in attempts.reads(play(STORY))] == [5, 5]
