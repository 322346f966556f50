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

    Example:
        >>> raise InvalidFlow("this step is declared twice", flow="order", step="pay")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.InvalidFlow: flow 'order', step 'pay': this step is declared twice
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

    Example:
        >>> raise ConfigError(["unknown option 'batch'", "worker_name is a text, not 3"])
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.ConfigError: unknown option 'batch'; worker_name is a text, not 3
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems: tuple[str, ...] = tuple(problems)


class NotJson(PgflowError, ValueError):
    """A value that JSON or PostgreSQL's jsonb cannot hold.

    Attributes:
        path: where in the value the trouble is, such as `$.items[3].price`; `$` is all of it.
        reason: what is wrong there.

    Example:
        >>> raise NotJson("$.items[3].price", "NaN is not a JSON number")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.NotJson: $.items[3].price: NaN is not a JSON number
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
    """No such flow, in the database or among those that a client was given.

    Attributes:
        flow: its slug.

    Example:
        >>> raise FlowNotFound("order")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.FlowNotFound: flow 'order' is not in the database; run the statements \
that `pgflow-ref compile MODULE:FLOW` prints there
    """

    def __init__(self, flow: str, message: str | None = None) -> None:
        super().__init__(
            message
            or f"flow {shown(flow)} is not in the database; "
            "run the statements that `pgflow-ref compile MODULE:FLOW` prints there"
        )
        self.flow = flow


class FlowMismatch(PgflowError):
    """The flow in the database has another shape than the one in the code.

    Example:
        try:
            Worker(order, url).run()
        except FlowMismatch as error:
            print(error)  # what differs, step by step, and the statement that mends it
    """


class FlowBusy(PgflowError):
    """Nothing was deleted, because others started and ended runs of it all the time; try again.

    Attributes:
        flow: its slug.

    Example:
        try:
            pgflow.delete_flow("order")
        except FlowBusy:
            ...  # stop what starts its runs, and try again
    """

    def __init__(self, flow: str) -> None:
        super().__init__(
            f"flow {shown(flow)} was changed by others at the same moment, again and again; "
            "nothing was deleted; try again when fewer runs are started"
        )
        self.flow = flow


class RunNotFound(PgflowError, LookupError):
    """No run has this id; a text that is no UUID finds none either.

    Attributes:
        run_id: the id that was asked for.

    Example:
        >>> raise RunNotFound("7")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.RunNotFound: no run has the id '7'
    """

    def __init__(self, run_id: object) -> None:
        super().__init__(f"no run has the id {shown(str(run_id))}")
        self.run_id = run_id


class RunExists(PgflowError, ValueError):
    """A run with the id that was asked for is there already; nothing was started.

    Attributes:
        run_id: the id that is taken.

    Example:
        try:
            pgflow.start_flow("order", order, run_id=order_id)
        except RunExists:
            ...  # it was started already, so the request came twice
    """

    def __init__(self, run_id: object) -> None:
        super().__init__(f"a run with the id {shown(str(run_id))} is there already")
        self.run_id = run_id


class InvalidDelay(PgflowError, ValueError):
    """A delay, a grace or an age is no number of seconds from 0 on; nothing was done.

    Example:
        >>> from pgflow_ref.calls.schedule import seconds
        >>> seconds(-1, "delay")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.InvalidDelay: delay is between 0 and 2147483647 seconds, not -1
    """


class InvalidSchedule(PgflowError, ValueError):
    """The time at which a job is to run is no aware datetime; nothing was started.

    Example:
        >>> from pgflow_ref import PgFlow
        >>> PgFlow("postgresql://localhost/app").enqueue_at("report", None, "tomorrow")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.InvalidSchedule: a job is scheduled at a datetime, not 'tomorrow'
    """


class StepNotFound(PgflowError, LookupError):
    """The run is there, and has no such step.

    Attributes:
        run_id: the run.
        step: the slug that was asked for.

    Example:
        >>> raise StepNotFound("67e55044-10b1-426f-9247-bb680e5fe0c8", "pya")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.StepNotFound: run 67e55044-10b1-426f-9247-bb680e5fe0c8 has no step 'pya'
    """

    def __init__(self, run_id: UUID, step: str) -> None:
        super().__init__(f"run {run_id} has no step {shown(step)}")
        self.run_id = run_id
        self.step = step


class StepNotCompleted(PgflowError):
    """A step has no output yet, or never will.

    Attributes:
        status: created, started or failed.

    Example:
        >>> raise StepNotCompleted("67e55044-10b1-426f-9247-bb680e5fe0c8", "pay", "started")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.StepNotCompleted: step 'pay' of run 67e55044-10b1-426f-9247-bb680e5fe0c8 \
