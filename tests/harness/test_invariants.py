"""Every invariant holds of a good history and is broken by a bad one, and by no other."""

from __future__ import annotations

import pytest

from conformance.harness.invariants import (
    INVARIANTS,
    History,
    TaskId,
    broken,
    completed_by,
    most_at_once,
)
from pgflow_ref.shape import FlowShape, Options, StepShape
from tests.harness.histories import (
    COMPLETED,
    FAILED,
    LIMITS,
    RUN,
    Change,
    Story,
    after,
    archived,
    claimed,
    deleted,
    history,
    instead,
    message,
    of_run,
    play,
    queued,
    run,
    step,
    task,
    without,
)


def until(name: str) -> Story:
    """The story as far as it came when it was looked at."""
    names = list(COMPLETED)
    return {known: COMPLETED[known] for known in names[: names.index(name) + 1]}


def counting(txid: int, slug: str, **counters: int) -> Change:
    """A step's counters, as they were written last."""
    return Change(txid, "step", slug, counters)


END = "b's message is archived"
ARCHIVED_B = COMPLETED[END]

BAD: dict[str, tuple[Story, set[str]]] = {
    "a task is queued while its dependency runs": (
        after(without(COMPLETED, "b is queued"), "a is claimed", queued(2, "b", 2)),
        {"dependencies_first"},
    ),
    "a task is queued though its dependency failed": (
        instead(FAILED, "a is completed", step(3, "a", "failed")),
        {"dependencies_first", "counters_agree"},
    ),
    "a task is completed twice": (
        {
            **until("b is claimed"),
            "b is completed": task(5, "b", status="completed"),
            "b is queued again": task(6, "b", status="queued"),
            "b is claimed again": claimed(6, "b", "w2", 2),
            "b is completed again": task(7, "b", status="completed"),
            "b's message is archived": archived(7, 2),
        },
        {"completed_once"},
    ),
    "a completed task gets another output": (
        after(COMPLETED, END, task(8, "b", output="late")),
        {"completed_once"},
    ),
    "a completed task fails": (
        after(COMPLETED, END, task(7, "b", status="failed")),
        {"completed_once"},
    ),
    "a task is tried once too often": (
        after(
            FAILED,
            "b is claimed again",
            task(7, "b", status="queued"),
            claimed(7, "b", "w1", 3),
        ),
        {"attempts_in_bounds"},
    ),
    "a claim does not count": (
        instead(COMPLETED, "b is claimed again", claimed(6, "b", "w2", 1)),
        {"attempts_in_bounds"},
    ),
    "a claim counts twice": (
        instead(COMPLETED, "b is claimed", claimed(4, "b", "w1", 2)),
        {"attempts_in_bounds"},
    ),
    "a failure takes an attempt back": (
        instead(
            instead(
                COMPLETED,
                "b is to be tried again",
                task(5, "b", status="queued", attempts_count=0),
            ),
            "b is claimed again",
            claimed(6, "b", "w2", 1),
        ),
        {"attempts_in_bounds"},
    ),
    "a failed task is claimed": (
        {
            **until("b is claimed"),
            "b fails": task(5, "b", status="failed"),
            "b's message is archived": archived(5, 2),
            "b is claimed again": claimed(6, "b", "w2", 2),
        },
        {"held_by_one", "ended_for_good"},
    ),
    "one worker claims a task and another ends it": (
        instead(
            COMPLETED,
            "a's task is completed",
            task(3, "a", status="completed", output=1, last_worker_id="w2"),
        ),
        {"held_by_one"},
    ),
    "one worker takes a task out of another's hands": (
        after(COMPLETED, "a is claimed", task(2, "a", last_worker_id="w2")),
        {"held_by_one"},
    ),
    "nobody claimed a task that is completed": (
        instead(COMPLETED, "a is claimed", claimed(2, "a", None)),
        {"held_by_one"},
    ),
    "a task is completed out of the queue": (
        after(COMPLETED, "a is claimed", task(2, "a", status="queued")),
        {"held_by_one"},
    ),
    "a message is archived a transaction late": (
        instead(COMPLETED, END, archived(8, 2)),
        {"archived_with_its_task"},
    ),
    "a message is archived before its task is over": (
        after(without(COMPLETED, END), "b is claimed again", archived(6, 2)),
        {"archived_with_its_task"},
    ),
    "a message is never archived": (without(COMPLETED, END), {"archived_with_its_task"}),
    "a message of no task is archived": (
        after(COMPLETED, END, archived(7, 99)),
        {"archived_with_its_task"},
    ),
    "a message is deleted": (
        after(COMPLETED, END, message(8, 3, 0), deleted(9, 3)),
        {"kept_or_archived"},
    ),
    "a message is deleted a transaction before it is archived": (
        after(
            without(COMPLETED, END), "b is completed", message(6, 2, 1), deleted(6, 2), ARCHIVED_B
        ),
        {"kept_or_archived"},
    ),
    "the run has an output that its leaf has not": (
        instead(COMPLETED, "the run is completed", run(7, status="completed", output={"b": 1})),
        {"output_of_leaves"},
    ),
    "the run has true where its leaf has 1": (
        instead(
            COMPLETED,
            "the run is completed",
            run(7, status="completed", output={"b": {"n": [True, True]}}),
        ),
        {"output_of_leaves"},
    ),
    "the run has no output of its leaf": (
        instead(COMPLETED, "the run is completed", run(7, status="completed", output={})),
        {"output_of_leaves"},
    ),
    "the run has the output of an inner step too": (
        instead(
            COMPLETED,
            "the run is completed",
            run(7, status="completed", output={"a": 1, "b": {"n": [1, True]}}),
        ),
        {"output_of_leaves"},
    ),
    "the run has no output at all": (
        instead(COMPLETED, "the run is completed", run(7, status="completed", output=None)),
        {"output_of_leaves"},
    ),
    "the last step is not counted": (without(COMPLETED, "no step remains"), {"counters_agree"}),
    "the first step is counted late": (without(COMPLETED, "one step remains"), {"counters_agree"}),
    "a step is counted that failed": (
        instead(FAILED, "the run fails", run(7, status="failed", remaining_steps=0)),
        {"counters_agree"},
    ),
    "a step counts a dependency that is completed": (
        after(COMPLETED, "b starts", counting(3, "b", remaining_deps=1)),
        {"step_counters_agree"},
    ),
    "a step does not count a dependency that failed": (
        {
            "the run starts": COMPLETED["the run starts"],
            "a fails": step(1, "a", "failed"),
            "b waits": COMPLETED["b waits"],
            "b counts": counting(1, "b", remaining_deps=0),
        },
        {"step_counters_agree"},
    ),
    "a completed step counts a task": (
        after(COMPLETED, "b is completed", counting(7, "b", remaining_tasks=1)),
        {"step_counters_agree"},
    ),
    "a started step does not count its task": (
        after(until("b is claimed"), "b is claimed", counting(4, "b", remaining_tasks=0)),
        {"step_counters_agree"},
    ),
    "a completed step is started again": (
        after(COMPLETED, END, step(8, "b", "started")),
        {"ended_for_good"},
    ),
    "a failed step is started again": (
        after(FAILED, END, step(8, "b", "started")),
        {"ended_for_good"},
    ),
    "a failed task is queued again": (
        after(FAILED, END, task(8, "b", status="queued")),
        {"ended_for_good"},
    ),
    "a completed run fails": (
        after(COMPLETED, END, run(8, status="failed")),
        {"over_once"},
    ),
    "a failed run goes on": (after(FAILED, END, run(8, status="started")), {"over_once"}),
    "a completed run gets another output": (
        after(COMPLETED, END, run(8, output={"b": "late"})),
        {"over_once"},
    ),
}


