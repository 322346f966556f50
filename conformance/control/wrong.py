"""Workers that are wrong on purpose: `plain`, each with one thing done wrong.

The suite must notice every one of them, at the case that names the promise which it breaks. As a
command, `python -m conformance.control.wrong NAME WORD`, it is the worker of that name; CONTRACT.md
has the words.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import psycopg

from conformance.workers.plain import plain

if TYPE_CHECKING:
    from collections.abc import Mapping


class Wrong(plain.Worker):
    """What all wrong workers have beside their mistake.

    Attributes:
        caught_by: the cases that name the promises which it breaks, each with a text that one of
            its problems must hold: it is to fail for this reason, and for no other.
        keeps: cases near to these, of promises which it keeps for all that.
        waits: whether these cases wait for what never comes: then they are not to wait for long.
    """

    caught_by: Mapping[str, str] = {}
    keeps: tuple[str, ...] = ()
    waits = False


class Idle(Wrong):
    """It registers, says that it is ready, and does nothing."""

    caught_by = {"worker.success": "all 1 runs are over, not within"}
    keeps = ("start.needs_no_worker", "heartbeat.row_at_ready")
    waits = True

    def claim(self) -> bool:
        return False


class AcknowledgesFirst(Wrong):
    """It completes a task before the handler has done its work."""

    caught_by = {"lifecycle.completed_after_the_handler": "the handler has slept"}
    keeps = ("worker.success", "worker.error_text")

    def handle(self, task: Any, step: dict[str, Any]) -> None:
        quick = [one for one in step["handler"] if not {"sleep", "hang"} & one.keys()]
        super().handle(task, {**step, "handler": quick})


class AcknowledgesTwice(Wrong):
    """It completes every task twice."""

    caught_by = {"acks.completed_once": "the events"}
    keeps = ("worker.success", "worker.error_text")

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        super().acknowledge(task, call, value)
        if call == "complete_task":
            super().acknowledge(task, call, value)


class RunsWhatIsLeftOut(Wrong):
    """It does the task of every message that it reads, also where `start_tasks` left it out."""

    caught_by = {"visibility.comes_back": "it called"}
    keeps = ("worker.success", "worker.diamond")

    def start_tasks(self, messages: list[int]) -> list[Any]:
        tasks = super().start_tasks(messages)
        left_out = set(messages) - {task.msg_id for task in tasks}
        return tasks + [self.task_of(message) for message in left_out]

    def task_of(self, message: int) -> Any:
        """A task that it has made up out of the message alone."""
        [(run_id, slug, attempt, given)] = self.sql(
            """SELECT run_id::text, step_slug, attempts_count, input::text FROM pgflow.step_tasks
            JOIN pgflow.runs USING (run_id, flow_slug) WHERE flow_slug = %s AND message_id = %s""",
            self.flow["slug"],
            message,
        )
        row = {"run_id": run_id, "step_slug": slug, "task_index": 0, "msg_id": message}
        return SimpleNamespace(
            **row, attempt=attempt, input={"run": plain.loads(given)}, outcome=None
        )


class ForgetsWhatIsLeftOut(Wrong):
    """It never again takes a message whose task `start_tasks` has left out once."""

    caught_by = {"visibility.left_out_and_free_again": "all 1 runs are over, not within"}
    keeps = ("worker.success", "visibility.of_another")
    waits = True
    forgotten: frozenset[int] = frozenset()

    def start_tasks(self, messages: list[int]) -> list[Any]:
        wanted = [message for message in messages if message not in self.forgotten]
        tasks = super().start_tasks(wanted)
        self.forgotten |= set(wanted) - {task.msg_id for task in tasks}
        return tasks


class DeletesWhatIsLeftOut(Wrong):
    """It deletes messages whose task `start_tasks` leaves out."""

    caught_by = {"visibility.left_out_and_free_again": "the worker read it"}
    keeps = ("worker.success", "worker.diamond")
    waits = True

    def start_tasks(self, messages: list[int]) -> list[Any]:
        tasks = super().start_tasks(messages)
        for message in set(messages) - {task.msg_id for task in tasks}:
            self.sql("SELECT pgmq.delete(%s, %s::bigint)", self.flow["slug"], message)
        return tasks


class DropsFalsyOutput(Wrong):
    """It stores null in place of the outputs false, 0 and "", as `output or None` does."""

    caught_by = {"worker.falsy_outputs": "its output is"}
    keeps = ("worker.success", "worker.leaf_outputs")

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        falsy = call == "complete_task" and value in {"false", "0", '""'}
        super().acknowledge(task, call, "null" if falsy else value)


class SwallowsErrors(Wrong):
    """It completes a task whose handler has failed."""

    caught_by = {"worker.fail_always": "it is completed, not failed"}
    keeps = ("worker.success", "worker.falsy_outputs")

    def report(self, task: Any) -> None:
        if task.outcome[0] == "fail_task":
            task.outcome = "complete_task", "null"
        super().report(task)


class SendsText(Wrong):
    """It stores the JSON of an output as a text, in place of the value."""

    caught_by = {"worker.success": "its output is"}
    keeps = ("worker.error_text", "heartbeat.row_at_ready")

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        super().acknowledge(task, call, json.dumps(value) if call == "complete_task" else value)


class AlwaysTaskZero(Wrong):
    """It reports every task of a map step as the first one."""

    caught_by = {"maps.task_index": "not within"}
    keeps = ("worker.diamond", "worker.error_text")
    waits = True

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        first = copy.copy(task)
        first.task_index = 0
        super().acknowledge(first, call, value)


class FailsAll(Wrong):
    """It fails every task that its handler has done well."""

    caught_by = {"worker.success": "all 1 runs are over, not within"}
    keeps = ("worker.error_text", "heartbeat.row_at_ready")
    waits = True

    def report(self, task: Any) -> None:
        task.outcome = "fail_task", task.outcome[1]
        super().report(task)


class NeverBeats(Wrong):
    """It gives no sign of life after the first."""

    caught_by = {"heartbeat.idle": "three signs of life"}
    keeps = ("worker.success", "heartbeat.row_at_ready")
    waits = True

    def beat(self) -> None:
        super().beat()
        self.next_beat = float("inf")


class DoesNotDrain(Wrong):
    """It ends at once when it is asked to stop, whatever it has in hand."""

    caught_by = {"worker.stop_finishes": "tasks were left started"}
    keeps = ("worker.success", "worker.error_text")

    def stop(self, *_: object) -> None:
        os.write(1, b'{"type": "stopped"}\n')
        os._exit(0)


class NeverStops(Wrong):
    """It does not heed SIGTERM while it has tasks in hand, and goes on to take more."""

    caught_by = {"worker.stop_finishes": "when it should have ended"}
    keeps = ("worker.success", "worker.stop_is_marked")

    def stop(self, *_: object) -> None:
        # One whose result is on its way may be over in the database already.
        if len(self.running) <= 1 and all(task.outcome for task in self.running):
            super().stop()


class TakesTooMany(Wrong):
    """It runs more tasks at once than it was allowed to."""

    caught_by = {"concurrency.never_more": "tasks ran at the same time"}
    keeps = ("worker.success", "worker.diamond")

    def __init__(self, flow: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(flow, {**options, "max_concurrency": 1000, "batch_size": 1000})


class OneAtATime(Wrong):
    """It does one task after the other, however many it may do at once."""

    caught_by = {"concurrency.as_many_as_the_limit": "call 4 handlers"}
    keeps = ("worker.success", "concurrency.never_more")
    waits = True

    def __init__(self, flow: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(flow, {**options, "max_concurrency": 1})


class ReadsAhead(Wrong):
    """It reads more messages than it has room for, and so hides them from others."""

    caught_by = {"concurrency.reads_no_more_than_a_batch": "messages that were read"}
    keeps = ("worker.success", "worker.diamond")

    def read(self, count: int) -> list[int]:
        return super().read(100)[:count]


class HoldsATransaction(Wrong):
    """It keeps a transaction open, with a lock on the run, while a handler runs."""

    caught_by = {"control.no_open_transaction": "open while the handler runs"}
    keeps = ("worker.success", "worker.diamond")
    waits = True

    def begin(self, task: Any) -> None:
        task.lock = psycopg.connect(os.environ["PGFLOW_DATABASE_URL"])
        task.lock.execute("SELECT FROM pgflow.runs WHERE run_id = %s FOR KEY SHARE", [task.run_id])
        super().begin(task)

    def report(self, task: Any) -> None:
        task.lock.close()
        super().report(task)


class LosesErrorText(Wrong):
    """It records a text of its own in place of the handler's error."""

    caught_by = {"worker.error_text": "its error is"}
    keeps = ("worker.success", "acks.completed_once")

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        super().acknowledge(task, call, "it failed" if call == "fail_task" else value)