is not completed, but started
    """

    def __init__(self, run_id: UUID, step: str, status: str) -> None:
        super().__init__(f"step {step!r} of run {run_id} is not completed, but {status}")
        self.run_id = run_id
        self.step = step
        self.status = status


class WorkerNotFound(PgflowError, LookupError):
    """No worker for this flow was started here.

    Attributes:
        flow: its slug.

    Example:
        >>> raise WorkerNotFound("order")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.WorkerNotFound: no worker for flow 'order' was started here
    """

    def __init__(self, flow: str) -> None:
        super().__init__(f"no worker for flow {shown(flow)} was started here")
        self.flow = flow


class WorkerExists(PgflowError, ValueError):
    """A worker for this flow was started here already, and runs.

    Attributes:
        flow: its slug.

    Example:
        >>> raise WorkerExists("order")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.WorkerExists: a worker for flow 'order' runs here already; stop it first
    """

    def __init__(self, flow: str) -> None:
        super().__init__(f"a worker for flow {shown(flow)} runs here already; stop it first")
        self.flow = flow


class RunFailed(PgflowError):
    """A run that was waited for has failed.

    Attributes:
        run: the run, with its step states.

    Example:
        try:
            run = pgflow.start_flow_sync("order", order)
        except RunFailed as error:
            print(error, error.run.step_states)
    """

    def __init__(self, run: Run, reason: str) -> None:
        super().__init__(f"run {run.run_id} of flow {run.flow_slug!r} failed: {reason}")
        self.run = run


class RunTimeout(PgflowError, TimeoutError):
    """A run was still going when the time to wait for it was over; the run itself goes on.

    Attributes:
        run_id: the run.

    Example:
        try:
            run = pgflow.start_flow_sync("order", order, timeout=5)
        except RunTimeout as error:
            return {"run": error.run_id}  # ask again later, with get_run
    """

    def __init__(self, run_id: UUID, timeout: float) -> None:
        super().__init__(f"run {run_id} was not over after {timeout:g} s; it goes on")
        self.run_id = run_id


class DatabaseUnavailable(PgflowError, ConnectionError):
    """No connection to the database: it is not there, or it refuses the user or the password.

    Example:
        >>> from pgflow_ref import PgFlow
        >>> PgFlow("somewhere").capabilities()
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.DatabaseUnavailable: this is no connection URL; it looks like \
postgresql://user:password@host:5432/database
    """


class CoreMissing(PgflowError):
    """The database holds no pgflow core.

    Example:
        try:
            pgflow.capabilities()
        except CoreMissing:
            install(url)  # of pgflow_ref.install
    """


class CoreUnsupported(PgflowError):
    """The database holds a pgflow core that this library does not know how to speak to.

    Example:
        >>> from pgflow_ref.capabilities import judge
        >>> judge({"create_flow"}, set(), None, set())
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.CoreUnsupported: the pgflow core in the database is older than 0.5.0: it \
has no pgflow.start_tasks
    """


class PrivilegeMissing(PgflowError):
    """The database does not let this user do what a worker or client has to do.

    Example:
        try:
            Worker(order, url).run()
        except PrivilegeMissing as error:
            print(error)  # the grants that the user lacks, one by one
    """


class InstallRefused(PgflowError):
    """The installer found something in the database that it must not touch; nothing was changed.

    Example:
        try:
            install(url, core="0.8.1")
        except InstallRefused as error:
            print(error)  # such as: that core 0.5.0 is there
    """


class SourceError(PgflowError):
    """The SQL to install cannot be had, or is not what its checksum says.

    Example:
        try:
            install(url)
        except SourceError as error:
            print(error)  # which file could not be fetched, or is not the one that is known
    """


class EmbeddedError(PgflowError):
    """The embedded PostgreSQL cannot be started; the message holds what the server said.

    Example:
        try:
            server = EmbeddedPostgres().start()
        except EmbeddedError as error:
            pytest.skip(str(error))
    """