def breaks(story: Story) -> set[str]:
    return {check.__name__ for check in INVARIANTS if list(check(history(story)))}


@pytest.mark.parametrize("story", [COMPLETED, FAILED, {}], ids=["completed", "failed", "empty"])
def test_a_good_history_breaks_nothing(story: Story) -> None:
    assert broken(history(story)) == []


RUN_FAILED: Story = {
    **without(until("b is claimed"), "b's message is archived"),
    "the run fails": run(5, status="failed"),
    "b's message is archived": archived(5, 2),
}
"""From core 0.7 on: a run has failed, with a task in somebody's hands."""


def test_a_run_that_fails_may_archive_the_messages_of_its_tasks() -> None:
    assert breaks(RUN_FAILED) == set()
    late = {**RUN_FAILED, "b fails after that": task(6, "b", status="failed")}
    assert breaks(late) == set()


def test_a_run_that_has_failed_before_archives_nothing() -> None:
    late = instead(RUN_FAILED, "b's message is archived", archived(6, 2))
    assert breaks(late) == {"archived_with_its_task"}


def test_another_runs_failure_archives_nothing() -> None:
    other = of_run("other", run(5, status="failed", remaining_steps=2))._replace(txid=5)
    story = instead(RUN_FAILED, "the run fails", other)
    assert "archived_with_its_task" in breaks(story)


def mapped(output: object) -> History:
    """A run of one map step of two elements, the second of which was completed first."""
    story: Story = {"the run starts": run(1, status="started", remaining_steps=1, output=None)}
    story["a starts"] = step(1, "a", "started")
    for index in (1, 0):
        for number, one in enumerate((queued(1, "a", index), claimed(2, "a", "w1"))):
            story[f"{index} {number}"] = element(one, index)
        done = task(3 + index, "a", status="completed", output=index * 10)
        story[f"{index} is completed"] = element(done, index)
        story[f"{index} is archived"] = archived(3 + index, index)
    story["a is completed"] = step(3, "a", "completed")
    story["no step remains"] = run(3, status="completed", remaining_steps=0, output=output)
    flow = FlowShape("flow", Options(), (StepShape("a", step_type="map"),))
    return History(flow, LIMITS, play(story))


