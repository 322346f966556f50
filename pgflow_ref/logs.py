"""Listeners that write events to a log: lines for people, or one JSON object per line.

    Worker(flow, url, listeners=[ConsoleLog()])
    Worker(flow, url, listeners=[JsonLog()])

Both write straight to a stream, standard error unless another is given, because the form of a line
is their whole purpose, and what is set up for `logging` would change it. Who has a logging set-up
uses its words instead, with `as_text`, `as_record` and `level`:

    logger = logging.getLogger("shop.flows")

    def to_logging(event: Event) -> None:
        logger.log(level(event), as_text(event), extra={"pgflow": as_record(event)})

    Worker(flow, url, listeners=[to_logging])

What a worker has to say beyond its events (that the database is away, that a result is dropped)
goes through `logging`, to loggers below `pgflow_ref`. Failed attempts go there too, for those who
do not listen: to the logger `FAILURES`, which who listens may silence (`silenced`).
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, TextIO, TypeAlias

from pgflow_ref.json_contract import encode, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_ref.telemetry import Event, EventName

Record: TypeAlias = "dict[str, object]"
"""An event as plain data; see `as_record`."""

FAILURES: Final = "pgflow_ref.worker.failures"
"""The logger to which failed attempts go, for those who do not listen."""

_KEYS: Final = (
    "worker_id",
    "worker_name",
    "flow_slug",
    "run_id",
    "step_slug",
    "task_index",
    "attempt",
    "duration",
    "count",
    "kind",
    "reason",
)
_HAVE_OUTPUT: Final = frozenset({"pgflow.worker.task.stop", "pgflow.run.completed"})
_POLLS: Final = frozenset({"pgflow.worker.poll.start", "pgflow.worker.poll.stop"})
_ERRORS: Final = frozenset({"pgflow.run.failed"})
_WARNINGS: Final = frozenset({"pgflow.worker.task.exception", "pgflow.worker.recovered"})

_STATES: Final[dict[EventName, str]] = {
    "pgflow.worker.start": "ready",
    "pgflow.worker.stop": "stopped",
    "pgflow.worker.poll.start": "polls",
    "pgflow.worker.poll.stop": "polled",
    "pgflow.worker.task.start": "started",
    "pgflow.worker.task.stop": "completed",
    "pgflow.worker.task.exception": "failed",
    "pgflow.worker.recovered": "recovered",
    "pgflow.run.started": "run started",
    "pgflow.run.completed": "run completed",
    "pgflow.run.failed": "run failed",
    "pgflow.flow.ensured": "ensured",
    "pgflow.flow.deleted": "deleted",
}
_COLOURS: Final[dict[str, str]] = {
    "completed": "32",  # green
    "run completed": "1;32",
    "failed": "31",  # red
    "run failed": "1;31",
    "recovered": "33",  # yellow
    "started": "2",  # dim
}
_STATE_WIDTH: Final = max(map(len, _STATES.values()))
_LONGEST_NAME: Final = 40
_LONGEST_REASON: Final = 500
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_NOT_ASCII: Final = re.compile("[^\x00-\x7f]")


def level(event: Event) -> int:
    """How much an event matters, as `logging` counts it.

    A failed run is an error, a failed attempt and what was recovered a warning; polls are for
    debugging; all else informs.

    Example:
        >>> from pgflow_ref.telemetry import Event
        >>> logging.getLevelName(level(Event(name="pgflow.run.failed", at=0.0)))
        'ERROR'
    """
    if event.name in _ERRORS:
        return logging.ERROR
    if event.name in _WARNINGS:
        return logging.WARNING
    return logging.DEBUG if event.name in _POLLS else logging.INFO


def as_record(event: Event, *, outputs: bool = False) -> Record:
    """An event as plain data: `time` (ISO 8601, UTC) and `event` first, then what it has.

    Args:
        event: the event.
        outputs: whether outputs are part of it. They may be large, or nobody's business.

    Returns:
        The keys `time`, `event`, and those attributes of `Event` that are given, always in the
        same order; ids as text, durations in seconds.

    Example:
        >>> from pgflow_ref.telemetry import Event
        >>> as_record(Event(name="pgflow.worker.task.stop", at=0.25, duration=0.1, output="secret"))
        {'time': '1970-01-01T00:00:00.250000Z', 'event': 'pgflow.worker.task.stop', 'duration': 0.1}
    """
    at = datetime.fromtimestamp(event.at, timezone.utc)
    record: Record = {
        "time": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "event": event.name,
    }
    for key in _KEYS:
        value: object = getattr(event, key)
        if key.endswith("_id") and value is not None:
            value = str(value)
        elif isinstance(value, float):
            value = round(value, 6)
        if value is not None:
            record[key] = printable(value) if isinstance(value, str) else value
    if outputs and event.name in _HAVE_OUTPUT:
        record["output"] = event.output
    return record


def as_text(event: Event, *, outputs: bool = False) -> str:
    r"""An event as one line for people, without its time.

    What comes from elsewhere (a reason, an output) is cut short and cannot break the line or speak
    to the terminal: control characters are written as escapes.

    Args:
        event: the event.
        outputs: whether an output is shown.

    Example:
        >>> from pgflow_ref.telemetry import Event
        >>> as_text(Event(name="pgflow.worker.task.exception", at=0.0, flow_slug="order",
        ...     step_slug="charge", attempt=2, duration=0.5, kind="error", reason="no\nmoney"))
        'order.charge failed: attempt 2, 0.500 s, error: no\\nmoney'
    """
    details = _details(event, outputs)
    return f"{_subject(event)} {_STATES[event.name]}{': ' if details else ''}{', '.join(details)}"


def one_line(text: str, *, longest: int = _LONGEST_REASON) -> str:
    r"""Text of others, fit for one line of a terminal.

    Args:
        text: any text.
        longest: characters that are kept of it.

    Example:
        >>> one_line("red: \x1b[31m\n", longest=8)
        'red: \\x1b[3…'
    """
    if len(text) > longest:
        text = text[:longest] + "…"
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], printable(text))


@contextmanager
def silenced(name: str) -> Iterator[None]:
    """Keep a logger from saying anything for a while.

    Args:
        name: the logger's.

    Example:
        with silenced(FAILURES):  # the listener tells of them
            Worker(flow, url, listeners=[ConsoleLog()]).run()
    """
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class _Log(ABC):
    """What both logs are: a stream to which the line of an event is written whole."""

    def __init__(
        self, stream: TextIO | None = None, *, outputs: bool = False, polls: bool = False
    ) -> None:
        self.stream: TextIO = sys.stderr if stream is None else stream
        self._outputs = outputs
        self._polls = polls
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write one event."""
        if event.name in _POLLS and not self._polls:
            return
        with self._lock:
            _write(self.stream, self._line(event))

    @abstractmethod
    def _line(self, event: Event) -> str:
        """The line of an event."""