class RetriesByItself(Wrong):
    """It calls a handler that fails again by itself, and tells the database of the last time."""

    caught_by = {"worker.fail_then_succeed": "attempts"}
    keeps = ("worker.success", "worker.error_text")

    def handle(self, task: Any, step: dict[str, Any]) -> None:
        super().handle(task, step)
        while task.outcome[0] == "fail_task" and task.attempt < 3:  # noqa: PLR2004
            task.attempt += 1
            super().handle(task, step)


class StartsDependents(Wrong):
    """It starts what depends on a step by itself, when one of its dependencies is there."""

    caught_by = {"worker.diamond": "was queued before"}
    keeps = ("worker.success", "worker.falsy_outputs")

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        slugs = [
            step["slug"]
            for step in self.flow["steps"]
            if task.step_slug in step.get("depends_on", []) and call == "complete_task"
        ]
        self.sql(
            """WITH early AS (
                UPDATE pgflow.step_states SET status = 'started', started_at = now()
                WHERE run_id = %s AND step_slug = ANY(%s) AND status = 'created'
                RETURNING flow_slug, run_id, step_slug)
            INSERT INTO pgflow.step_tasks (flow_slug, run_id, step_slug, message_id)
            SELECT flow_slug, run_id, step_slug, pgmq.send(flow_slug, to_jsonb(early)) FROM early
            """,
            task.run_id,
            slugs,
        )
        super().acknowledge(task, call, value)


