"""A worker of its time: built for one core, it makes the calls of that core and looks at nothing.

Of a release's own workers a registry keeps the newest, if any. What they ask of the core is known
all the same: whatever that core has for workers. So this worker is `plain`, with the calls that one
core has (`Calls`), and put on another core it stumbles where a worker built for the first would.

As a command, `python -m conformance.regress.dated CALLS WORD`; CONTRACT.md has the words.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import psycopg

from conformance.harness.adapters import Adapter, Hello
from conformance.workers.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.harness.databases import Connection

HANDLER_INPUT: Final = "whole"
CAPABILITIES: Final = ("map_steps", "start_delay")

_COLUMNS: Final = """
SELECT a.attname FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pgflow' AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_READ: Final = {
    "pgflow": "SELECT msg_id FROM pgflow.read_with_poll(queue_name => %s, vt => %s, qty => %s,"
    " max_poll_seconds => 1, poll_interval_ms => 50)",
    "pgmq": "SELECT msg_id FROM pgmq.read_with_poll(queue_name => %s, vt => %s, qty => %s,"
    " max_poll_seconds => 1, poll_interval_ms => 50)",
}
_REGISTER: Final = """
INSERT INTO pgflow.workers (queue_name, worker_id, function_name) VALUES (%s, %s, %s)"""
_BEAT: Final = """
UPDATE pgflow.workers SET last_heartbeat_at = clock_timestamp() WHERE worker_id = %s"""


@dataclass(frozen=True)
class Calls:
    """What a core has for its workers.

    Attributes:
        core: what the core is called.
        reader: the schema of the `read_with_poll` that workers of this core use: `pgflow` as long
            as it has one, else `pgmq`.
        record: the columns of what `pgflow.start_tasks` hands out.
        stopped_at: whether a worker's row can say that it has stopped.
        deprecated_at: whether a worker's row can say that the worker is to leave.
    """

    core: str
    reader: str
    record: tuple[str, ...]
    stopped_at: bool
    deprecated_at: bool

    def dump(self) -> str:
        """As text, for the worker's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Calls:
        """Read what `dump` wrote."""
        given = cls(**json.loads(text))
        return replace(given, record=tuple(given.record))

    @property
    def adapter(self) -> Adapter:
        """How the suite starts the worker that makes these calls."""
        command = (sys.executable, "-m", "conformance.regress.dated", self.dump())
        hello = Hello("dated", self.core, HANDLER_INPUT, CAPABILITIES)
        return Adapter(f"built-for-{self.core}", "python", command, hello=hello)


def look(connection: Connection, core: str) -> Calls:
    """The calls of the core in a database.

    Args:
        connection: to the database.
        core: what to call it.
    """
    own = connection.execute(
        "SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'pgflow' AND p.proname = 'read_with_poll'"
    ).fetchone()
    record, workers = (
        [str(name) for (name,) in connection.execute(_COLUMNS, [table])]
        for table in ("step_task_record", "workers")
    )
    return Calls(
        core=core,
        reader="pgmq" if own is None else "pgflow",
        record=tuple(record),
        stopped_at="stopped_at" in workers,
        deprecated_at="deprecated_at" in workers,
    )


class Refused(Exception):
    """The database does not have what this worker was built for."""


class Dated(plain.Worker):
    """The worker. What is refused it says on stderr, a line of JSON each time."""

    calls: Calls
    doing = "start runs"
    is_registered = False

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Run a statement; one that the core does not take is no matter of trying again."""
        try:
            rows = super().sql(statement, *values)
        except psycopg.Error as error:
            state = error.sqlstate or ""
            if state[:2] not in {"0A", "42"}:  # not supported; no such function, table, column
                raise
            said = error.diag.message_primary or str(error)
            self.refuse(statement, values, said, state)
        for (task,) in rows if statement == plain.START else ():
            # Whoever was built for it relies on it: without a task_index nothing can be completed.
            if lacking := [name for name in self.calls.record if name not in plain.loads(task)]:
                said = f"tasks come without {', '.join(lacking)}"
                self.refuse(statement, values, said)
        return rows

    def refuse(
        self, statement: str, values: Sequence[object], said: str, sqlstate: str = ""
    ) -> NoReturn:
        """Say on stderr what is refused, and do not go on with it."""
        assert self.database
        sql = psycopg.ClientCursor(self.database).mogrify(statement, values)
        line = {"doing": self.doing, "sql": " ".join(sql.split()), "said": said}
        sys.stderr.write(json.dumps({**line, "sqlstate": sqlstate}) + "\n")
        raise Refused(said)

    def work(self) -> None:
        """Serve the flow; also one that cannot go on tries to say that it is over."""
        try:
            super().work()
        except Refused:
            self.mark_stopped()
            raise

    def beat(self) -> None:
        """Register, once; afterwards keep the row fresh, and see whether it is to leave."""
        if not self.is_registered:
            self.doing = "register"
            self.sql(_REGISTER, self.flow["slug"], self.id, self.options.name)
            self.is_registered = True
        self.doing = "give a sign of life"
        leave = " RETURNING deprecated_at IS NOT NULL" if self.calls.deprecated_at else ""
        with suppress(Refused):  # it works on without
            if any(row[0] for row in self.sql(_BEAT + leave, self.id)):
                self.stop()
        self.next_beat = time.monotonic() + self.options.heartbeat_interval

    def claim(self) -> bool:
        """One batch after the other: what is in hand is reported before the next read waits."""
        return not self.running and super().claim()

    def read(self, count: int) -> list[int]:
        """With the `read_with_poll` of its core."""
        self.doing = "read messages"
        asked = self.flow["slug"], self.options.visibility_timeout, count
        return [row[0] for row in self.sql(_READ[self.calls.reader], *asked)]

    def start_tasks(self, messages: list[int]) -> list[Any]:
        """Claim the tasks of messages."""
        self.doing = "start tasks"
        return super().start_tasks(messages)

    def acknowledge(self, task: Any, call: str, value: str) -> None:
        """Hand in the output or the error."""
        self.doing = call.replace("_", " ")
        super().acknowledge(task, call, value)

    def mark_stopped(self) -> None:
        """Say so in its row, where its core has a place for it."""
        self.doing = "mark itself as stopped"
        if self.calls.stopped_at:
            with suppress(Refused):  # it is over anyway
                self.sql(plain.STOPPED, self.id)


def main(arguments: list[str]) -> None:
    """Do what the word on the command line says.

    Args:
        arguments: the calls, as `Calls.dump` wrote them, and the word.
    """
    calls = Calls.load(arguments[0])
    plain.HELLO |= {"name": "dated", "version": calls.core}
    try:
        plain.main(type("Built", (Dated,), {"calls": calls}))
    except Refused as refused:
        sys.exit(f"this core is not the one that it was built for: {refused}")


if __name__ == "__main__":
    main(sys.argv[1:])
