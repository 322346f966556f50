"""The command that works."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from pgflow_ref.commands.words import find_flow, prepare_option, reading, url_option
from pgflow_ref.config import SignalStrategy, SyncHandlers, WorkerConfig
from pgflow_ref.json_contract import encode, printable
from pgflow_ref.logs import FAILURES, ConsoleLog, JsonLog, one_line, silenced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgflow_ref.flow import Flow
    from pgflow_ref.telemetry import Listener

_DEFAULTS: Final = WorkerConfig()
_OFF: Final = "off"

_OPTIONS: Final[tuple[tuple[str, Any, str], ...]] = (
    ("max-concurrency", int, "Tasks at once."),
    ("batch-size", int, "Messages per read."),
    ("recorders", int, "Connections that record results."),
    ("min-poll-interval", float, "Seconds to wait after an empty read, at least."),
    ("max-poll-interval", float, "Seconds to wait after an empty read, at most."),
    (
        "visibility-timeout",
        int,
        "Seconds for which a read hides a message; else the flow's longest timeout + 2.",
    ),
    ("heartbeat-interval", float, "Seconds between two signs of life."),
    ("stop-timeout", float, "Seconds that tasks may go on after SIGTERM or Ctrl-C."),
    ("worker-name", str, "A name in pgflow.workers; else the flow's slug."),
    (
        "signal-strategy",
        click.Choice(get_args(SignalStrategy)),
        "How it hears of messages: reads, pgmq's notifications, or reads that wait in the server.",
    ),
    ("notify-fallback-interval", float, "With notify: seconds between two reads at most."),
    ("notify-throttle", float, "With notify: seconds between two notifications at least."),
    ("stale-grace", float, "Seconds after its timeout at which a task counts as stalled."),
    (
        "sync-handlers",
        click.Choice(get_args(SyncHandlers)),
        "Where handlers that are plain functions run; a process is ended at its timeout.",
    ),
)


def _interval_or_off(text: str) -> float | None:
    """Seconds, or nothing.

    Example:
        >>> _interval_or_off("2.5"), _interval_or_off("off")
        (2.5, None)
    """
    if text == _OFF:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of seconds, and not {_OFF!r}") from None


def _config_options(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each field of `WorkerConfig`, in its order."""
    command = click.option(
        "--compile-on-start",
        is_flag=True,
        help="Add to the database what is missing of the flow; nothing is changed or deleted.",
    )(command)
    command = click.option(
        "--recovery-interval",
        default=str(_DEFAULTS.recovery_interval),
        metavar="FLOAT|off",
        callback=reading(_interval_or_off),
        help="About how many seconds apart it looks for tasks that nobody works on any more.",
    )(command)
    for name, kind, text in reversed(_OPTIONS):
        default = getattr(_DEFAULTS, name.replace("-", "_"))
        command = click.option(f"--{name}", type=kind, default=default, help=text)(command)
    return command


@click.command()
@click.argument(
    "flows", metavar="MODULE:FLOW...", nargs=-1, required=True, callback=reading(find_flow)
)
@url_option
@_config_options
@prepare_option
@click.option(
    "--log",
    type=click.Choice(["console", "json", "none"]),
    default="console",
    help="What it says on standard error.",
)
@click.option("--json", "log", flag_value="json", help="The same as --log json.")
@click.option("--log-outputs", is_flag=True, help="Show outputs in the log; they may be secret.")
def worker(
    flows: tuple[Flow, ...], url: str, prepare: bool, log: str, log_outputs: bool, **options: Any
) -> None:
    """Work on the tasks of flows until SIGTERM or Ctrl-C.

    A flow is given as module:name, or path/to/file.py:name. Each has a worker of its own with these
    options, all in this process. Asked to stop, they finish what they run; asked twice, they give
    that back at once, and another worker may take it.

    \b
    Examples:
        pgflow-ref worker shop.flows:process_order
        pgflow-ref worker flows.py:order flows.py:refund --max-concurrency 50 --log json
        pgflow-ref worker flows.py:order --signal-strategy notify --sync-handlers processes

    Exit codes: 0 it was asked to stop and has stopped; 2 it could not begin.
    """
    from pgflow_ref.client import PgFlow  # loads psycopg and asyncio

    config = WorkerConfig.of(**options)
    _refuse_repeated(flows)
    listeners = _listeners(log, log_outputs)
    pgflow = PgFlow(url, flows=flows, prepare=prepare, listeners=listeners, config=config)
    with _logging(log), silenced(FAILURES):  # the events tell of failures
        pgflow.run()


def _refuse_repeated(flows: tuple[Flow, ...]) -> None:
    slugs = [flow.slug for flow in flows]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise click.UsageError(f"flow {slug!r} is given {slugs.count(slug)} times")


def _listeners(log: str, outputs: bool) -> tuple[Listener, ...]:
    if log == "console":
        return (ConsoleLog(outputs=outputs),)
    return (JsonLog(outputs=outputs),) if log == "json" else ()


@contextmanager
def _logging(log: str) -> Iterator[None]:
    """Let what is logged beyond the events, by the worker and by handlers, have the same form."""
    root = logging.getLogger()
    handler: logging.Handler = logging.NullHandler()
    if log != "none":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter() if log == "json" else LineFormatter())
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class LineFormatter(logging.Formatter):
    """A logged line with the time as `ConsoleLog` writes it; what it says is one line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d  %(levelname)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Write it; a traceback comes in lines of its own."""
        record.message = one_line(record.message)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """A logged line as one JSON object, with the keys time, level, logger, message and error."""

    def format(self, record: logging.LogRecord) -> str:
        """Write it."""
        at = datetime.fromtimestamp(record.created, timezone.utc)
        said = {
            "time": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        if record.exc_info:
            said["error"] = printable(self.formatException(record.exc_info))
        return encode(said)