def element(change: Change, index: int) -> Change:
    """The same change of another task of its step."""
    columns = {**(change.columns or {}), "task_index": index}
    return change._replace(key=(change.key, index), columns=columns)


def test_the_output_of_a_map_step_is_in_the_order_of_its_elements() -> None:
    assert broken(mapped({"a": [0, 10]})) == []


@pytest.mark.parametrize("output", [[10, 0], [0], 0, {"0": 0, "1": 10}, None])
def test_another_output_of_a_map_step_is_a_problem(output: object) -> None:
    (said,) = broken(mapped({"a": output}))
    assert said.endswith("not {'a': [0, 10]}")


def test_a_map_step_without_elements_has_an_empty_output() -> None:
    flow = FlowShape("flow", Options(), (StepShape("a", step_type="map"),))
    story = {
        "a is completed": step(1, "a", "completed"),
        "the run is completed": run(1, status="completed", remaining_steps=0, output={"a": []}),
    }
    assert broken(History(flow, LIMITS, play(story))) == []


@pytest.mark.parametrize("name", ["a is claimed", "a's message is archived", "b is claimed again"])
def test_a_history_that_goes_on_breaks_nothing(name: str) -> None:
    assert broken(history(until(name))) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_breaks_what_it_should_and_nothing_else(name: str) -> None:
    story, expected = BAD[name]
    assert breaks(story) == expected


def test_every_invariant_has_a_history_that_breaks_it_alone() -> None:
    alone = [next(iter(names)) for _, names in BAD.values() if len(names) == 1]
    assert set(alone) == {check.__name__ for check in INVARIANTS}


def test_a_message_that_goes_into_the_archive_breaks_nothing() -> None:
    story = after(COMPLETED, "b is completed", message(4, 2, 1), deleted(7, 2))
    assert broken(history(story)) == []


def test_an_invariant_that_is_suspended_is_not_asked_for() -> None:
    story, (name,) = BAD["a message is deleted"]
    assert broken(history(story), [name]) == []
    assert broken(
        history(story), [check.__name__ for check in INVARIANTS if check.__name__ != name]
    )


def test_what_is_broken_is_said_in_a_sentence_with_task_and_run() -> None:
    (said,) = broken(history(BAD["a claim does not count"][0]))
    assert said == "b[0] of run 01234567 went from attempt 1 to 1"


@pytest.mark.parametrize("name", BAD)
def test_another_run_changes_nothing_in_the_judgement(name: str) -> None:
    story, _ = BAD[name]
    other = {f"other: {told}": of_run("other", change) for told, change in COMPLETED.items()}
    assert breaks({**other, **story}) == breaks({**story, **other}) == breaks(story)


def test_most_at_once_counts_what_is_started_and_not_over() -> None:
    two = without(COMPLETED, "a's task is completed")
    assert [most_at_once(play(story)) for story in ({}, COMPLETED, two)] == [0, 1, 2]


@pytest.mark.parametrize("end", ["completed", "failed", "queued"])
def test_a_task_that_is_over_or_given_back_is_not_at_once(end: str) -> None:
    story = instead(COMPLETED, "a's task is completed", task(3, "a", status=end))
    assert most_at_once(play(story)) == 1


def test_a_task_that_changes_while_it_is_started_counts_once() -> None:
    story = after(COMPLETED, "a is claimed", task(2, "a", last_worker_id="w2"))
    assert most_at_once(play(story)) == 1


def test_completed_by_counts_the_tasks_of_each_worker() -> None:
    assert completed_by(play(COMPLETED)) == {"w1": 1, "w2": 1}
    assert completed_by(play(FAILED)) == {"w1": 1}
    assert completed_by(play({})) == {}


def test_a_task_is_told_by_step_index_and_run() -> None:
    assert str(TaskId(RUN, "pay", 3)) == "pay[3] of run 01234567"


def test_the_flow_of_a_good_history_may_have_more_leaves() -> None:
    leaves = FlowShape("flow", Options(), (StepShape("a"), StepShape("b")))
    story = {
        "start": run(1, status="started", remaining_steps=2, output=None),
        "a": queued(1, "a", 1),
        "b": queued(1, "b", 2),
        "claim a": claimed(2, "a", "w1"),
        "claim b": claimed(2, "b", "w1"),
        "end a": task(3, "a", status="completed", output=None),
        "end step a": step(3, "a", "completed"),
        "one remains": run(3, remaining_steps=1),
        "archive a": archived(3, 1),
        "end b": task(4, "b", status="completed", output=False),
        "end step b": step(4, "b", "completed"),
        "archive b": archived(4, 2),
        "end": run(4, status="completed", remaining_steps=0, output={"a": None, "b": False}),
    }
    one_short = instead(story, "end", run(4, status="completed", output={"b": False}))
    assert broken(history(story)._replace(flow=leaves, max_attempts=LIMITS)) == []
    assert broken(history(one_short)._replace(flow=leaves, max_attempts=LIMITS)) != []
