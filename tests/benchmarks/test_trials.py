"""A trial that changes nothing would be measured as one that makes no difference."""

from __future__ import annotations

import subprocess
import sys
from uuid import UUID

import pytest

from benchmarks import trials
from pgflow_ref import operations as ops
from pgflow_ref.task import Completed, Result, Task, TaskKey

_CHANGES = """
import asyncio
import sys
import psycopg
import pgflow_ref.execute
import pgflow_ref.machine.results
import pgflow_ref.worker.database as database
from benchmarks import trials

def means():
    return (
        (database.execute_together, database.execute_in_turn),
        pgflow_ref.machine.results._read_after,
        psycopg.AsyncCursor.execute,
        pgflow_ref.execute.decode,
        pgflow_ref.execute.encode,
        asyncio.new_event_loop,
    )

before = means()
trials.apply(sys.argv[1])
print(sum(one != other for one, other in zip(before, means())))
"""


@pytest.mark.parametrize("name", ["", *trials.TRIALS])
def test_a_trial_changes_one_of_the_means(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHANGES, name], capture_output=True, text=True, check=True
    )
    changed = int(done.stdout)
    assert changed == (0 if not name else 2 if name == "orjson" else 1)


def test_a_statement_for_each_result_locks_all_runs_as_before() -> None:
    ids = [UUID(int=number) for number in range(3)]
    results = [
        Result(Task(TaskKey(run_id, "only", 0, 1), "f", 1, "{}"), Completed("1")) for run_id in ids
    ]
    lock, whole = ops.hold_runs(ids), ops.record(results, UUID(int=9))
    apart = trials._apart([lock, whole])
    assert apart[0] is lock
    assert [one.params["runs"] for one in apart[1:]] == [[run_id] for run_id in ids]
    assert trials._joined([lock, whole], [{}, {1: "a"}, {2: "b"}, {3: "c"}]) == [
        {},
        {1: "a", 2: "b", 3: "c"},
    ]


def test_an_unknown_trial_is_refused() -> None:
    with pytest.raises(KeyError, match="magic"):
        trials.apply("magic")