class HandsOverTheRunAlone(Wrong):
    """It hands the run's input to every handler, and no outputs of dependencies."""

    caught_by = {"worker.input_dependent": "its handler saw"}
    keeps = ("worker.success", "worker.input_root")

    def begin(self, task: Any) -> None:
        if isinstance(task.input, dict) and "run" in task.input:
            task.input = {"run": task.input["run"]}
        super().begin(task)


class SharesItsId(Wrong):
    """It has the same worker id in every process."""

    caught_by = {"heartbeat.new_each_time": "workers say that they are"}
    keeps = ("worker.success", "heartbeat.row_at_ready")

    def __init__(self, flow: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(flow, options)
        self.id = "00000000-0000-4000-8000-000000000000"


class HidesNothing(Wrong):
    """It reads messages with a visibility timeout of 0, so that everybody goes on to see them."""

    caught_by = {"visibility.hidden_for": "a read hid message 1 for 0 s"}
    keeps = ("worker.success", "worker.diamond")

    def __init__(self, flow: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__(flow, {**options, "visibility_timeout": 0})


class RoundsNumbers(Wrong):
    """It holds every number in a double, and so loses digits of long ones."""

    caught_by = {"control.long_integers": "its output is"}
    keeps = ("worker.success", "worker.chain")

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        if call == "complete_task":
            value = json.dumps(json.loads(value, parse_int=float))
        super().acknowledge(task, call, value)


class MixesUpRuns(Wrong):
    """It completes a task with the output of the task before it."""

    caught_by = {"worker.several_runs": "its output is"}
    keeps = ("worker.success", "worker.error_text")
    last = ""

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        if call == "complete_task":
            value, self.last = self.last or value, value
        super().acknowledge(task, call, value)


class KnowsNoTime(Wrong):
    """It lets a handler run for as long as it likes, whatever the timeout of its step."""

    caught_by = {"worker.timeout": "it is completed, not failed"}
    keeps = ("worker.success", "worker.error_text")

    def begin(self, task: Any) -> None:
        super().begin(task)
        task.until = float("inf")


class TakesLateResults(Wrong):
    """It reports what comes of a handler also after the task has timed out."""

    caught_by = {"timeout.late_result": "its output is"}
    keeps = ("worker.success", "worker.timeout")

    def handle(self, task: Any, step: dict[str, Any]) -> None:
        super().handle(task, step)
        if time.monotonic() > task.until:
            self.running.append(task)


class LeavesNoMark(Wrong):
    """It does not say in its row that it has stopped."""

    caught_by = {"worker.stop_is_marked": "does not say that it stopped"}
    keeps = ("worker.success", "worker.stop_finishes")

    def mark_stopped(self) -> None:
        """Nothing."""


class GivesUp(Wrong):
    """It ends when its connection to the database is lost."""

    caught_by = {"control.lost_connection": "it exited with 1"}
    keeps = ("worker.success", "worker.error_text")

    def turn(self) -> None:
        self.do()


class CountsFromOne(Wrong):
    """It tells its handlers of every attempt that it is the first."""

    caught_by = {"retry.attempt_numbers": "its handler saw the attempts"}
    keeps = ("worker.success", "worker.error_text")

    def start_tasks(self, messages: list[int]) -> list[Any]:
        tasks = super().start_tasks(messages)
        for task in tasks:
            task.attempt = 1
        return tasks


class StartsTwice(Wrong):
    """Its client starts every run twice, and tells of one."""

    caught_by = {"start.by_its_own_client": "nobody asked for it"}
    keeps = ("worker.success", "worker.error_text")

    def sql(self, statement: str, *values: object) -> list[Any]:
        if "pgflow.start_flow" in statement:
            super().sql(statement, *values)
        return super().sql(statement, *values)


class RegistersElsewhere(Wrong):
    """It registers for another queue than the one that it works on."""

    caught_by = {"heartbeat.row_at_ready": "the queue in its row"}
    keeps = ("worker.success", "heartbeat.idle")

    def beat(self) -> None:
        super().beat()
        self.sql("UPDATE pgflow.workers SET queue_name = 'default' WHERE worker_id = %s", self.id)


class LeavesStrangersOpen(Wrong):
    """It leaves a task whose step it does not know in its hands for ever."""

    caught_by = {"unknown.step": "not within"}
    keeps = ("worker.success", "worker.error_text")
    waits = True

    def report(self, task: Any) -> None:
        if task.step_slug in {step["slug"] for step in self.flow["steps"]}:
            super().report(task)


class NeverLeaves(Wrong):
    """It works on when the database asks it to leave."""

    caught_by = {"deprecation.idle": "still ran"}
    keeps = ("worker.success", "worker.stop_is_marked")
    waits = True

    def beat(self) -> None:
        stopping = self.stopping
        super().beat()
        self.stopping = stopping


class ReadsTheTable(Wrong):
    """It takes what is queued out of the table of tasks, whether its message is visible or not."""

    caught_by = {"visibility.hidden_is_left": "the task of the hidden message"}
    keeps = ("worker.success", "worker.diamond")

    def read(self, count: int) -> list[int]:
        asked = self.flow["slug"], count
        queued = """SELECT message_id FROM pgflow.step_tasks
            WHERE flow_slug = %s AND status = 'queued' ORDER BY message_id LIMIT %s"""
        return [row[0] for row in self.sql(queued, *asked)]


class BeatsForAll(Wrong):
    """It gives signs of life in the rows of all workers, those of the dead among them."""

    caught_by = {"heartbeat.rows_of_others": "rows of others are as they were"}
    keeps = ("worker.success", "heartbeat.idle")

    def beat(self) -> None:
        super().beat()
        self.sql("UPDATE pgflow.workers SET last_heartbeat_at = clock_timestamp()")


class Right(Wrong):
    """It does nothing wrong."""


def name_of(kind: type[Wrong]) -> str:
    """How a worker is called: `DropsFalsyOutput` is `drops-falsy-output`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


EVERY: Final = {name_of(kind): kind for kind in Wrong.__subclasses__()}
"""All workers by their names, with the one that is right."""


if __name__ == "__main__":
    plain.main(EVERY[sys.argv[1]])
