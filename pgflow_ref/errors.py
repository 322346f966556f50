"""Every error that this library raises on purpose.

All of them descend from `PgflowError`, so `except PgflowError` catches what pgflow refuses and lets
programming errors through. Each message names what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pgflow_ref.operations import Run


_LONGEST_SHOWN: Final = 160


def shown(value: object) -> str:
    """A value as a message has it: in one line that stays readable, whatever was given.

    Example:
        >>> shown("order"), shown(10**400)
        ("'order'", 'a number of 1329 bits')
    """
    if isinstance(value, int) and value.bit_length() > _LONGEST_SHOWN:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
        return repr(value[:_LONGEST_SHOWN] + "…")
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # of somebody else's making, or with a number too long for it
        return f"a {type(value).__name__}"
    if isinstance(value, str):
        return text
    text = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
    return "".join(char if char.isprintable() else " " for char in text)


class PgflowError(Exception):
    """What all errors of this library have in common.

    Example:
        >>> from pgflow_ref import errors
        >>> issubclass(errors.FlowNotFound, errors.PgflowError)
        True
    """


class InvalidFlow(PgflowError, ValueError):
    """A flow's declaration is wrong: a slug, an option, a dependency, or the graph as a whole.

    Attributes:
        flow: the flow's slug as it was given.
        step: the step's slug as it was given, or None where the flow itself is wrong.
    """

    def __init__(self, reason: str, *, flow: object, step: object = None) -> None:
        where = f"flow {shown(flow)}" + ("" if step is None else f", step {shown(step)}")
        super().__init__(f"{where}: {reason}")
        self.flow = flow
        self.step = step


class ConfigError(PgflowError, ValueError):
    """Options that are unknown or out of range; the message names all of them at once.

    Attributes:
        problems: one sentence for each wrong option.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class NotJson(PgflowError, ValueError):
    """A value that JSON or PostgreSQL's jsonb cannot hold.

    Attributes:
        path: where in the value the trouble is, such as `$.items[3].price`; `$` is all of it.
        reason: what is wrong there.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class TaskFailed(PgflowError):
    """Raised by a handler to fail its task with exactly this text, whatever the language reads it.

    Any other exception fails the task as well, and then the text says its type too.

    Example:
        >>> from pgflow_ref import TaskFailed
        >>> raise TaskFailed("card declined")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.TaskFailed: card declined
    """


class FlowNotFound(PgflowError, LookupError):
    """No such flow, in the database or among those that a client was given."""

    def __init__(self, flow: str, message: str | None = None) -> None:
        super().__init__(
            message
            or f"flow {flow!r} is not in the database; "
            "run the statements that `pgflow-ref compile MODULE:FLOW` prints there"
        )
        self.flow = flow


class FlowMismatch(PgflowError):
    """The flow in the database has another shape than the one in the code."""


class FlowBusy(PgflowError):
    """A flow was not deleted, because others started and ended its runs all the time; try again."""

    def __init__(self, flow: str) -> None:
        super().__init__(
            f"flow {flow!r} was changed by others at the same moment, again and again; nothing was "
            "deleted; try again when fewer runs are started"
        )
        self.flow = flow


class RunNotFound(PgflowError, LookupError):
    """No run has this id; a text that is no UUID finds none either."""

    def __init__(self, run_id: object) -> None:
        super().__init__(f"no run has the id {str(run_id)!r}")
        self.run_id = run_id


class RunExists(PgflowError, ValueError):
    """A run with the id that was asked for is there already; nothing was started."""

    def __init__(self, run_id: object) -> None:
        super().__init__(f"a run with the id {str(run_id)!r} is there already")
        self.run_id = run_id


class InvalidDelay(PgflowError, ValueError):
    """A delay, a grace or an age is no number of seconds from 0 on; nothing was done."""


class InvalidSchedule(PgflowError, ValueError):
    """The time at which a job is to run is no aware datetime; nothing was started."""


class StepNotFound(PgflowError, LookupError):
    """The run is there, and has no such step."""

    def __init__(self, run_id: UUID, step: str) -> None:
        super().__init__(f"run {run_id} has no step {step!r}")
        self.run_id = run_id
        self.step = step


class StepNotCompleted(PgflowError):
    """A step has no output yet, or never will.

    Attributes:
        status: created, started or failed.
    """

    def __init__(self, run_id: UUID, step: str, status: str) -> None:
        super().__init__(f"step {step!r} of run {run_id} is not completed, but {status}")
        self.run_id = run_id
        self.step = step
        self.status = status


class WorkerNotFound(PgflowError, LookupError):
    """No worker for this flow was started here."""

    def __init__(self, flow: str) -> None:
        super().__init__(f"no worker for flow {flow!r} was started here")
        self.flow = flow


class WorkerExists(PgflowError, ValueError):
    """A worker for this flow was started here already, and runs."""

    def __init__(self, flow: str) -> None:
        super().__init__(f"a worker for flow {flow!r} runs here already; stop it first")
        self.flow = flow


class RunFailed(PgflowError):
    """A run that was waited for has failed.

    Attributes:
        run: the run, with its step states.
    """

    def __init__(self, run: Run, reason: str) -> None:
        super().__init__(f"run {run.run_id} of flow {run.flow_slug!r} failed: {reason}")
        self.run = run


class RunTimeout(PgflowError, TimeoutError):
    """A run was still going when the time to wait for it was over; the run itself goes on."""

    def __init__(self, run_id: UUID, timeout: float) -> None:
        super().__init__(f"run {run_id} was not over after {timeout:g} s; it goes on")
        self.run_id = run_id


class DatabaseUnavailable(PgflowError, ConnectionError):
    """No connection to the database: it is not there, or it refuses the user or the password."""


class CoreMissing(PgflowError):
    """The database holds no pgflow core."""


class CoreUnsupported(PgflowError):
    """The database holds a pgflow core that this library does not know how to speak to."""


class InstallRefused(PgflowError):
    """The installer found something in the database that it must not touch; nothing was changed."""


class SourceError(PgflowError):
    """The SQL to install cannot be had, or is not what its checksum says."""


class EmbeddedError(PgflowError):
    """The embedded PostgreSQL cannot be started; the message holds what the server said."""