class ConsoleLog(_Log):
    r"""Writes events as lines for people: local time, what, what became of it, details.

    Coloured on a terminal only, and not where `NO_COLOR` is set or the terminal is `dumb`. May be
    called from several threads.

    Args:
        stream: where to; None is standard error.
        outputs: whether outputs are shown.
        polls: whether polls are shown; there are many.

    Example:
        >>> from io import StringIO
        >>> from pgflow_ref.telemetry import Event
        >>> log = ConsoleLog(StringIO())
        >>> log(Event(name="pgflow.run.started", at=0.0, flow_slug="order"))
        >>> log.stream.getvalue()[14:]
        'order                    run started\n'
    """

    def __init__(
        self, stream: TextIO | None = None, *, outputs: bool = False, polls: bool = False
    ) -> None:
        super().__init__(stream, outputs=outputs, polls=polls)
        self._colours = _is_colourful(self.stream)
        self._width = 24

    def _line(self, event: Event) -> str:
        at = datetime.fromtimestamp(event.at).astimezone()
        time = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
        subject = _subject(event)
        self._width = max(self._width, min(len(subject), _LONGEST_NAME))
        state = _STATES[event.name]
        details = "  ".join(_details(event, self._outputs))
        # Padded before it is coloured: what colours is no character to a terminal.
        padded = state.ljust(_STATE_WIDTH) if details else state
        if self._colours:
            time = f"\x1b[2m{time}\x1b[0m"
            code = _COLOURS.get(state)
            padded = f"\x1b[{code}m{padded}\x1b[0m" if code else padded
        return f"{time}  {subject.ljust(self._width)} {padded}{'  ' if details else ''}{details}"


