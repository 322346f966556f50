"""The options of a worker, their defaults, and what they may be."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal, TypeAlias, get_args

from pgflow_ref.errors import ConfigError
from pgflow_ref.json_contract import printable

SignalStrategy: TypeAlias = Literal["polling", "notify", "long_poll"]
"""How a worker hears of messages."""

SyncHandlers: TypeAlias = Literal["threads", "processes"]
"""Where handlers that are plain functions run."""

_LIMITS: Final[dict[str, tuple[float, float]]] = {
    # option: least, most
    "max_concurrency": (1, 10_000),
    "batch_size": (1, 10_000),
    "recorders": (1, 16),
    "min_poll_interval": (0.001, 300),
    "max_poll_interval": (0.001, 300),
    "visibility_timeout": (1, 2**31 - 1),
    "heartbeat_interval": (0.1, 3600),
    "stop_timeout": (0, 86_400),
    "notify_fallback_interval": (0.1, 600),
    "notify_throttle": (0, 60),
    "recovery_interval": (0.1, 86_400),
    "stale_grace": (0, 86_400),
}
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "signal_strategy": get_args(SignalStrategy),
    "sync_handlers": get_args(SyncHandlers),
}
_LONG: Final = 10**100
_WHOLE: Final = frozenset({"max_concurrency", "batch_size", "recorders", "visibility_timeout"})
_MAY_BE_NONE: Final = frozenset({"visibility_timeout", "recovery_interval"})


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How a worker behaves. All times are seconds.

    Attributes:
        max_concurrency: tasks at once, 1 to 10,000.
        batch_size: messages per read, 1 to 10,000; never more than there are free slots.
        recorders: connections that record results, 1 to 16. Each records, in one transaction, what
            is ready when it is free, and claims in the same round trip what takes its place. With
            one, a full worker waits while its results are recorded; with two, handlers run and the
            server does the one while it does the other. More help where the server has more
            processors to spare.
        min_poll_interval: the shortest wait after a read that found nothing, up to 300.
        max_poll_interval: the longest such wait, up to 300. Each wait is drawn at random between
            the shortest and three times the one before.
        visibility_timeout: whole seconds for which a read hides a message from other workers; None
            is the flow's longest step timeout + 2, so that a message does not come back while its
            task runs.
        heartbeat_interval: between two signs of life in `pgflow.workers`, 0.1 to 3600.
        stop_timeout: how long tasks may go on once the worker was asked to stop, up to 86,400;
            those that still run then are given back as failed attempts.
        worker_name: the name in `pgflow.workers.function_name`; None is the flow's slug.
        signal_strategy: how the worker hears of messages. `polling` reads again and again, with the
            waits above; `notify` reads when pgmq tells of an insert (pgmq 1.8 and newer, and not
            through a connection pooler that shares sessions); `long_poll` lets the server wait for
            a message (`pgmq.read_with_poll`), each time for `max_poll_interval`, rounded up to
            seconds.
        notify_fallback_interval: with `notify`, the longest wait between two reads, 0.1 to 600: for
            what no insert tells of, such as another worker's task that is to be tried again.
        notify_throttle: with `notify`, how far apart pgmq's notifications are at least, 0 to 60; 0
            is one for every insert. A worker that finds another's throttle in the database lowers
            it if its own is lower, and never raises it.
        recovery_interval: about how often the worker looks for tasks that nobody works on any
            more, its own flow's, 0.1 to 86,400; None: never.
        stale_grace: how long after its timeout a task that is still started counts as such a task,
            up to 86,400.
        sync_handlers: where handlers that are plain functions run. A thread cannot be ended: at the
            task's timeout its result is dropped, and it goes on. A process is ended.
        compile_on_start: whether the worker adds to the database what is missing of its flow; it
            never changes or deletes anything there.

    Raises:
        ConfigError: with one sentence for each value that is out of range.

    Example:
        >>> WorkerConfig(max_concurrency=50, batch_size=0, min_poll_interval=9)
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.ConfigError: batch_size is between 1 and 10000, not 0; \
min_poll_interval (9) is longer than max_poll_interval (5.0)
    """

    max_concurrency: int = 10
    batch_size: int = 10
    recorders: int = 2
    min_poll_interval: float = 1.0
    max_poll_interval: float = 5.0
    visibility_timeout: int | None = None
    heartbeat_interval: float = 5.0
    stop_timeout: float = 30.0
    worker_name: str | None = None
    signal_strategy: SignalStrategy = "polling"
    notify_fallback_interval: float = 30.0
    notify_throttle: float = 0.25
    recovery_interval: float | None = 15.0
    stale_grace: float = 30.0
    sync_handlers: SyncHandlers = "threads"
    compile_on_start: bool = False

    def __post_init__(self) -> None:
        problems = [
            problem
            for field in fields(self)
            if (problem := _problem(field.name, getattr(self, field.name)))
        ]
        if _comparable(self) and self.min_poll_interval > self.max_poll_interval:
            problems.append(
                f"min_poll_interval ({self.min_poll_interval}) is longer than "
                f"max_poll_interval ({self.max_poll_interval})"
            )
        if problems:
            raise ConfigError(problems)

    @classmethod
    def of(cls, **options: object) -> WorkerConfig:
        """Make a configuration from options of any origin: a command line, a file.

        Raises:
            ConfigError: an option is unknown or out of range; all of them are named.

        Example:
            >>> WorkerConfig.of(batch=3, max_concurrency="many")
            Traceback (most recent call last):
                ...
            pgflow_ref.errors.ConfigError: unknown option 'batch'; max_concurrency is a number, \
not 'many'
        """
        known = {field.name for field in fields(cls)}
        problems = [f"unknown option {name!r}" for name in options if name not in known]
        valid = {name: value for name, value in options.items() if name in known}
        try:
            config = cls(**valid)  # type: ignore[arg-type]  # checked by __post_init__
        except ConfigError as error:
            problems.extend(error.problems)
        if problems:
            raise ConfigError(problems)
        return config


def _problem(name: str, value: object) -> str | None:
    if name == "worker_name":
        text = isinstance(value, str) and value != "" and printable(value) == value
        fine = value is None or text
        return None if fine else f"worker_name is a text that is not empty, not {value!r}"
    if name == "compile_on_start":
        return None if isinstance(value, bool) else f"{name} is True or False, not {value!r}"
    if name in _CHOICES:
        choices = _CHOICES[name]
        known = isinstance(value, str) and value in choices
        return None if known else f"{name} is {' or '.join(map(repr, choices))}, not {value!r}"
    return None if name in _MAY_BE_NONE and value is None else _problem_of_number(name, value)


def _problem_of_number(name: str, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{name} is a number, not {value!r}"
    if name in _WHOLE and not isinstance(value, int):
        return f"{name} is a whole number, not {value!r}"
    least, most = _LIMITS[name]
    if not least <= value <= most:  # so put, NaN is not
        far_off = isinstance(value, int) and abs(value) > _LONG
        shown = "a number that is far off" if far_off else value
        return f"{name} is between {least} and {most}, not {shown}"
    return None


def _comparable(config: WorkerConfig) -> bool:
    return not (
        _problem("min_poll_interval", config.min_poll_interval)
        or _problem("max_poll_interval", config.max_poll_interval)
    )
