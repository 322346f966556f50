"""A whole pgflow worker on a page: Python, psycopg, and the worker contract (../../CONTRACT.md).

`Worker` is all that pgflow asks of one. A single loop talks to the database and to the suite;
handlers run in threads, so that none, not even one that hangs, can keep the loop from its work.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from types import SimpleNamespace
from typing import Any, NoReturn
from uuid import uuid4

import psycopg

HELLO: dict[str, Any] = {"type": "hello", "contract": 1, "name": "plain", "language": "python"}
HELLO |= {"version": "1", "handler_input": "whole", "capabilities": ["map_steps", "start_delay"]}
USUAL: dict[str, Any] = {"name": "plain", "max_concurrency": 10, "batch_size": 10}
USUAL |= {"visibility_timeout": 2, "poll_interval": 0.1, "heartbeat_interval": 5.0, "grace": 1e9}
KNOWN = {
    *("slug", "steps", "max_attempts", "base_delay", "timeout"),
    *("depends_on", "handler", "start_delay", "step_type"),
    *("return", "echo", "pick", "sum", "sleep", "hang", "exit", "garbage", "fail", "attempts"),
    *USUAL,
}
BEAT = """INSERT INTO pgflow.workers AS mine (queue_name, worker_id, function_name)
    VALUES (%s, %s, %s) ON CONFLICT (worker_id) DO UPDATE SET last_heartbeat_at = clock_timestamp()
    RETURNING to_jsonb(mine) ->> 'deprecated_at' IS NOT NULL"""
START = "SELECT to_jsonb(task)::text FROM pgflow.start_tasks(%s, %s, %s) AS task"
ATTEMPTS = """SELECT message_id, attempts_count FROM pgflow.step_tasks
    WHERE flow_slug = %s AND message_id = ANY(%s) AND last_worker_id = %s"""
STOPPED = "UPDATE pgflow.workers SET stopped_at = clock_timestamp() WHERE worker_id = %s"
UNFIT = {"22", "54", "P0"}  # classes of SQLSTATE: no such value, too much of it, pgflow's own


class Worker:
    """Serves a flow until it is asked to stop."""

    database: psycopg.Connection[Any] | None = None

    def __init__(self, flow: dict[str, Any], options: dict[str, Any]) -> None:
        self.flow, self.id, self.options = flow, str(uuid4()), SimpleNamespace(**USUAL | options)
        self.running: list[Any] = []
        self.wake: SimpleQueue[None] = SimpleQueue()  # ends the wait for something to do
        self.stopping = self.stopped = False
        self.give_up_at = self.next_beat = float("inf")

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Run a statement, which commits at once; its rows. A lost connection is opened again."""
        if self.database is None or self.database.closed:
            url = os.environ["PGFLOW_DATABASE_URL"]  # behind a pooler nothing can be prepared
            self.database = psycopg.connect(url, autocommit=True, prepare_threshold=None)
        cursor = self.database.execute(statement, values)
        return cursor.fetchall() if cursor.description else []

    def compile(self) -> None:
        """Print the SQL that creates the flow."""
        slug = self.flow["slug"]
        statements = [f"SELECT pgflow.create_flow('{slug}'{given(self.flow)});"]
        for step in self.flow["steps"]:
            needs = ", ".join(f"'{one}'" for one in step.get("depends_on", []))
            needs = needs and f", ARRAY[{needs}]"
            kind = ", step_type => 'map'" if step.get("step_type") == "map" else ""
            arguments = f"'{slug}', '{step['slug']}'{needs}{given(step)}{kind}"
            statements.append(f"SELECT pgflow.add_step({arguments});")
        print(json.dumps(statements))

    def start(self) -> None:
        """Start a run for each line that comes in."""
        for line in sys.stdin:
            asked = self.flow["slug"], line
            [(run_id,)] = self.sql("SELECT run_id FROM pgflow.start_flow(%s, %s)", *asked)
            say(run_id=str(run_id))

    def work(self) -> None:
        """Register, take turns until it is to stop and has nothing in hand, and say so."""
        signal.signal(signal.SIGTERM, self.stop)
        say(**HELLO)
        self.beat()
        say(type="ready", worker_id=self.id)
        while not self.stopped:
            self.turn()
        say(type="stopped")

    def turn(self) -> None:
        """Do what is to be done; if the connection is lost, a later turn does it."""
        try:
            self.do()
        except psycopg.Error as error:
            print("trying again:", error, file=sys.stderr)
            # psycopg may take a reset for no end of the connection, which would be busy for ever.
            if self.database and self.database.info.transaction_status:
                self.database.close()
            time.sleep(0.2)

    def do(self) -> None:
        """A sign of life; new tasks, or a wait; and what became of those that are over."""
        if time.monotonic() >= self.next_beat:
            self.beat()
        if self.stopping or not self.claim():
            with suppress(Empty):
                self.wake.get(timeout=self.options.poll_interval)
        for task in list(self.running):
            now = time.monotonic()
            if not task.outcome and now > min(task.until, self.give_up_at):
                why = "timed out" if now > task.until else "was stopped with its worker"
                task.outcome = "fail_task", f"the handler {why}"
            if task.outcome:
                self.report(task)
                self.running.remove(task)
        if self.stopping and not self.running:
            self.mark_stopped()
            self.stopped = True

    def beat(self) -> None:
        """Make its row in the database, or keep it fresh; that may ask it to leave (core 0.6)."""
        row = self.sql(BEAT, self.flow["slug"], self.id, self.options.name)
        self.next_beat = time.monotonic() + self.options.heartbeat_interval
        if row[0][0]:
            self.stop()

    def claim(self) -> bool:
        """Begin as many tasks as there are and it has room for; whether it began any."""
        room = self.options.max_concurrency - len(self.running)
        messages = self.read(min(room, self.options.batch_size)) if room > 0 else []
        tasks = self.start_tasks(messages) if messages else []
        self.running += tasks
        for task in tasks:
            self.begin(task)
        return bool(tasks)

    def read(self, count: int) -> list[int]:
        """The ids of messages, which are hidden from everybody for a while."""
        asked = self.flow["slug"], self.options.visibility_timeout, count
        return [row[0] for row in self.sql("SELECT msg_id FROM pgmq.read(%s, %s, %s)", *asked)]

    def start_tasks(self, messages: list[int]) -> list[Any]:
        """Claim the tasks of messages; pgflow leaves out those that are not to be begun now.

        It may give a task to two workers that claim it at the same time: the row says whose it is.
        """
        assert self.database
        with self.database.transaction():
            rows = self.sql(START, self.flow["slug"], messages, self.id)
            attempts = dict(self.sql(ATTEMPTS, self.flow["slug"], messages, self.id))
        given = [SimpleNamespace(**{"task_index": 0} | loads(text)) for (text,) in rows]
        tasks = [task for task in given if task.msg_id in attempts]
        for task in tasks:
            task.attempt, task.outcome = attempts[task.msg_id], None
        return tasks

    def begin(self, task: Any) -> None:
        """Call the task's handler, in a thread of its own."""
        step = next((one for one in self.flow["steps"] if one["slug"] == task.step_slug), None)
        if step is None:
            task.outcome = "fail_task", f"this worker has no step {task.step_slug!r}"
            return
        task.until = time.monotonic() + step.get("timeout", self.flow.get("timeout", 60))
        names = ("run_id", "step_slug", "task_index", "attempt", "input")
        say(type="call", **{name: getattr(task, name) for name in names})
        Thread(target=self.handle, args=(task, step), daemon=True).start()

    def handle(self, task: Any, step: dict[str, Any]) -> None:
        """In that thread: run the handler, and wake up the loop."""
        try:
            task.outcome = "complete_task", dumps(perform(step, task))
        except Exception as error:  # noqa: BLE001  # a handler may fail in any way
            task.outcome = "fail_task", str(error)
        self.wake.put(None)

    def report(self, task: Any) -> None:
        """Complete the task, or fail it: also one whose output the database refuses."""
        try:
            self.acknowledge(task, *task.outcome)
        except psycopg.Error as error:
            if task.outcome[0] == "fail_task" or (error.sqlstate or "")[:2] not in UNFIT:
                raise
            self.acknowledge(task, "fail_task", f"its output was refused: {error}")

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        """Hand in the output or the error; pgflow sees to whatever comes next."""
        value = value.replace("\0", "\\u0000").encode(errors="backslashreplace").decode()
        key = task.run_id, task.step_slug, task.task_index
        self.sql(f"SELECT pgflow.{call}(%s, %s, %s, %s)", *key, value)

    def stop(self, *_: object) -> None:
        """Begin nothing new; what runs may go on for the grace that is given."""
        if not self.stopping:
            self.stopping, self.give_up_at = True, time.monotonic() + self.options.grace
            self.wake.put(None)

    def mark_stopped(self) -> None:
        """Say so in its row, if that has a place for it (up to core 0.5)."""
        with suppress(psycopg.errors.UndefinedColumn):
            self.sql(STOPPED, self.id)