class JsonLog(_Log):
    """Writes events as JSON, one object per line, in ASCII; for the keys see `as_record`.

    May be called from several threads.

    Args:
        stream: where to; None is standard error.
        outputs: whether outputs are part of it.
        polls: whether polls are; there are many.

    Example:
        >>> from io import StringIO
        >>> from pgflow_ref.telemetry import Event
        >>> log = JsonLog(StringIO())
        >>> log(Event(name="pgflow.run.started", at=0.0, flow_slug="order"))
        >>> print(log.stream.getvalue(), end="")
        {"time": "1970-01-01T00:00:00.000000Z", "event": "pgflow.run.started", "flow_slug": "order"}
    """

    def _line(self, event: Event) -> str:
        text = encode(as_record(event, outputs=self._outputs))
        # Not ensure_ascii, since `encode` alone writes numbers as PostgreSQL holds them. Outside
        # of strings JSON is ASCII anyway.
        return _NOT_ASCII.sub(_escape, text)


def _subject(event: Event) -> str:
    """What an event is about: a task, a worker, or a flow."""
    if event.step_slug is not None:
        index = f"[{event.task_index}]" if event.task_index else ""
        return f"{event.flow_slug}.{event.step_slug}{index}"
    if _is_of_worker(event):
        return f"worker {one_line(event.worker_name or event.flow_slug or '')}".rstrip()
    return event.flow_slug or ""


def _is_of_worker(event: Event) -> bool:
    return event.name.startswith("pgflow.worker.")


def _details(event: Event, outputs: bool) -> list[str]:
    details = []
    if event.attempt is not None:
        details.append(f"attempt {event.attempt}")
    if event.duration is not None:
        details.append(f"{event.duration:.3f} s")
    if event.count is not None:
        details.append(f"{event.count} {'step' if event.name == 'pgflow.flow.ensured' else 'task'}")
        details[-1] += "" if event.count == 1 else "s"
    if event.step_slug is None and _is_of_worker(event) and event.worker_id is not None:
        if event.worker_name not in (None, event.flow_slug):
            details.append(f"flow {event.flow_slug}")
        details.append(f"id {event.worker_id}")
    if event.run_id is not None:
        details.append(f"run {event.run_id}")
    if event.kind is not None or event.reason is not None:
        reason = one_line(event.reason or "")
        details.append(f"{event.kind}: {reason}" if event.kind else reason)
    if outputs and event.name in _HAVE_OUTPUT:
        details.append(f"output {one_line(encode(event.output))}")
    return details


def _is_colourful(stream: TextIO) -> bool:
    return (
        stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb"
    )


def _write(stream: TextIO, line: str) -> None:
    """Write a line whole, also where the stream's encoding lacks some of it."""
    encoding = getattr(stream, "encoding", None)
    if encoding:
        line = line.encode(encoding, "backslashreplace").decode(encoding)
    stream.write(line + "\n")
    stream.flush()


def _escape(found: re.Match[str]) -> str:
    """A character in JSON's words, beyond U+FFFF as a pair of surrogates."""
    pair = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{pair[start : start + 4]}" for start in range(0, len(pair), 4))
