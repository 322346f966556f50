"""The model's database, and a transaction on it.

A `State` never changes. A `Transaction` gathers changes, checks the constraints of the rows that it
writes, and becomes the next state, or, when the database would refuse, leaves the old one.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from pgflow_ref.json_contract import decode
from pgflow_ref.model.rows import SECOND, Event, Flow, Queue, Run, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgflow_ref.json_contract import Json
    from pgflow_ref.model.profile import Behaviour, Profile
    from pgflow_ref.model.rows import Instant, Jsonb, RunRow, StateRow, TaskRow, WorkerRow

TICK: Final[Instant] = 1_000
"""From a transaction's start, which is `now()`, to what `clock_timestamp()` says inside it."""

_NEW_YEAR_2026: Final[Instant] = 1_767_225_600 * SECOND
_EMPTY: Final[Mapping[object, object]] = MappingProxyType({})


class State(NamedTuple):
    """A database with pgflow's core: its tables, its queues, its clock.

    Attributes:
        clock: the time.
        generated: how many run ids were generated.
        flows: by slug.
        runs: by id.
        workers: by id.
        queue_names: the queues that `pgmq.list_queues()` lists.
        queues: the queues' tables, by name in lower case.
    """

    clock: Instant = _NEW_YEAR_2026
    generated: int = 0
    flows: Mapping[str, Flow] = _EMPTY  # type: ignore[assignment]  # empty is of any type
    runs: Mapping[UUID, Run] = _EMPTY  # type: ignore[assignment]
    workers: Mapping[UUID, WorkerRow] = _EMPTY  # type: ignore[assignment]
    queue_names: frozenset[str] = frozenset()
    queues: Mapping[str, Queue] = _EMPTY  # type: ignore[assignment]

    @property
    def next_run_id(self) -> UUID:
        """What `gen_random_uuid()` will give to the next run."""
        return UUID(int=(0x5EED << 112) | (self.generated + 1))


class Refusal(NamedTuple):
    """Why the database refuses a call.

    Attributes:
        sqlstate: the class of the error, such as 23514 for a CHECK.
        constraint: the constraint's name; empty where it is none.
    """

    sqlstate: str
    constraint: str = ""


class Refused(Exception):
    """The database would refuse what is being done."""

    def __init__(self, sqlstate: str, constraint: str = "") -> None:
        super().__init__(sqlstate, constraint)
        self.refusal = Refusal(sqlstate, constraint)


CHECK_VIOLATION: Final = "23514"
FOREIGN_KEY_VIOLATION: Final = "23503"
NOT_NULL_VIOLATION: Final = "23502"
NUMERIC_OUT_OF_RANGE: Final = "22003"
NEGATIVE_LIMIT: Final = "2201W"
RAISED: Final = "P0001"
UNDEFINED_FUNCTION: Final = "42883"
UNDEFINED_TABLE: Final = "42P01"
UNIQUE_VIOLATION: Final = "23505"
WRONG_KIND_OF_OBJECT: Final = "42809"


def check(holds: bool, constraint: str) -> None:
    """A CHECK constraint."""
    if not holds:
        raise Refused(CHECK_VIOLATION, constraint)


def not_null(*values: object) -> None:
    """Columns that are NOT NULL."""
    if None in values:
        raise Refused(NOT_NULL_VIOLATION)


class Transaction:
    """One call under way.

    Attributes:
        now: when it began; what `now()` says.
        clock: what `clock_timestamp()` says.
        events: the events sent so far.
        seen: the behaviours that showed so far.
    """

    __slots__ = (
        "clock",
        "events",
        "flows",
        "generated",
        "now",
        "profile",
        "queue_names",
        "queues",
        "runs",
        "seen",
        "workers",
    )

    def __init__(self, state: State, profile: Profile) -> None:
        self.profile = profile
        self.now, self.generated, *_ = state
        self.clock = state.clock + TICK
        self.flows, self.runs, self.workers = state.flows, state.runs, state.workers
        self.queue_names, self.queues = state.queue_names, state.queues
        self.events: list[Event] = []
        self.seen: set[Behaviour] = set()

    def state(self) -> State:
        """The database as this transaction leaves it."""
        return State(
            self.clock,
            self.generated,
            self.flows,
            self.runs,
            self.workers,
            self.queue_names,
            self.queues,
        )

    def has(self, behaviour: Behaviour) -> bool:
        """Whether this version of the core does this."""
        return behaviour in self.profile.behaviours

    def note(self, behaviour: Behaviour) -> None:
        """Say that a behaviour shows here."""
        self.seen.add(behaviour)

    def send_event(self, run_id: UUID, event: str, payload: Mapping[str, Json]) -> None:
        """`realtime.send`, as the core calls it; the run's id is added to the payload."""
        whole = {"run_id": str(run_id), **payload}
        self.events.append(Event(event, f"pgflow:run:{run_id}", whole, private=False))

    def run(self, run_id: UUID | None) -> Run | None:
        """A run, if there is one."""
        return None if run_id is None else self.runs.get(run_id)

    def put_flow(self, flow: Flow) -> None:
        """Write a flow, with its steps and dependencies."""
        self.flows = {**self.flows, flow.row.flow_slug: flow}

    def put_queue(self, name: str, queue: Queue) -> None:
        """Write a queue's tables."""
        self.queues = {**self.queues, name.lower(): queue}

    def put_worker(self, worker: WorkerRow) -> None:
        """Write a worker's row."""
        self.workers = {**self.workers, worker.worker_id: worker}

    def put_run(self, row: RunRow) -> None:
        """Write a run's row; its steps and tasks stay."""
        check(row.completed_at is None or row.failed_at is None, "completed_at_or_failed_at")
        check(row.remaining_steps >= 0, "runs_remaining_steps_check")
        before = self.runs.get(row.run_id)
        run = Run(row, {}, {}) if before is None else before._replace(row=row)
        self.runs = {**self.runs, row.run_id: run}

    def put_state(self, row: StateRow) -> None:
        """Write the state of a step."""
        check(row.completed_at is None or row.failed_at is None, "completed_at_or_failed_at")
        check(row.remaining_deps >= 0, "step_states_remaining_deps_check")
        run = self.runs[row.run_id]
        run = run._replace(states={**run.states, row.step_slug: row})
        self.runs = {**self.runs, row.run_id: run}

    def put_task(self, row: TaskRow) -> None:
        """Write a task."""
        check(row.completed_at is None or row.failed_at is None, "completed_at_or_failed_at")
        run = self.runs[row.run_id]
        run = run._replace(tasks={**run.tasks, (row.step_slug, row.task_index): row})
        self.runs = {**self.runs, row.run_id: run}


def value_of(text: Jsonb | None) -> Json:
    """A jsonb as a value; NULL becomes JSON's null, as in `jsonb_build_object`."""
    return None if text is None else decode(text)


def when(instant: Instant | None) -> str | None:
    """A time as events have it."""
    return None if instant is None else text_of(instant)