def perform(step: dict[str, Any], task: Any) -> Any:  # noqa: C901  # each instruction
    """Do what a handler of the contract does; its output."""
    inputs = {"element": task.input} if step.get("step_type") == "map" else task.input
    output: Any = None
    for instruction in step["handler"]:
        match instruction:
            case {"return": value}:
                output = value
            case {"echo": _}:
                output = task.input
            case {"pick": dict() as paths}:
                output = {name: pick(path, inputs) for name, path in paths.items()}
            case {"pick": path}:
                output = pick(path, inputs)
            case {"sum": paths}:
                output = sum(number(value) for path in paths for value in select(path, inputs))
            case {"sleep": seconds}:
                time.sleep(float(seconds))
            case {"fail": text} if task.attempt <= instruction.get("attempts", task.attempt):
                raise RuntimeError(text)
            case {"hang": _}:
                time.sleep(1e9)
            case {"exit": code}:
                os._exit(code)
            case {"garbage": _}:
                output = object()
    return output


def pick(path: list[Any], inputs: Any) -> Any:
    """The value at a path; with "*" in it, all values."""
    return select(path, inputs) if "*" in path else select(path, inputs)[0]


def select(path: list[Any], inputs: Any) -> list[Any]:
    """All values at a path."""
    values = [inputs]
    for key in path:
        if key == "*" and all(isinstance(value, list) for value in values):
            values = [element for value in values for element in value]
        elif all(key in keys(value) for value in values):
            values = [value[key] for value in values]
        else:
            raise LookupError(f"nothing at {json.dumps(path, separators=(',', ':'))}")
    return values


