"""Tasks that wait, and whether one is what a test asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pgflow_ref import calls
from pgflow_ref.calls.names import flow_slug
from pgflow_ref.flow import Step
from pgflow_ref.json_contract import Json, decode, encode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from pgflow_ref.flow import AnyStep, Flow

_SECOND: Final = timedelta(seconds=1)
_LONGEST_INPUT: Final = 200  # characters of an input in a message
_MOST: Final = 20  # tasks in a message


class QueuedTask(NamedTuple):
    """A task that waits in a queue.

    Attributes:
        flow_slug: its flow.
        run_id: its run.
        step_slug: its step.
        task_index: which task of the step, from 0.
        attempt: which attempt it will be, from 1.
        message_id: its message in the flow's queue.
        visible_at: `drain` takes it when `InMemory.now` is this or later.
        flow_input: what its run was started with.

    Example:
        (task,) = pgflow.queued(order)
        assert (task.step_slug, task.attempt) == ("pay", 2)
    """

    flow_slug: str
    run_id: UUID
    step_slug: str
    task_index: int
    attempt: int
    message_id: int
    visible_at: datetime
    flow_input: Json


class _Anything:
    def __repr__(self) -> str:
        return "ANYTHING"


ANYTHING: Final[Any] = _Anything()
"""Any input at all."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a queued task is to be; None, and for the input `ANYTHING`, is whatever it is.

    Attributes:
        flow_slug: its flow.
        flow_input: what its run was started with.
        step_slug: its step.
        wait: how long from now until it is visible, to the second: messages wait for whole ones.
        now: what time it is.
    """

    flow_slug: str
    flow_input: object
    step_slug: str | None
    wait: timedelta | None
    now: datetime

    def is_met_by(self, task: QueuedTask) -> bool:
        """Whether this task, of the flow, is such a one."""
        if self.step_slug not in (None, task.step_slug):
            return False
        if self.wait is not None:
            late = max(timedelta(), task.visible_at - self.now) - max(timedelta(), self.wait)
            if not timedelta() <= late < _SECOND:
                return False
        return self.flow_input is ANYTHING or same(self.flow_input, task.flow_input)

    def __str__(self) -> str:
        parts = [f"flow {self.flow_slug!r}"]
        if self.step_slug is not None:
            parts.append(f"step {self.step_slug!r}")
        if self.wait is not None:
            parts.append(f"visible {_wait(self.wait)}")
        if self.flow_input is not ANYTHING:
            parts.append(f"input {_shown(self.flow_input)}")
        return ", ".join(parts)


def wanted(  # noqa: PLR0913  # what `InMemory.assert_enqueued` is given
    flow: Flow | str,
    flow_input: object,
    step: AnyStep | str | None,
    wait: float | timedelta | None,
    at: datetime | None,
    *,
    now: datetime,
) -> Wanted:
    """What a test asks for; see `InMemory.assert_enqueued` for arguments and errors."""
    if wait is not None and at is not None:
        raise ValueError("either in_ or at says when, not both")
    left = None if wait is None else timedelta(seconds=calls.seconds(wait, "in_"))
    if at is not None:
        left = calls.instant(at) - now
    slug = step.slug if isinstance(step, Step) else step
    return Wanted(flow_slug(flow), flow_input, slug, left, now)


def same(one: object, other: object) -> bool:
    """Whether two values are the same JSON; 1 and 1.0 are, 1 and true are not.

    Example:
        >>> same({"a": (1, None)}, {"a": [1.0, None]}), same([True], [1])
        (True, False)
    """
    # By way of its text, so that a tuple is a list, and what is no JSON is refused with its path.
    left: list[Any] = [decode(encode(one))]
    right: list[Any] = [decode(encode(other))]
    while left:
        a, b = left.pop(), right.pop()
        if isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            left += a
            right += b
        elif isinstance(a, dict) and isinstance(b, dict):
            if a.keys() != b.keys():
                return False
            left += a.values()
            right += [b[key] for key in a]
        elif isinstance(a, bool) != isinstance(b, bool) or a != b:
            return False
    return True


def listed(tasks: Sequence[QueuedTask], now: datetime) -> str:
    """The tasks, one a line, for a message."""
    if not tasks:
        return "  nothing"
    lines = [
        f"  {task.step_slug}{f'[{task.task_index}]' if task.task_index else ''} of run "
        f"{task.run_id}, attempt {task.attempt}, visible {_wait(task.visible_at - now)}, "
        f"input {_shown(task.flow_input)}"
        for task in tasks[:_MOST]
    ]
    if len(tasks) > _MOST:
        lines.append(f"  and {len(tasks) - _MOST} more")
    return "\n".join(lines)


def _wait(wait: timedelta) -> str:
    return f"in {wait.total_seconds():.15g} s" if wait > timedelta() else "now"


def _shown(value: object) -> str:
    text = encode(value)
    return text if len(text) <= _LONGEST_INPUT else text[:_LONGEST_INPUT] + "…"
