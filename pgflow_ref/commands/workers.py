"""The command that works."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, get_args

import click

from pgflow_ref.commands.words import find_flow, prepare_option, reading, url_option
from pgflow_ref.config import SignalStrategy, SyncHandlers, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_ref.flow import Flow

_DEFAULTS: Final = WorkerConfig()
_OFF: Final = "off"

_OPTIONS: Final[tuple[tuple[str, Any, str], ...]] = (
    ("max-concurrency", int, "Tasks at once."),
    ("batch-size", int, "Messages per read."),
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
@click.argument("flow", metavar="MODULE:FLOW", callback=reading(find_flow))
@url_option
@_config_options
@prepare_option
def worker(flow: Flow, url: str, prepare: bool, **options: Any) -> None:
    """Work on the tasks of flows until SIGTERM or Ctrl-C.

    A flow is given as module:name, or path/to/file.py:name. Asked to stop, the worker finishes what
    it runs; asked twice, it gives that back at once, and another worker may take it.

    \b
    Examples:
        pgflow-ref worker shop.flows:process_order
        pgflow-ref worker flows.py:order --max-concurrency 50
        pgflow-ref worker flows.py:order --signal-strategy notify

    Exit codes: 0 it was asked to stop and has stopped; 2 it could not begin.
    """
    from pgflow_ref.worker import Worker  # loads psycopg and asyncio

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Worker(flow, url, prepare=prepare, **options).run()