def keys(value: Any) -> Any:
    """What can be looked up in a value."""
    if isinstance(value, list):
        return range(len(value))
    return value if isinstance(value, dict) else ()


def number(value: Any) -> Any:
    """A number to calculate with."""
    if type(value) not in {int, Decimal}:
        raise TypeError(f"{value!r} is no number")
    return float(value) if type(value) is Decimal else value


def given(options: dict[str, Any]) -> str:
    """The options of a flow or a step that are given, as arguments."""
    names = ("max_attempts", "base_delay", "timeout", "start_delay")
    return "".join(f", {name} => {options[name]}" for name in names if name in options)


def loads(text: str) -> Any:
    """Read JSON; numbers keep all their digits."""
    return json.loads(text, parse_float=Decimal)


def dumps(value: Any) -> str:
    """Write JSON; numbers keep all their digits."""
    match value:
        case dict():
            return "{" + ",".join(f"{json.dumps(key)}:{dumps(value[key])}" for key in value) + "}"
        case list():
            return "[" + ",".join(map(dumps, value)) + "]"
        case Decimal():
            return str(value)
    return json.dumps(value)


def say(**line: object) -> None:
    """Tell the suite."""
    print(dumps(line), flush=True)


def strange(flow: dict[str, Any], options: dict[str, Any]) -> set[str]:
    """What the fixture asks for that is not known here."""
    handlers = [step["handler"] for step in flow["steps"]]
    instructions = [one for handler in handlers for one in handler]
    return {key for part in (flow, options, *flow["steps"], *instructions) for key in part} - KNOWN


def refuse(*what: str) -> NoReturn:
    """Say that this is not supported; the case is then neither a failure nor a pass."""
    print("not supported:", *what, file=sys.stderr)
    sys.exit(3)


def main(kind: type[Worker] = Worker) -> None:
    """Do what the word on the command line says."""
    words = {"compile": kind.compile, "start": kind.start, "work": kind.work}
    sys.setrecursionlimit(20_000)  # for JSON that is deep
    sys.set_int_max_str_digits(0)  # and for numbers that are long
    word, contract = sys.argv[-1], os.environ["PGFLOW_CONTRACT"]
    if contract != "1":
        refuse("contract", contract)
    if word == "hello":
        say(**HELLO)
        return
    fixture = loads(Path(os.environ["PGFLOW_FIXTURE"]).read_text(encoding="utf-8"))
    flow, options = fixture["flow"], fixture.get("worker", {})
    options = {
        name: value for name, value in options.items() if (name, value) != ("recover", False)
    }
    unknown = strange(flow, options)
    if unknown or word not in words:
        refuse(word, *unknown)
    worker = kind(flow, {name: type(USUAL[name])(value) for name, value in options.items()})
    words[word](worker)


if __name__ == "__main__":
    main()
