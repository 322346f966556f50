"""A claimed task and what can become of it, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from uuid import UUID


class TaskKey(NamedTuple):
    """Names one attempt of one task; no two claims in a database's life have the same."""

    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int


class TaskInput(NamedTuple):
    """What a claimed task comes with.

    Attributes:
        text: what `pgflow.start_tasks` gave, as JSON text.
        flow_input: of a task of a map step, whose text is its element alone: the run's input, as
            JSON text. Else None, because the text holds it.
    """

    text: str
    flow_input: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task that this worker has claimed.

    Attributes:
        key: which attempt of which task.
        flow_slug: the flow, whose queue the task came from.
        message_id: the message in that queue.
        input: what `pgflow.start_tasks` gave, as JSON text.
        flow_input: see `TaskInput`.
    """

    key: TaskKey
    flow_slug: str
    message_id: int
    input: str
    flow_input: str | None = None

    def __str__(self) -> str:
        key = self.key
        index = f"[{key.task_index}]" if key.task_index else ""
        return f"{self.flow_slug}.{key.step_slug}{index} of run {key.run_id}, attempt {key.attempt}"


@dataclass(frozen=True, slots=True)
class Completed:
    """The handler returned; `output` is JSON text, or None for SQL NULL."""

    output: str | None


FailureKind: TypeAlias = Literal["error", "timeout", "stopped"]
"""Why an attempt failed: by itself, by its timeout, or because its worker's time was over."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed, with a text that PostgreSQL can store."""

    message: str
    kind: FailureKind = "error"


Outcome: TypeAlias = Completed | Failed


@dataclass(frozen=True, slots=True)
class Result:
    """A task and its outcome, to be recorded in the database."""

    task: Task
    outcome: Outcome
